"""The one place where the parts are put together; everything else receives what it needs.

Imported by the entry points of `web`, `worker` and `cli`.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import structlog
from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

from shared import clock, images, pipeline
from shared.albums import Album, Albums, have_ended
from shared.broker import Queue, celery_app
from shared.errors import NewerRecordError, SakugaError, UnavailableError, UnknownAlbumError, UnknownJobError
from shared.holdings import WAIT_S, Holdings
from shared.images import Limits
from shared.jobs import Idempotency, Job, Jobs, PhotoInfo, State, new_id
from shared.keys import PUBLIC_ID, Keys
from shared.lanes import LEAST_PIXELS, Lane, Lanes
from shared.leases import Leases
from shared.pipeline import Options
from shared.quotas import Quotas
from shared.reconciliation import reconcile
from shared.settings import Settings
from shared.store import Store, open_store
from shared.styles import Style, Styles, installed_styles
from shared.webhooks import Message, Webhooks, event, new_secret

AHEAD_PER_PROCESS = 2  # bulk jobs in the queue: one is taken while the next is sent
LOST_AFTER_S = 60  # how much longer than the oldest message a job waits before its own is taken for lost
RECONCILED, RECONCILE_S = "sakuga:reconciled", 600

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller wants done with a photo."""

    style: str
    options: Options
    caller: str = PUBLIC_ID
    lane: Lane = Lane.INTERACTIVE
    idempotency_key: str | None = None
    album: str | None = None
    name: str | None = None
    job_id: str | None = None
    sha256: str | None = None  # of the photo, where that is known already


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a process of Sakuga works with."""

    settings: Settings
    keys: Keys
    quotas: Quotas
    redis: Redis
    store: Store
    styles: Styles
    lanes: Lanes
    leases: Leases
    jobs: Jobs
    albums: Albums
    webhooks: Webhooks
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
        sha256 = order.sha256 or hashlib.file_digest(photo, "sha256").hexdigest()  # type: ignore[arg-type]
        idempotency = _idempotency(order, sha256)
        if idempotency and (earlier := self.jobs.earlier(order.caller, idempotency)):
            return earlier
        pixels = max(LEAST_PIXELS, pipeline.working_pixels((header.width, header.height), order.options.max_side))
        info = PhotoInfo(width=header.width, height=header.height, bytes=photo.seek(0, 2), sha256=sha256)
        with self.quotas.spending(order.caller, pixels) as spending:
            self.lanes.admit(order.lane, pixels, order.album or order.caller)
            job = self._new_job(order, style, info, pixels)
            with self.holdings.taking(job.photo_holding, until=job.expires_at):
                self.store.put(job.photo_key, photo, content_type="application/octet-stream")
            spending.may_stand = True
            entered = self._enter(job, idempotency)
            if entered.id != job.id:
                spending.give_back()  # another request with the same idempotency key was quicker, and has paid
        return entered

    def _new_job(self, order: Order, style: Style, photo: PhotoInfo, pixels: int) -> Job:
        now = clock.now(self.redis)
        work_ms = self.lanes.estimate_ms(style, pixels / 1e6)
        digest = pipeline.result_digest(photo.sha256, style.sha256, order.options)
        job = Job(
            id=order.job_id or new_id(),
            caller=order.caller,
            style=style.name,
            max_side=order.options.max_side,
            format=order.options.format,
            lane=order.lane,
            album=order.album,
            name=order.name,
            created_at=now,
            expires_at=now + self.settings.ttl_s,
            photo=photo,
            photo_key=f"{order.caller}/photos/{photo.sha256}",
            result_key=f"{order.caller}/results/{digest}.{order.options.format.extension}",
            pixels=pixels,
            work_ms=work_ms,
            ticket_ms=self.lanes.ticket(order.lane, work_ms),
        )
        return job.model_copy(update={"promised_s": self.lanes.outlook(job).eta_s})

    def _enter(self, job: Job, idempotency: Idempotency | None) -> Job:
        """Write the record of a job whose photo is kept, and queue it."""
        try:
            made = self.jobs.create(job, idempotency)
        except SakugaError:
            self.holdings.release(job.photo_holding)
            raise  # after any other error the record may be there: without one the photo's holding lapses
        if made.id != job.id:
            self.holdings.release(job.photo_holding)
            return made
        if job.lane is Lane.BULK:
            with suppress(RedisError):  # whose turn it is is asked again soon
                self.feed()
            return job
        try:
            self.queue.send(job.id, job.lane)
        except SakugaError:
            self.erase(job.id)
            raise
        return job

    def feed(self) -> None:
        """Send the bulk jobs whose turn it is: a few ahead of the workers, so that the others' order can still change.

        One that cannot be sent now is taken for lost, and sent again.
        """
        ahead = AHEAD_PER_PROCESS * max(1, self.lanes.processes())
        for _ in range(ahead):
            job_id = self.lanes.next_bulk_job(ahead)
            if job_id is None:
                return
            try:
                self.queue.send(job_id, Lane.BULK)
            except UnavailableError as error:
                self.lanes.was_not_sent(Lane.BULK, job_id)
                log.warning("failed to send a message; will retry", job_id=job_id, error=error.detail)

    def start_album(
        self, caller: str, name: str | None, style: Style, options: Options, *, webhook: str | None = None
    ) -> Album:
        """Write the record of an album that has no photos yet.

        Raises:
            InvalidValueError: `webhook` is no address that may be called.
            QueueFullError: Redis is nearly full.
        """
        self.lanes.require_memory()
        now = clock.now(self.redis)
        return self.albums.create(
            Album(
                id=new_id(),
                caller=caller,
                name=name,
                style=style.name,
                max_side=options.max_side,
                format=options.format,
                created_at=now,
                expires_at=now + self.settings.ttl_s,
                webhook=self.webhooks.require_url(webhook) if webhook else None,
                secret=new_secret() if webhook else None,
            )
        )

    def tell_ended(self, count: int = 100) -> None:
        """Tell the webhooks of albums that have come to their end lately."""
        for album_id in self.albums.perhaps_ended(count):
            counts, last = self.albums.counts_at(album_id)  # whatever happens to a photo moves the last event
            with suppress(NewerRecordError):  # whoever can read it tells it
                if have_ended(counts):
                    self._tell_end(album_id, counts, last)
                self.albums.seen_ended(album_id, last)

    def _tell_end(self, album_id: str, counts: Mapping[State, int], last: str) -> None:
        """Tell the album's webhook that all its photos have come to their end; once, unless some began anew."""
        with suppress(UnknownAlbumError):
            album = self.albums.get(album_id)
            if album.webhook is None or album.secret is None:
                return
            news = hashlib.sha256(f"{album_id} {last}".encode()).hexdigest()[:32]
            body = event("album.ended", {"id": album.id, "name": album.name, "counts": counts})
            message = Message(f"msg_{news}", album.webhook, album.secret, body, album.caller)
            self.webhooks.put(message, keep_s=self.settings.ttl_s)

    def cancel_album(self, album_id: str) -> None:
        """Stop everything of an album that has not ended."""
        for entry in self.albums.entries(album_id):
            if entry.job and not entry.job.ended:
                with suppress(UnknownJobError):
                    self.jobs.cancel(entry.job.id)

    def retry_album(self, album_id: str) -> int:
        """Let the photos of an album that failed or were canceled be tried anew; returns how many.

        Raises:
            QueueFullError: there is no room for the rest; those before are tried.
        """
        retried = 0
        try:
            for entry in self.albums.entries(album_id):
                job = entry.job
                # what is in quarantine may kill workers: that is for the operator to try
                if job and job.state in {State.FAILED, State.CANCELED} and not job.is_quarantined:
                    self.lanes.admit(job.lane, job.pixels, job.flow)
                    with suppress(UnknownJobError):
                        self.jobs.retry(job.id)
                        retried += 1
        finally:
            self.feed()
        return retried

    def retry(self, job_id: str) -> None:
        """Let a job that failed or was canceled be tried anew.

        Raises:
            UnknownJobError: there is none.
            UnavailableError: the queue does not take it; it is sent later.
        """
        job = self.jobs.retry(job_id)
        if job.lane is Lane.BULK:
            self.feed()
        else:
            self.queue.send(job.id, job.lane)

    def erase_album(self, album_id: str) -> None:
        """Remove an album with all its photos and pictures: the records now, the files of so many jobs soon after.

        A photo that comes meanwhile is named before the album is closed, and found here, or its sender sees that the
        album is closed, and erases it.
        """
        self.albums.close(album_id)
        names = self.albums.names(album_id)  # all at once: places move when a name is freed meanwhile
        for place in range(0, len(names), 100):
            for entry in self.albums.some(album_id, names[place : place + 100]):
                if entry.job:
                    with suppress(UnknownJobError):
                        self.jobs.erase(entry.job.id)
        self.albums.erase(album_id)

    def erase(self, job_id: str) -> None:
        """Remove a job with its photo and its result; what the store cannot remove now goes when it answers again.

        Its album, if it has one, no longer knows the photo.
        """
        job = self.jobs.erase(job_id)
        if job.album and job.name:
            self.albums.forget(job.album, job.name, job.id)
        try:
            for holding in job.holdings:
                self.holdings.release(holding)
        except UnavailableError as error:
            log.warning("deletion of an erased job's files deferred", job_id=job_id, error=error.detail)

    def send_lost(self, count: int = 100) -> int:
        """Send again the messages that are lost; returns how many there were.

        A job waits in vain when it waits longer than the oldest message: its submitter died before sending it, or the
        queue lost it. A job runs in vain when its worker fell silent and the queue has no message that would give it to
        another.
        """
        lost = [job_id for lane in Lane for job_id in self._waiting_in_vain(lane, count)]
        if vanished := self.leases.vanished(count):
            lost += sorted(set(vanished) - self.queue.handed_out(2 * self.settings.visibility_timeout_s))
        return sum(self._send_again(job_id) for job_id in lost)

    def _send_again(self, job_id: str) -> bool:
        try:
            job = self.jobs.find(job_id)
        except NewerRecordError:
            return False  # whoever can read it sends it
        if job is None:
            self.jobs.clear(job_id)
            return False
        if not self.jobs.may_send_again(job_id):
            return False
        try:
            self.queue.send(job.id, job.lane)
        except UnavailableError as error:
            self.jobs.was_heard_of(job_id)
            log.warning("failed to resend a lost message; will retry", job_id=job_id, error=error.detail)
            return False
        log.warning("lost message resent", job_id=job_id)
        return True

    def _waiting_in_vain(self, lane: Lane, count: int) -> list[str]:
        oldest = self.queue.oldest(lane)
        since = clock.now(self.redis) if oldest is None else self.lanes.waiting_since(lane, oldest)
        if since is None:
            return []  # the oldest message is of a job that no longer waits; it goes soon, and says nothing
        return self.lanes.waiting_before(lane, since - LOST_AFTER_S, count)

    def reconcile(self) -> None:
        """Set right what is kept beside the records, where it has drifted from them; one node does it now and then."""
        if not self.redis.set(RECONCILED, "1", nx=True, ex=RECONCILE_S):
            return
        wrong = reconcile(self.redis) + sum(map(self.albums.recount, self.albums.unsettled()))
        if wrong:
            log.warning("reconciled lists and totals that had drifted from the records", wrong=wrong)

    def expire_due(self) -> None:
        """Expire the jobs whose time to live has passed, but for those that a newer release has recorded."""
        left = 0
        while due := self.jobs.due(count=100, after=left):
            for job_id in due:
                if self.jobs.expire(job_id):
                    log.info("job expired", job_id=job_id)
                else:
                    left += 1


