"""The one place where the parts are put together; everything else receives what it needs.

Imported by the entry points of `web`, `worker` and `cli`.
"""

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import structlog
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from shared import images, pipeline
from shared.broker import Queue, celery_app
from shared.errors import SakugaError, UnknownJobError
from shared.holdings import Holdings
from shared.images import Limits
from shared.jobs import Idempotency, Job, Jobs, PhotoInfo, State, new_id
from shared.lanes import Lane, Lanes
from shared.pipeline import Options
from shared.settings import Settings
from shared.store import Store, open_store
from shared.styles import Style, Styles, installed_styles

SENDING_TAKES_S = 60  # a record older than this whose job was not queued has lost its submitter

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller wants done with a photo."""

    style: str
    options: Options
    caller: str = "public"
    lane: Lane = Lane.INTERACTIVE
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a process of Sakuga works with."""

    settings: Settings
    redis: Redis
    store: Store
    styles: Styles
    lanes: Lanes
    jobs: Jobs
    holdings: Holdings
    queue: Queue
    limits: Limits

    def submit(self, photo: BinaryIO, order: Order) -> Job:
        """Accept a photo: judge it, keep it, write its record, queue it, so that what is accepted can be done.

        Returns the job that an earlier request with the same idempotency key made, if there is one.

        Raises:
            SakugaError: why it is refused; nothing of it is left behind.
        """
        style = self.styles[order.style]
        header = images.inspect(photo, self.limits)
        photo.seek(0)
        sha256 = hashlib.file_digest(photo, "sha256").hexdigest()  # type: ignore[arg-type]
        idempotency = _idempotency(order, sha256)
        if idempotency and (earlier := self.jobs.earlier(order.caller, idempotency)):
            return earlier
        megapixels = pipeline.working_megapixels((header.width, header.height), order.options.max_side)
        self.lanes.admit(order.lane, megapixels)
        info = PhotoInfo(width=header.width, height=header.height, bytes=photo.seek(0, 2), sha256=sha256)
        job = self._new_job(order, style, info, megapixels)
        with self.holdings.holding(job.photo_key, job):
            self.store.put(job.photo_key, photo, content_type="application/octet-stream")
        return self._enter(job, idempotency)

    def _new_job(self, order: Order, style: Style, photo: PhotoInfo, megapixels: float) -> Job:
        now = time.time()
        work_ms = self.lanes.estimate_ms(style, megapixels)
        digest = pipeline.result_digest(photo.sha256, style.sha256, order.options)
        return Job(
            id=new_id(),
            caller=order.caller,
            style=style.name,
            max_side=order.options.max_side,
            format=order.options.format,
            lane=order.lane,
            created_at=now,
            expires_at=now + self.settings.ttl_s,
            photo=photo,
            photo_key=f"{order.caller}/photos/{photo.sha256}",
            result_key=f"{order.caller}/results/{digest}.{order.options.format.extension}",
            pixels=round(megapixels * 1e6),
            work_ms=work_ms,
            ticket_ms=self.lanes.ticket(order.lane, work_ms),
        )

    def _enter(self, job: Job, idempotency: Idempotency | None) -> Job:
        """Write the record of a job whose photo is kept, and queue it."""
        try:
            made = self.jobs.create(job, idempotency)
        except BaseException:
            self.holdings.release(job.photo_key, job.id)
            raise
        if made.id != job.id:
            self.holdings.release(job.photo_key, job.id)
            return made
        try:
            self.queue.send(job)
        except SakugaError:
            self.erase(job.id)
            raise
        self.jobs.mark_sent(job.id)
        return job

    def erase(self, job_id: str) -> None:
        """Remove a job with its photo and its result."""
        job = self.jobs.erase(job_id)
        self.holdings.release(job.photo_key, job.id)
        self.holdings.release(job.result_key, job.id)

    def tidy(self, count: int = 100) -> None:
        """Finish what others left half done and end what has had its time, up to `count` of each. Safe to repeat."""
        self.send_forgotten(count)
        self.expire_due(count)
        self.holdings.release_lapsed(count)

    def send_forgotten(self, count: int) -> int:
        """Queue the waiting jobs whose submitter died before it could; returns how many there were."""
        forgotten = self.jobs.unsent(time.time() - SENDING_TAKES_S, count)
        for job_id in forgotten:
            with suppress(UnknownJobError):
                if (job := self.jobs.get(job_id)).state is State.QUEUED:
                    self.queue.send(job)
                    log.warning("a job that was never queued is queued now", job_id=job_id)
            self.jobs.mark_sent(job_id)
        return len(forgotten)

    def expire_due(self, count: int = 100) -> int:
        """Expire up to `count` jobs whose time to live has passed; returns how many there were."""
        due = self.jobs.due(time.time(), count)
        for job_id in due:
            self.jobs.expire(job_id)
            log.info("job expired", job_id=job_id)
        return len(due)


def connect(settings: Settings) -> Services:
    """Put the services together; Redis and the store are reached when first used."""
    redis = redis_client(settings)
    store = open_store(settings)
    lanes = Lanes(redis, max_queued_megapixels=settings.max_queued_megapixels)
    return Services(
        settings=settings,
        redis=redis,
        store=store,
        styles=installed_styles(settings.data_dir),
        lanes=lanes,
        jobs=Jobs(redis, lanes, max_attempts=settings.max_attempts),
        holdings=Holdings(redis, store),
        queue=Queue(celery_app(settings)),
        limits=Limits(settings.max_upload_bytes, settings.max_megapixels),
    )


def redis_client(settings: Settings) -> Redis:
    """A client that reconnects and tries a lost command twice more."""
    return Redis.from_url(
        settings.redis_url.replace("redis+socket://", "unix://", 1),  # kombu's name for it, and redis-py's
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=3,
        socket_timeout=40,  # above the longest blocking read
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        retry_on_error=[RedisConnectionError],
    )


def _idempotency(order: Order, photo_sha256: str) -> Idempotency | None:
    if order.idempotency_key is None:
        return None
    parts = (photo_sha256, order.style, str(order.options.max_side), order.options.format.value)
    return Idempotency(order.idempotency_key, hashlib.sha256("\n".join(parts).encode()).hexdigest())
