"""The models of requests and responses that are about albums."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.albums.walks import Action
from shared.conversion import Faces
from shared.jobs.record import ErrorInfo, State
from shared.photos.formats import Format
from web.schemas import JobBody, JobLinks, JobOptions, MaxSide, Sha256

MAX_CURSOR = (1 << 53) - 1  # what every JSON reader can tell apart; Redis takes more, but not everything


class AlbumOptions(JobOptions):
    """Options of an album."""

    name: Annotated[str | None, Field(max_length=200, description="A name for the album.", examples=["Summer"])] = None
    webhook: Annotated[
        str | None,
        Field(max_length=2000, description="A URL to notify when all photos have finished."),
    ] = None

    keep_photos: Annotated[
        bool, Field(description="Keep the photos as long as their pictures, so that they can be drawn again.")
    ] = False


class RedrawOptions(BaseModel):
    """The options for drawing an album again."""

    model_config = ConfigDict(extra="forbid")

    style: Annotated[
        str, Field(description="A name from GET /styles, where `sumi` is short for `sumi-light`.", examples=["yoi"])
    ]
    max_side: Annotated[MaxSide | None, Field(description="Default: that of the album.")] = None
    format: Annotated[Format | None, Field(description="Default: that of the album.")] = None
    faces: Annotated[Faces | None, Field(description="Default: that of the album.")] = None


class AlbumName(BaseModel):
    """A new name of an album."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=200, description="A name for the album.", examples=["Summer"])]


class CheckOptions(BaseModel):
    """The photos a client has, by digest."""

    model_config = ConfigDict(extra="forbid")

    sha256: Annotated[
        list[Sha256],
        Field(
            max_length=10_000,
            description="SHA-256 digests of photos, in hex.",
            examples=[["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]],
        ),
    ]


class PhotoPageOptions(BaseModel):
    """A page of an album's photos."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500, description="Photos per page.")] = 100
    cursor: Annotated[int, Field(ge=0, le=MAX_CURSOR, description="`next_cursor` of the previous page.")] = 0


class AlbumLinks(BaseModel):
    self: str
    photos: str
    events: str
    archive: str
    check: str
    retry: str
    redraw: str
    cancel: str


class Counts(BaseModel):
    """Photos by state; rejected ones count as failed."""

    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class AlbumBody(BaseModel):
    """Many photos and their conversion."""

    id: str
    name: str | None
    style: str
    max_side: int
    format: Format
    faces: Faces
    keep_photos: Annotated[bool, Field(description="Whether the photos are kept, and can be drawn again.")]
    counts: Counts
    progress: Annotated[float, Field(ge=0, le=1, description="Share of the photos that have finished.")]
    eta_s: Annotated[float | None, Field(description="Estimated seconds until all have finished; null if unknown.")]
    pending: Annotated[
        list[Action], Field(description="What is still being done with all photos; `erase` ends with the album.")
    ]
    created_at: datetime
    expires_at: Annotated[datetime, Field(description="Extended with every photo that is added.")]
    links: AlbumLinks


class EndedAlbum(BaseModel):
    """The album in a webhook message."""

    id: str
    name: str | None
    counts: Counts


class AlbumEnded(BaseModel):
    """All photos of an album have finished."""

    type: Literal["album.ended"]
    timestamp: Annotated[datetime, Field(description="When this was detected.")]
    data: EndedAlbum


class NewAlbumBody(AlbumBody):
    """A new album."""

    webhook_secret: Annotated[
        str | None, Field(description="The secret that signs its webhook (Standard Webhooks); shown only once.")
    ]


class AlbumPhoto(BaseModel):
    """A photo of an album: its job, or why it was rejected."""

    name: str
    sha256: Sha256 | None
    state: State
    job: JobBody | None
    error: ErrorInfo | None


class AlbumPhotoPage(BaseModel):
    """An album's photos, in the order they were added."""

    photos: list[AlbumPhoto]
    next_cursor: int | None


class AcceptedPhoto(BaseModel):
    name: Annotated[str, Field(description="Its name in the album, possibly sanitised.")]
    job: str
    links: JobLinks


class RejectedPhoto(BaseModel):
    name: str
    error: ErrorInfo
    retry_after_s: Annotated[int | None, Field(description="When to send it again; null if that would not help.")] = (
        None
    )


class SkippedFile(BaseModel):
    name: str
    code: Annotated[str, Field(description="The code of an error, or `hidden`.")]
    detail: str


class UploadBody(BaseModel):
    """The accepted and rejected photos of an upload, and the files of its archives that are not photos."""

    accepted: list[AcceptedPhoto]
    rejected: list[RejectedPhoto]
    skipped: list[SkippedFile]


class MissingBody(BaseModel):
    """The client's photos that the album does not have."""

    missing: list[Sha256]
