"""What goes over the wire: validated on the way in, rendered on the way out, and described in OpenAPI from here."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from flask import Response
from pydantic import BaseModel, ConfigDict, Field

from shared.conversion import Stage
from shared.jobs.record import ErrorInfo, Job, Lane, PhotoInfo, ResultInfo, State
from shared.photos.formats import Format
from shared.scheduling.estimates import Outlook
from shared.settings import MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN
from shared.styles import Size
from shared.validation import SHA256_PATTERN

MOST_CURSOR = (1 << 53) - 1  # what every JSON reader can tell apart; Redis takes more, but not everything

Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


class JobOptions(BaseModel):
    """What may be chosen for a photo."""

    model_config = ConfigDict(extra="forbid")

    style: Annotated[str | None, Field(description="A name from GET /styles; the default one if left out.")] = None
    max_side: Annotated[
        int,
        Field(ge=MAX_SIDE_MIN, le=MAX_SIDE_MAX, description="Longest side of the picture in pixels; never enlarged."),
    ] = MAX_SIDE_DEFAULT
    format: Annotated[Format, Field(description="png and webp keep transparency.")] = Format.JPEG


class PageOptions(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100, description="Jobs per page.")] = 20
    cursor: Annotated[str | None, Field(max_length=64, description="`next_cursor` of the page before.")] = None


class ResultOptions(BaseModel):
    """How the picture is handed over."""

    model_config = ConfigDict(extra="forbid")

    download: Annotated[bool, Field(description="Whether a browser should save the picture instead of showing it.")] = (
        False
    )


class NoOptions(BaseModel):
    """A call that takes no query."""

    model_config = ConfigDict(extra="forbid")


class JobLinks(BaseModel):
    self: str
    result: str
    events: str
    cancel: str


class JobBody(BaseModel):
    """One photo on its way to a picture."""

    id: str
    state: State
    style: str
    max_side: int
    format: Format
    lane: Lane
    progress: Annotated[float, Field(ge=0, le=1)]
    stage: Stage | None
    position: Annotated[int | None, Field(description="Place in the queue: 1 is next, 0 is being converted.")]
    eta_s: Annotated[float | None, Field(description="Seconds until it is done, as far as that is known.")]
    attempts: int
    cancel_requested: Annotated[bool, Field(description="A running job that was canceled stops at its next step.")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    photo: PhotoInfo
    result: ResultInfo | None
    error: ErrorInfo | None
    notes: Annotated[list[str], Field(description="What its owner should know, e.g. that a first frame was used.")]
    timings: dict[str, float] | None
    links: JobLinks

    @classmethod
    def of(cls, job: Job, outlook: Outlook, links: JobLinks) -> Self:
        same = {"created_at", "started_at", "finished_at", "expires_at", "notes"}
        values = job.model_dump(include=set(cls.model_fields) - same)
        return cls(
            **values,
            position=outlook.position,
            eta_s=rounded(outlook.eta_s),
            created_at=utc(job.created_at),
            started_at=utc(job.started_at) if job.started_at else None,
            finished_at=utc(job.finished_at) if job.finished_at else None,
            expires_at=utc(job.expires_at),
            notes=list(job.notes),
            links=links,
        )


class JobPage(BaseModel):
    """A caller's jobs, newest first."""

    jobs: list[JobBody]
    next_cursor: str | None


class AlbumOptions(JobOptions):
    """What may be chosen for all photos of an album."""

    name: Annotated[str | None, Field(max_length=200, description="What its owner calls it.", examples=["Summer"])] = (
        None
    )
    webhook: Annotated[
        str | None,
        Field(max_length=2000, description="An address that is told when all photos have come to their end."),
    ] = None


