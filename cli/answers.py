"""The answers of a server, with the fields that the commands use."""

from pydantic import BaseModel

from shared.jobs.record import ErrorInfo, ResultInfo, State
from shared.photos.formats import Limits
from shared.storage.base import MissingObjectError


class RemoteJob(BaseModel):
    """A job, with the fields that this client uses."""

    id: str
    state: State
    result: ResultInfo | None
    error: ErrorInfo | None
    notes: tuple[str, ...]
    links: dict[str, str]


class RemoteAlbum(BaseModel):
    """An album as a whole."""

    id: str
    counts: dict[State, int]
    eta_s: float | None
    pending: list[str] = []  # an earlier release does everything at once

    @property
    def unfinished(self) -> int:
        return self.counts[State.QUEUED] + self.counts[State.RUNNING]


class RemotePhoto(BaseModel):
    """A photo of an album: its job, or why it was rejected."""

    name: str
    sha256: str | None
    state: State
    job: RemoteJob | None
    error: ErrorInfo | None

    @property
    def must_be_sent_again(self) -> bool:
        """True if its picture has expired, or the photo had when it was to be drawn again."""
        was_gone = self.job is None and self.error is not None and self.error.code == MissingObjectError.code
        return self.state is State.EXPIRED or was_gone


class RemotePage(BaseModel):
    """A page of an album's photos, in the order they were added."""

    photos: list[RemotePhoto]
    next_cursor: int | None


class RemoteLimits(BaseModel):
    """The limits of a server, with the fields that this client uses."""

    max_upload_bytes: int
    max_megapixels: float
    max_album_photos: int

    @property
    def of_photo(self) -> Limits:
        return Limits(self.max_upload_bytes, self.max_megapixels)


class MissingPhotos(BaseModel):
    """The digests of photos that an album does not have."""

    missing: list[str]
