"""The models of requests and responses, from which OpenAPI is generated too: jobs, previews, and what all share.

Those of albums are in `album_schemas.py`, those of the service itself in `system_schemas.py`.
"""

from datetime import UTC, datetime
from typing import Annotated, Self

from flask import Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.conversion import Faces, Stage
from shared.jobs.record import ErrorInfo, Job, Lane, PhotoInfo, ResultInfo, State
from shared.photos.formats import ALLOWED_SIDES, MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN, ORIGINAL, Format
from shared.scheduling.estimates import Estimate
from shared.validation import OTHERWISE, SHA256_PATTERN

Sha256 = Annotated[str, Field(pattern=SHA256_PATTERN)]


def _in_pixels(value: object, validated: ValidatorFunctionWrapHandler) -> int:
    try:
        side: int = validated(MAX_SIDE_MAX if value == ORIGINAL else value)
    except ValidationError as error:
        raise PydanticCustomError(OTHERWISE, "must be {allowed}", {"allowed": ALLOWED_SIDES}) from error
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
    """The form in which the picture is served."""

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
