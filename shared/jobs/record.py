"""The record of a job."""

import re
import secrets
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from shared.callers.api_keys import PUBLIC_ID
from shared.conversion import Faces, Stage
from shared.errors import AttemptsExhaustedError, SakugaError, UnknownJobError, UnreadableJobError
from shared.photos.formats import Format
from shared.record_codec import record_values
from shared.storage.references import Reference

RECORD_GRACE_S = 3600  # for how long an expired job is still known to have expired
NO_SUCH_JOB = "No such job; it may have expired or been deleted."
_ID = re.compile(r"[0-9a-f]{40}")
DAMAGED = "This job's record is damaged; please send the photo again."


class Lane(StrEnum):
    """The queue lane of a job: single photos or albums."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class State(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED})


class PhotoInfo(BaseModel):
    """The photo as uploaded: upright size in pixels, bytes, digest."""

    model_config = ConfigDict(frozen=True)
    width: int
    height: int
    bytes: int
    sha256: str


class ResultInfo(PhotoInfo):
    """The resulting picture."""

    content_type: str


class ErrorInfo(BaseModel):
    """The reason why a job failed."""

    model_config = ConfigDict(frozen=True)
    code: str
    title: str
    detail: str


class Job(BaseModel):
    """The record. Times are seconds since the epoch, UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    caller: str
    state: State = State.QUEUED
    claim: str | None = None
    style: str
    styles: tuple[str, ...] = ()  # of previews, which are drawn instead of a picture; `style` is the first
    max_side: int
    format: Format
    faces: Faces = Faces.AUTO
    lane: Lane = Lane.INTERACTIVE
    album: str | None = None
    name: str | None = None  # of the photo, within its album
    progress: float = 0.0
    stage: Stage | None = None
    attempts: int = 0
    # The aliases are what these fields have been called in records since the first version.
    uncounted_attempts: int = Field(default=0, alias="forgiven")  # before a retry, or not the photo's fault
    outage_s: float = Field(default=0.0, alias="hindered_s")  # spent in attempts and pauses while a dependency was down
    cancel_requested: bool = False
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float
    photo: PhotoInfo
    photo_key: str
    keep_photo: bool = False  # as long as the picture
    result_key: str
    pixels: int
    work_ms: int
    ticket_ms: int
    initial_eta_s: float | None = Field(default=None, alias="promised_s")  # the first that the owner was given
    result: ResultInfo | None = None
    error: ErrorInfo | None = None
    notes: tuple[str, ...] = ()
    timings: dict[str, float] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def content_type(self) -> str:
        """The type of its result: a picture or, of previews, an archive of them."""
        return "application/zip" if self.styles else self.format.content_type

    @property
    def extension(self) -> str:
        return "zip" if self.styles else self.format.extension

    @property
    def is_quarantined(self) -> bool:
        """True if it ran out of attempts: it may be what kills workers, so an operator should inspect it."""
        return self.state is State.FAILED and self.error is not None and self.error.code == AttemptsExhaustedError.code

    @property
    def flow(self) -> str:
        """The unit within a party that shares the workers fairly: an album, or all single photos of a caller."""
        return self.album or self.caller

    @property
    def party(self) -> str:
        """The unit that shares the workers fairly: a caller or, where all are one caller, a flow."""
        return party_of(self.caller, self.album)

    @property
    def photo_reference(self) -> Reference:
        return Reference(self.photo_key, self.id)

    @property
    def result_reference(self) -> Reference:
        """The reference of this attempt alone: a superseded attempt releases its own and never another's."""
        return Reference(self.result_key, f"{self.id}:{self.attempts}")

    @property
    def references(self) -> tuple[Reference, ...]:
        """All references that any attempt may have left behind."""
        attempts = range(1, self.attempts + 1)
        return (self.photo_reference, *(Reference(self.result_key, f"{self.id}:{attempt}") for attempt in attempts))


def party_of(caller: str, album: str | None) -> str:
    """Return who takes turns in a lane with the jobs of an album, or with single photos."""
    return (album or caller) if caller == PUBLIC_ID else caller


def new_id() -> str:
    """An unguessable id of 160 bits."""
    return secrets.token_hex(20)


def is_id(text: str) -> bool:
    """Return whether `new_id` could have returned this; anything else may name another key of Redis."""
    return _ID.fullmatch(text) is not None


def error_info(error: SakugaError) -> ErrorInfo:
    """Return the part of an error that a job's owner sees."""
    return ErrorInfo(code=error.code, title=error.title, detail=error.detail)


def as_ended(job: Job, state: State, at: float, **changes: object) -> Job:
    """Return the job as finished."""
    return job.model_copy(update={"finished_at": at, "state": state, "stage": None, **changes})


def as_expired(job: Job, at: float) -> Job:
    """Return the job as expired."""
    return job if job.state is State.EXPIRED else as_ended(job, State.EXPIRED, job.finished_at or at, result=None)


def parse(record: dict[str, str]) -> Job:
    """Read the hash of a job.

    Raises:
        UnknownJobError: it is empty or unreadable.
        NewerRecordError: a newer release wrote it.
    """
    if not record:
        raise UnknownJobError(NO_SUCH_JOB)
    try:
        return Job.model_validate(record_values(record))
    except (ValueError, RecursionError) as error:  # no JSON, or not what a job has
        raise UnreadableJobError(DAMAGED) from error
