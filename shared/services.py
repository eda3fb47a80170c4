"""The composition root: builds all parts; everything else receives the parts it needs."""

from dataclasses import dataclass
from typing import NamedTuple

from redis import Redis

from shared.albums.counts import AlbumCounts
from shared.albums.store import Albums
from shared.albums.walks import Walks
from shared.callers.api_keys import ApiKeys
from shared.callers.quotas import Quotas
from shared.jobs.attempts import Attempts
from shared.jobs.cached_results import CachedResults
from shared.jobs.events import Events
from shared.jobs.quarantine import Quarantine
from shared.jobs.references import JobReferences
from shared.jobs.store import Jobs
from shared.jobs.totals import Totals
from shared.photos.formats import Limits
from shared.redis_clock import Clock
from shared.redis_connection import redis_client
from shared.scheduling.admission import Admission
from shared.scheduling.broker import Queue, celery_app
from shared.scheduling.estimates import Estimates
from shared.scheduling.lanes import Lanes
from shared.scheduling.leases import Leases
from shared.scheduling.recount import Recount
from shared.scheduling.resend_locks import ResendLocks
from shared.scheduling.room import Room
from shared.scheduling.workers import Workers
from shared.settings import Settings
from shared.storage.backends import open_store
from shared.storage.base import Store
from shared.storage.references import WAIT_S, References
from shared.styles import Styles, installed_styles
from shared.webhooks.outbox import Webhooks


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a process of Sakuga works with; `shared.usecases` works with it."""

    settings: Settings
    api_keys: ApiKeys
    quotas: Quotas
    redis: Redis
    clock: Clock
    store: Store
    styles: Styles
    workers: Workers
    lanes: Lanes
    room: Room
    admission: Admission
    estimates: Estimates
    leases: Leases
    resend_locks: ResendLocks
    jobs: Jobs
    attempts: Attempts
    events: Events
    quarantine: Quarantine
    totals: Totals
    cached_results: CachedResults
    albums: Albums
    walks: Walks
    webhooks: Webhooks
    references: References
    queue: Queue
    limits: Limits

    @property
    def default_style(self) -> str:
        """The full name of the style for whoever chooses none; it may not be installed."""
        return self.styles.full_name(self.settings.style)


class Observers(NamedTuple):
    """The observers of jobs, in the order in which they are called."""

    lanes: Lanes
    recount: Recount
    leases: Leases
    resend_locks: ResendLocks
    cached_results: CachedResults
    references: JobReferences
    totals: Totals
    quarantine: Quarantine
    album_counts: AlbumCounts
    room: Room
    events: Events


def connect(settings: Settings, *, wait_s: float = WAIT_S) -> Services:
    """Put the services together; Redis and the store are reached when first used.

    Requests wait up to `wait_s` for a locked photo.
    """
    redis, store, api_keys = redis_client(settings), open_store(settings), ApiKeys(settings.api_keys)
    clock = Clock(redis)
    workers, observers = Workers(redis, clock), _observers(settings, redis, clock)
    jobs = Jobs(redis, clock, observers, ticket=observers.lanes.ticket, quarantine_ttl_s=settings.quarantine_ttl_s)
    return Services(
        settings=settings,
        api_keys=api_keys,
        quotas=Quotas(redis, clock, api_keys),
        redis=redis,
        clock=clock,
        store=store,
        styles=installed_styles(settings.data_dir),
        workers=workers,
        lanes=observers.lanes,
        room=observers.room,
        admission=Admission(
            redis, observers.lanes, workers, observers.room, max_queued_megapixels=settings.max_queued_megapixels
        ),
        estimates=Estimates(redis, clock),
        leases=observers.leases,
        resend_locks=observers.resend_locks,
        jobs=jobs,
        attempts=Attempts(
            jobs,
            is_leased=observers.leases.is_held,
            max_attempts=settings.max_attempts,
            quarantine_ttl_s=settings.quarantine_ttl_s,
        ),
        events=observers.events,
        quarantine=observers.quarantine,
        totals=observers.totals,
        cached_results=observers.cached_results,
        albums=Albums(redis, clock, jobs, observers.room, max_photos=settings.max_album_photos, wait_s=wait_s),
        walks=Walks(redis, clock),
        webhooks=Webhooks(redis, clock, private_hosts=frozenset(settings.webhook_hosts.replace(",", " ").split())),
        references=References(redis, clock, store, wait_s=wait_s),
        queue=Queue(celery_app(settings), redis),
        limits=Limits(settings.max_upload_bytes, settings.max_megapixels),
    )


def _observers(settings: Settings, redis: Redis, clock: Clock) -> Observers:
    return Observers(
        lanes=Lanes(redis, clock),
        recount=Recount(),
        leases=Leases(redis, timeout_s=settings.visibility_timeout_s),
        resend_locks=ResendLocks(redis),
        cached_results=CachedResults(redis),
        references=JobReferences(),
        totals=Totals(redis),
        quarantine=Quarantine(redis),
        album_counts=AlbumCounts(clock),
        room=Room(redis, clock, ttl_s=settings.ttl_s),
        events=Events(redis),
    )
