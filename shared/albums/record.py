"""What an album holds: its record, and a place for each of its photos."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from shared.jobs.record import ErrorInfo, Job, State
from shared.photos.formats import Format

NO_SUCH_ALBUM = "No such album; it may have expired or been deleted."


class Album(BaseModel):
    """The record. Times are seconds since the epoch, UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    caller: str
    name: str | None
    style: str
    max_side: int
    format: Format
    created_at: float
    expires_at: float  # moves with every photo that is added
    webhook: str | None = None  # who is told when all its photos have come to their end
    secret: str | None = None  # what that is signed with


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of an album: its job, or why it was refused."""

    name: str
    job_id: str | None = None
    sha256: str | None = None
    error: ErrorInfo | None = None

    @property
    def is_pending(self) -> bool:
        """Whether its photo is being taken in: what it is named for may not be there yet."""
        return self.error is None and self.sha256 is None


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo of an album with its job as it is now; the job is None where the photo was refused or has expired."""

    item: Item
    job: Job | None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some entries of an album, in the order they came; `next_cursor` is None on the last page."""

    entries: list[Entry]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class AlbumEvent:
    """A photo has come into a state; into none when it was erased."""

    id: str
    name: str
    state: State | None


def have_ended(counts: Mapping[State, int]) -> bool:
    """Whether photos of these counts have come to their end, which those that are yet to come have not."""
    return any(counts.values()) and not counts[State.QUEUED] + counts[State.RUNNING]


def value_of(item: Item) -> str:
    """What is kept of a photo under its name."""
    error = item.error.model_dump() if item.error else None
    return json.dumps({"job_id": item.job_id, "sha256": item.sha256, "error": error})


def item_of(name: str, value: str) -> Item:
    """What `value_of` made of a photo."""
    found = json.loads(value)
    error = ErrorInfo.model_validate(found["error"]) if found["error"] else None
    return Item(name, found["job_id"], found["sha256"], error)