def connect(settings: Settings, *, wait_s: float = WAIT_S) -> Services:
    """Put the services together; Redis and the store are reached when first used.

    Who finds a photo in other hands waits up to `wait_s` for it.
    """
    redis = redis_client(settings)
    keys = Keys(settings.api_keys)
    store = open_store(settings)
    lanes = Lanes(redis, max_queued_megapixels=settings.max_queued_megapixels)
    leases = Leases(redis, timeout_s=settings.visibility_timeout_s)
    jobs = Jobs(redis, lanes, leases, max_attempts=settings.max_attempts, quarantine_ttl_s=settings.quarantine_ttl_s)
    return Services(
        settings=settings,
        keys=keys,
        quotas=Quotas(redis, keys),
        redis=redis,
        store=store,
        styles=installed_styles(settings.data_dir),
        lanes=lanes,
        leases=leases,
        jobs=jobs,
        albums=Albums(redis, jobs, max_photos=settings.max_album_photos, wait_s=wait_s),
        webhooks=Webhooks(redis, private_hosts=frozenset(settings.webhook_hosts.replace(",", " ").split())),
        holdings=Holdings(redis, store, wait_s=wait_s),
        queue=Queue(celery_app(settings), redis),
        limits=Limits(settings.max_upload_bytes, settings.max_megapixels),
    )


def redis_client(settings: Settings, *, patience_s: float = 5, tries: int = 3) -> Redis:
    """A client that reconnects, waits so long for an answer and tries a lost command so often.

    It has to wait for longer than the longest blocking read takes.
    """
    return Redis.from_url(
        settings.redis_url.replace("redis+socket://", "unix://", 1),  # kombu's name for it, and redis-py's
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=min(3, patience_s),
        socket_timeout=patience_s,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), tries - 1),
        retry_on_error=[RedisConnectionError],
    )


def _idempotency(order: Order, photo_sha256: str) -> Idempotency | None:
    if order.idempotency_key is None:
        return None
    parts = (photo_sha256, order.style, str(order.options.max_side), order.options.format.value)
    return Idempotency(order.idempotency_key, hashlib.sha256("\n".join(parts).encode()).hexdigest())