class CheckOptions(BaseModel):
    """What a client has, by content."""

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
    """Which page of an album's photos."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=500, description="Photos per page.")] = 100
    cursor: Annotated[int, Field(ge=0, le=MOST_CURSOR, description="`next_cursor` of the page before.")] = 0


class AlbumLinks(BaseModel):
    self: str
    photos: str
    events: str
    archive: str
    check: str
    retry: str
    cancel: str


class Counts(BaseModel):
    """Photos by state; those that were refused count as failed."""

    queued: int
    running: int
    succeeded: int
    failed: int
    canceled: int
    expired: int


class AlbumBody(BaseModel):
    """Many photos on their way to pictures."""

    id: str
    name: str | None
    style: str
    max_side: int
    format: Format
    counts: Counts
    progress: Annotated[float, Field(ge=0, le=1, description="Share of the photos that have come to their end.")]
    eta_s: Annotated[float | None, Field(description="Seconds until all have, as far as that is known.")]
    created_at: datetime
    expires_at: Annotated[datetime, Field(description="Moves with every photo that is added.")]
    links: AlbumLinks


class EndedAlbum(BaseModel):
    """What a webhook tells of an album."""

    id: str
    name: str | None
    counts: Counts


class AlbumEnded(BaseModel):
    """All photos of an album have come to their end."""

    type: Literal["album.ended"]
    timestamp: Annotated[datetime, Field(description="When it was noticed.")]
    data: EndedAlbum


class NewAlbumBody(AlbumBody):
    """An album that was just made."""

    webhook_secret: Annotated[
        str | None, Field(description="What its webhook is signed with (Standard Webhooks); told only now.")
    ]


class AlbumPhoto(BaseModel):
    """A photo of an album: its job, or why it was refused."""

    name: str
    sha256: Sha256 | None
    state: State
    job: JobBody | None
    error: ErrorInfo | None


class AlbumPhotoPage(BaseModel):
    """Photos of an album, in the order they came."""

    photos: list[AlbumPhoto]
    next_cursor: int | None


class AcceptedPhoto(BaseModel):
    name: Annotated[str, Field(description="Its name in the album, which may be a safer one than it came with.")]
    job: str
    links: JobLinks


class RejectedPhoto(BaseModel):
    name: str
    error: ErrorInfo
    retry_after_s: Annotated[int | None, Field(description="When to send it again, where that may help.")] = None


class UploadBody(BaseModel):
    """What became of the photos of an upload."""

    accepted: list[AcceptedPhoto]
    rejected: list[RejectedPhoto]


class MissingBody(BaseModel):
    """What of a client's photos the album lacks."""

    missing: list[Sha256]


class StyleBody(BaseModel):
    """A style and the weights behind it."""

    name: str
    title: str
    description: Annotated[str, Field(description="What its pictures look like.")]
    size: Size
    licence: str
    sha256: Sha256
    provenance: str
    gmac_per_megapixel: Annotated[int, Field(description="Cost: 10^9 multiply-adds for a megapixel drawn.")]
    megapixels_per_s: Annotated[float | None, Field(description="Measured here, one process; null until known.")]
    preview: str | None


class StyleList(BaseModel):
    styles: list[StyleBody]
    default: str


class Range(BaseModel):
    min: int
    max: int
    default: int


class LimitsBody(BaseModel):
    """What this service accepts."""

    max_upload_bytes: int
    max_megapixels: float
    max_side: Range
    min_photo_side: int
    formats: list[Format]
    max_album_photos: int
    max_album_upload_bytes: int
    max_queued_megapixels: float
    job_time_limit_s: int
    ttl_s: int
    requests_per_minute: Annotated[int | None, Field(description="Yours; null for any number.")]
    megapixels_per_day: Annotated[float | None, Field(description="Yours, of pictures; null for any number.")]
    megapixels_left: Annotated[float | None, Field(description="Of these, until midnight UTC.")]


class LaneBody(BaseModel):
    jobs: int
    megapixels: float


class StatsBody(BaseModel):
    """How busy the service is."""

    lanes: dict[Lane, LaneBody]
    worker_processes: int
    megapixels_per_s: Annotated[dict[str, float], Field(description="Measured pace of one process, by style.")]
    rate_megapixels_per_s: Annotated[
        float | None, Field(description="What all processes do together in the default style; null until measured.")
    ]
    eta_error: Annotated[
        float | None, Field(description="How far off the first `eta_s` of a job is on average, as a share of its time.")
    ]


class ReadyBody(BaseModel):
    """Which part answers."""

    ready: bool
    redis: bool
    store: bool
    workers: int


class Problem(BaseModel):
    """An error, after RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable; listed in the documentation.")]
    instance: str


def answer(body: BaseModel, status: int = 200, content_type: str = "application/json") -> Response:
    """Render a body; the line ends, so that a terminal's prompt does not stick to it."""
    return Response(body.model_dump_json() + "\n", status, content_type=content_type)


def rounded(eta_s: float | None) -> float | None:
    """An estimate, as far as it is one."""
    return None if eta_s is None else round(eta_s, 1)


def utc(seconds: float) -> datetime:
    """A time as it goes over the wire."""
    return datetime.fromtimestamp(seconds, UTC)
