"""The Celery task: a thin layer around the pipeline.

The outcome of a job is written into its record here, or in `worker.messages` if the process died, independently of the
state of the queue.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from time import monotonic

import structlog
from billiard.exceptions import SoftTimeLimitExceeded
from redis.exceptions import RedisError

from shared import pipeline
from shared.conversion import Options, Stage, decoding_limit_s, drawn_pixels, previews_key, result_key
from shared.drawing import Engine
from shared.errors import (
    CanceledError,
    NewerRecordError,
    PhotoTooLargeError,
    SakugaError,
    TimedOutError,
    UnavailableError,
    UnknownJobError,
    UnknownStyleError,
)
from shared.jobs.record import Job, ResultInfo
from shared.photos.formats import Header
from shared.pipeline import Picture
from shared.services import Services
from shared.storage.base import MissingObjectError
from shared.usecases.dispatch import claim
from worker import process_memory, process_time

REPORT_EVERY_S = 0.5
NEWER_PAUSE_S = 10.0  # before a job with a record of a newer release is tried again, for a newer worker to take it

log = structlog.get_logger()


def convert(
    job_id: str,
    services: Services,
    engine_of: Callable[[str], Engine],
    *,
    worker: str = "",
    is_prepared: Callable[[str], bool] = lambda _: True,
) -> float | None:
    """Run one attempt at a job by the node `worker`; previews wait until all of their styles are prepared there.

    Returns the delay in seconds before a retry, if there should be one.

    Raises:
        RedisError: the record could not be written; the job stays with the queue.
    """
    try:
        return _convert(job_id, services, engine_of, worker, is_prepared)
    except NewerRecordError:
        log.warning("job record written by a newer release; requeueing the job", job_id=job_id)
        return NEWER_PAUSE_S


def _convert(
    job_id: str,
    services: Services,
    engine_of: Callable[[str], Engine],
    worker: str,
    is_prepared: Callable[[str], bool],
) -> float | None:
    job = claim(services, job_id, worker)
    if job is None:
        return None
    with structlog.contextvars.bound_contextvars(job_id=job.id, attempt=job.attempts):
        try:
            return _attempt(job, services, engine_of, is_prepared)
        except SoftTimeLimitExceeded:
            error: SakugaError = timed_out(services)
        except (RedisError, NewerRecordError):
            raise
        except Exception:
            log.exception("conversion failed with an unhandled exception")
            error = SakugaError("The conversion failed; the cause is in the log of the service.")
        with suppress(UnknownJobError):
            services.attempts.fail(job.id, error, attempt=job.attempts)
        return None


def _attempt(
    job: Job, services: Services, engine_of: Callable[[str], Engine], is_prepared: Callable[[str], bool]
) -> float | None:
    try:
        _convert_claimed(job, services, engine_of, is_prepared)
    except (CanceledError, UnknownJobError):
        return _stop(job, services)
    except SakugaError as error:
        with suppress(UnknownJobError):
            return _fail(job, error, services)
    return None


def _fail(job: Job, error: SakugaError, services: Services) -> float | None:
    """End the attempt with an error; return the delay in seconds before a retry, if there is one."""
    # Another node may have the style, or this one soon.
    outage = isinstance(error, UnavailableError | UnknownStyleError)
    if (error.retryable or outage) and (pause_s := services.attempts.requeue(job, outage=outage)):
        log.warning("conversion will be retried", code=error.code, pause_s=pause_s)
        return pause_s
    cause = error.__cause__ if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None  # of ours, not of the photo's
    log.warning("conversion failed", code=error.code, detail=error.detail, exc_info=cause)
    services.attempts.fail(job.id, error, attempt=job.attempts)
    return None


def _convert_claimed(
    job: Job, services: Services, engine_of: Callable[[str], Engine], is_prepared: Callable[[str], bool]
) -> None:
    if _reuse_cached_result(job, services):
        return
    if job.styles:
        _require_prepared(job.styles, is_prepared)
        _commit(*_drawn_previews(job, services, engine_of), services)
        return
    engine, key = _engine_and_key(job, services, engine_of)
    if key != job.result_key:
        job = services.attempts.set_result_key(job, key)
        if _reuse_cached_result(job, services):
            return
    with services.store.open(job.photo_key) as photo:
        picture = pipeline.convert(
            photo,
            _options(job),
            engine,
            services.limits,
            checkpoint=_ProgressReporter(job, services),
            decoding=partial(_limited, services),
        )
    _commit(job, picture, services)


def _commit(job: Job, picture: Picture, services: Services) -> None:
    with _acquire_result(job, services):
        picture = replace(picture, data=_kept(job, picture.data, services))
        done = services.attempts.succeed(job, _described(job, picture), timings=picture.timings, notes=picture.notes)
    _learn(done, picture, services)
    log.info("conversion succeeded", **picture.timings)


def _drawn_previews(job: Job, services: Services, engine_of: Callable[[str], Engine]) -> tuple[Job, Picture]:
    """Return the previews in the styles as they are now, and the job with the key of these."""
    while True:
        styles = [services.styles[name] for name in job.styles]
        with services.store.open(job.photo_key) as photo:
            picture = pipeline.preview(
                photo,
                job.styles,
                engine_of,
                services.limits,
                checkpoint=_ProgressReporter(job, services),
                decoding=partial(_limited, services),
            )
        if styles == [services.styles[name] for name in job.styles]:  # otherwise they may be of either
            key = previews_key(job.caller, job.photo.sha256, [style.digest for style in styles])
            return (job if key == job.result_key else services.attempts.set_result_key(job, key)), picture


def _require_prepared(styles: Collection[str], is_prepared: Callable[[str], bool]) -> None:
    """Give previews back while one of their styles is being prepared: they are not worth keeping a process waiting."""
    if not all(map(is_prepared, styles)):
        raise UnavailableError("The styles are still being prepared on this machine.")


def _engine_and_key(job: Job, services: Services, engine_of: Callable[[str], Engine]) -> tuple[Engine, str]:
    """Return the engine of a job's style as it is now, and the key of what that draws.

    Both may have changed since the job was submitted: weights are replaced, and a new release draws otherwise.
    """
    while True:
        style = services.styles[job.style]
        engine = engine_of(style.name)
        if services.styles[job.style] == style:  # otherwise the engine may be of either
            return engine, result_key(job.caller, job.photo.sha256, style.digest, _options(job))


def _options(job: Job) -> Options:
    return Options(job.max_side, job.format, job.faces).within((job.photo.width, job.photo.height))


@contextmanager
def _limited(services: Services, header: Header) -> Iterator[None]:
    """Limit what decoding takes of memory and of processor time."""
    with process_memory.limit_growth(services.limits.decoding_bytes), process_time.limit(decoding_limit_s(header)):
        yield


def _kept(job: Job, data: bytes, services: Services) -> bytes:
    """Store a picture and return it; if another attempt or engine was first, return that picture instead."""
    if services.store.put_new(job.result_key, data, content_type=job.content_type):
        return data
    with services.store.open(job.result_key) as there:
        return there.read()


class _ProgressReporter:
    """Publishes the progress of a conversion, and stops it when the job is canceled.

    Most stages pass in a moment and are not worth a transaction each; the beginning and the end of generating are.
    """

    def __init__(self, job: Job, services: Services) -> None:
        self._job = job
        self._services = services
        self._stage: Stage | None = None
        self._reported_at = monotonic()  # by the claim

    def __call__(self, stage: Stage, progress: float) -> None:
        begins = stage in {Stage.GENERATE, Stage.POSTPROCESS} and self._stage is not stage
        if begins or monotonic() - self._reported_at >= REPORT_EVERY_S:
            self._services.attempts.advance(self._job, stage, progress)
            self._stage, self._reported_at = stage, monotonic()


def _learn(job: Job, picture: Picture, services: Services) -> None:
    """Update the measured pace and the accuracy of estimates."""
    if not job.styles and job.style in services.styles:  # previews draw in many at once
        size, drawn_at = (job.photo.width, job.photo.height), services.styles[job.style].drawn_at
        took_ms, drawn = 1000 * picture.timings[f"{Stage.GENERATE}_s"], drawn_pixels(size, job.max_side, drawn_at)
        services.estimates.record_pace(job.style, took_ms / (drawn / 1e6))
    finished_at = job.finished_at or job.created_at
    services.estimates.record_eta_error(job.initial_eta_s, finished_at - job.created_at)
    services.estimates.record_slowdown(job.work_ms, 1000 * (finished_at - (job.started_at or finished_at)))


def _acquire_result(job: Job, services: Services) -> AbstractContextManager[None]:
    return services.references.acquire(
        job.result_reference, until=job.expires_at, is_committed=lambda: services.attempts.has_committed(job)
    )


def _reuse_cached_result(job: Job, services: Services) -> bool:
    """Reuse the picture that another job made of the same photo, if it still exists."""
    earlier = services.cached_results.find(job)
    if earlier is None:
        return False
    try:
        with _acquire_result(job, services):
            _share(job, services, *earlier)
    except MissingObjectError:
        return False
    log.info("conversion shared with an earlier job")
    return True


def _share(job: Job, services: Services, result: ResultInfo, notes: tuple[str, ...]) -> None:
    if services.store.head(job.result_key) is None:
        raise MissingObjectError("The earlier picture is gone.")  # so that its reference is released
    services.attempts.succeed(job, result, timings={}, notes=notes)


def _stop(job: Job, services: Services) -> float | None:
    """End a canceled attempt; return the delay in seconds before a retry, if that was asked for meanwhile."""
    try:
        is_retried = services.attempts.stop(job)
    except UnknownJobError:
        log.info("conversion stopped: the job was erased")
        return None
    log.info("conversion stopped", is_retried=is_retried)
    return 0.0 if is_retried else None


def _described(job: Job, picture: Picture) -> ResultInfo:
    return ResultInfo(
        width=picture.width,
        height=picture.height,
        bytes=len(picture.data),
        sha256=hashlib.sha256(picture.data).hexdigest(),
        content_type=job.content_type,
    )


def too_long_to_decode() -> PhotoTooLargeError:
    """Return the error of a job whose photo took too much processor time to decode."""
    return PhotoTooLargeError("Decoding this photo takes more time than its size allows.")


def timed_out(services: Services) -> TimedOutError:
    """Return the error of a job that ran out of time."""
    limit_s = services.settings.job_time_limit_s
    return TimedOutError(f"A conversion may take at most {limit_s} seconds; try a light style or a smaller max_side.")
