"""The record of an album, and its photos."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from shared.conversion import Faces
from shared.jobs.record import ErrorInfo, Job, State
from shared.photos.formats import Format

_DIGEST = re.compile(r'"sha256": "([0-9a-f]{64})"')
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
    faces: Faces = Faces.AUTO
    created_at: float
    expires_at: float  # moves with every photo that is added
    webhook: str | None = None  # the URL to notify when all its photos have finished
    secret: str | None = None  # signs the notifications
    keep_photos: bool = False  # as long as their pictures, to draw them again
    source: str | None = None  # the album whose photos are drawn again in this one


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of an album: its job, or why it was refused."""

    name: str
    job_id: str | None = None
    sha256: str | None = None
    error: ErrorInfo | None = None

    @property
    def is_pending(self) -> bool:
        """True while its photo is still being uploaded: its job may not exist yet."""
        return self.error is None and self.sha256 is None


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo of an album with its job as it is now; the job is None where the photo was refused or has expired."""

    item: Item
    job: Job | None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """A page of an album's entries in the order they were added; `next_cursor` is None on the last page."""

    entries: list[Entry]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class AlbumEvent:
    """A photo's change of state; the state is None when the photo was erased."""

    id: str
    name: str
    state: State | None


def have_ended(counts: Mapping[State, int]) -> bool:
    """Return whether all photos have finished; an album without photos has not."""
    return any(counts.values()) and not counts[State.QUEUED] + counts[State.RUNNING]


def value_of(item: Item) -> str:
    """Return the value stored under a photo's name."""
    error = item.error.model_dump() if item.error else None
    return json.dumps({"job_id": item.job_id, "sha256": item.sha256, "error": error})


def digest_in(value: str) -> str | None:
    """Return the digest in what `value_of` returned, in a fraction of the time that all of it takes to parse."""
    found = _DIGEST.search(value)
    return found[1] if found else None


def item_of(name: str, value: str) -> Item:
    """Parse what `value_of` returned."""
    found = json.loads(value)
    error = ErrorInfo.model_validate(found["error"]) if found["error"] else None
    return Item(name, found["job_id"], found["sha256"], error)
