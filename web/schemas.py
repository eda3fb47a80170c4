"""The models of requests and responses, from which OpenAPI is generated too."""

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.albums.walks import Action
from shared.conversion import Faces, Stage
from shared.jobs.record import ErrorInfo, Job, Lane, PhotoInfo, ResultInfo, State
from shared.photos.formats import MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN, ORIGINAL, Format
from shared.scheduling.estimates import Estimate
from shared.styles import Size
from shared.validation import OTHERWISE, SHA256_PATTERN

MAX_CURSOR = (1 << 53) - 1  # what every JSON reader can tell apart; Redis takes more, but not everything

Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


def _in_pixels(value: object, validated: ValidatorFunctionWrapHandler) -> int:
    try:
        side: int = validated(MAX_SIDE_MAX if value == ORIGINAL else value)
    except ValidationError as error:
        allowed = f"a whole number from {MAX_SIDE_MIN} to {MAX_SIDE_MAX}, or {ORIGINAL}"
        raise PydanticCustomError(OTHERWISE, "must be {allowed}", {"allowed": allowed}) from error
    return side


MaxSide = Annotated[
    int,
    Field(ge=MAX_SIDE_MIN, le=MAX_SIDE_MAX),
    WrapValidator(_in_pixels),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string", "const": ORIGINAL}],
            "minimum": MAX_SIDE_MIN,
            "maximum": MAX_SIDE_MAX,
        }
    ),
]


class JobOptions(BaseModel):
    """Options of a job."""

    model_config = ConfigDict(extra="forbid")

    style: Annotated[
        str | None,
        Field(description="A name from GET /styles, where `sumi` is short for `sumi-light`; omit for the default."),
    ] = None
    max_side: Annotated[
        MaxSide,
        Field(
            description="Longest side of the picture in pixels; photos are never enlarged. `original` stands for the "
            "maximum."
        ),
    ] = MAX_SIDE_DEFAULT
    format: Annotated[Format, Field(description="png and webp keep transparency.")] = Format.JPEG
    faces: Annotated[
        Faces,
        Field(description="auto: faces are drawn at a size that suits them, where the style can; off: with the rest."),
    ] = Faces.AUTO


class PreviewsOptions(BaseModel):
    """Options of previews."""

    model_config = ConfigDict(extra="forbid")

    styles: Annotated[
        str | None,
        Field(
            max_length=2000,
            description="Names from GET /styles, separated by commas; omit for all light styles.",
            examples=["hinata,sumi"],
        ),
    ] = None


class PageOptions(BaseModel):
    """A page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100, description="Jobs per page.")] = 20
    cursor: Annotated[str | None, Field(max_length=64, description="`next_cursor` of the previous page.")] = None


class ResultOptions(BaseModel):
    """How the picture is served."""

    model_config = ConfigDict(extra="forbid")

    download: Annotated[bool, Field(description="Whether a browser should save the picture instead of showing it.")] = (
        False
    )


class NoOptions(BaseModel):
    """No query parameters."""

    model_config = ConfigDict(extra="forbid")


class JobLinks(BaseModel):
    self: str
    result: str
    events: str
    cancel: str


class JobBody(BaseModel):
    """One photo and its conversion."""

    id: str
    state: State
    style: str
    styles: Annotated[list[str], Field(description="The styles of previews; empty for a picture.")]
    max_side: int
    format: Format
    faces: Faces
    lane: Lane
    progress: Annotated[float, Field(ge=0, le=1)]
    stage: Stage | None
    position: Annotated[int | None, Field(description="Position in the queue: 1 is next, 0 is being converted.")]
    eta_s: Annotated[float | None, Field(description="Estimated seconds until it is done; null if unknown.")]
    attempts: int
    cancel_requested: Annotated[bool, Field(description="True once canceled; a running job stops at its next stage.")]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    photo: PhotoInfo
    result: ResultInfo | None
    error: ErrorInfo | None
    notes: Annotated[
        list[str], Field(description="Remarks on the conversion, e.g. that only the first frame was used.")
    ]
    timings: dict[str, float] | None
    links: JobLinks

    @classmethod
    def of(cls, job: Job, estimate: Estimate, links: JobLinks) -> Self:
        same = {"created_at", "started_at", "finished_at", "expires_at", "notes"}
        values = job.model_dump(include=set(cls.model_fields) - same)
        return cls(
            **values,
            position=estimate.position,
            eta_s=rounded(estimate.eta_s),
            created_at=utc(job.created_at),
            started_at=utc(job.started_at) if job.started_at else None,
            finished_at=utc(job.finished_at) if job.finished_at else None,
            expires_at=utc(job.expires_at),
            notes=list(job.notes),
            links=links,
        )


class PreviewBody(BaseModel):
    """A photo as a style would draw it."""

    style: str
    url: Annotated[str, Field(description="The URL of a JPEG of up to 256 pixels on its longest side.")]


class PreviewsBody(JobBody):
    """One photo and its previews, which are drawn in one job; its result is a ZIP archive of them."""

    previews: Annotated[list[PreviewBody], Field(description="One for each style; empty until all are drawn.")] = []

    @classmethod
    def showing(cls, job: JobBody, previews: list[PreviewBody]) -> Self:
        return cls(**job.model_dump(), previews=previews)


class JobPage(BaseModel):
    """A caller's jobs, newest first."""

    jobs: list[JobBody]
    next_cursor: str | None


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
    """How an album is drawn again."""

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


class StyleBody(BaseModel):
    """A style and its weights."""

    name: str
    title: str
    description: Annotated[str, Field(description="What its pictures look like.")]
    size: Size
    licence: str
    sha256: Sha256
    provenance: str
    gmac_per_megapixel: Annotated[int, Field(description="Cost: 10^9 multiply-adds per megapixel drawn.")]
    megapixels_per_s: Annotated[
        float | None, Field(description="Measured on this service for one process; null until known.")
    ]
    preview: str | None


class StyleList(BaseModel):
    styles: list[StyleBody]
    default: str


class Range(BaseModel):
    min: int
    max: int
    default: int


class LimitsBody(BaseModel):
    """The service's limits."""

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
    requests_per_minute: Annotated[int | None, Field(description="Your rate limit; null if unlimited.")]
    megapixels_per_day: Annotated[
        float | None, Field(description="Your quota, counted in pixels of pictures; null if unlimited.")
    ]
    megapixels_left: Annotated[
        float | None, Field(description="What is left of the quota until midnight UTC; null if unlimited.")
    ]


class LaneBody(BaseModel):
    jobs: int
    megapixels: float


class StatsBody(BaseModel):
    """Queue and worker statistics."""

    lanes: dict[Lane, LaneBody]
    worker_processes: int
    megapixels_per_s: Annotated[dict[str, float], Field(description="Measured speed of one process, by style.")]
    rate_megapixels_per_s: Annotated[
        float | None, Field(description="Combined speed of all processes in the default style; null until measured.")
    ]
    eta_error: Annotated[
        float | None, Field(description="Mean error of a job's first `eta_s`, as a share of its actual time.")
    ]


class ReadyBody(BaseModel):
    """Readiness, by component."""

    ready: bool
    redis: bool
    store: bool
    workers: int


class Problem(BaseModel):
    """An error, following RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable error code; listed in the documentation.")]
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
