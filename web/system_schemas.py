"""The models of responses that are about the service: its styles, limits, queue and readiness."""

from typing import Annotated

from pydantic import BaseModel, Field

from shared.jobs.record import Lane
from shared.photos.formats import Format
from shared.styles import Size
from web.schemas import Sha256


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
