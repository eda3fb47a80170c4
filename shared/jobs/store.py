"""The job records, and the only way they change.

A job lives in one Redis hash. Every change reads the record, decides, and writes under WATCH, so that a change based on
a stale record is retried. Observers write what depends on a job in the same transaction; the store knows none of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from shared import redis_keys
from shared.errors import IdempotencyKeyReusedError, NewerRecordError, OverruledError, UnknownJobError
from shared.jobs.observer import Change, Observer
from shared.jobs.reader import JobReader, fetch
from shared.jobs.record import RECORD_GRACE_S, Job, Lane, State, as_ended, as_expired, parse
from shared.record_codec import record_fields
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

IDEMPOTENCY_TTL_S = 24 * 3600

# Redis runs a script as one step. KEYS: a record, where it is kept. ARGV: for how many seconds.
_PUT_ASIDE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('RENAME', KEYS[1], KEYS[2])
return redis.call('EXPIRE', KEYS[2], ARGV[1])
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's Idempotency-Key with the digest of what came with it."""

    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A string of Redis and its value, or None for none: while it is that, a change is still wanted."""

    key: str
    value: str | None


class Jobs(JobReader):
    """All job records in one Redis."""

    def __init__(
        self,
        redis: "Redis",
        clock: Clock,
        observers: Iterable[Observer] = (),
        *,
        ticket: Callable[[Lane, int], int],
        quarantine_ttl_s: float,
    ) -> None:
        """Keep them in `redis`, and call the observers on every change.

        `ticket` gives a queued job its place among the others; damaged records are kept for `quarantine_ttl_s`.
        """
        super().__init__(redis)
        self._clock = clock
        self._observers = tuple(observers)
        self._ticket = ticket
        self._quarantine_ttl_s = quarantine_ttl_s

    def find_by_idempotency_key(self, caller: str, idempotency: Idempotency) -> Job | None:
        """Find the job that an earlier request with this idempotency key created, if it still exists.

        Raises:
            IdempotencyKeyReusedError: the key came with something else before.
        """
        return self._find_by_idempotency_key(self._redis, redis_keys.idempotency(caller, idempotency.key), idempotency)

    def create(self, job: Job, idempotency: Idempotency | None = None) -> Job:
        """Write a new record, or return the one that another request with this idempotency key has created meanwhile.

        Raises:
            IdempotencyKeyReusedError: the key came with something else before.
        """
        if idempotency is None:
            return self._transact(lambda pipe: self._insert(pipe, job), redis_keys.job_record(job.id))
        key = redis_keys.idempotency(job.caller, idempotency.key)

        def write(pipe: "Pipeline") -> Job:
            earlier = self._find_by_idempotency_key(pipe, key, idempotency)
            if earlier:
                return earlier
            self._insert(pipe, job)
            pipe.hset(key, mapping={"job": job.id, "fingerprint": idempotency.fingerprint})
            pipe.expire(key, IDEMPOTENCY_TTL_S)
            return job

        return self._transact(write, key, redis_keys.job_record(job.id))

    def change(self, job_id: str, decide: Callable[[Job], Job], *, condition: Condition | None = None) -> Job:
        """Replace a job by what `decide` returns for it, and return that; if `decide` raises, the job is unchanged.

        Raises:
            UnknownJobError: there is none, or it is unreadable.
            OverruledError: `condition` holds no longer; the job is unchanged.
        """

        def write(pipe: "Pipeline") -> Job:
            if condition and pipe.get(condition.key) != condition.value:
                raise OverruledError("Something else was asked since.")
            record = fetch(pipe, job_id)
            before = parse(record)
            after = decide(before)
            pipe.multi()
            if after != before:
                fields = record_fields(after)
                changed = {name: value for name, value in fields.items() if record.get(name) != value}
                pipe.hset(redis_keys.job_record(job_id), mapping=changed)
                self._write(pipe, Change(before, after))
            return after

        return self._transact(write, redis_keys.job_record(job_id), *([condition.key] if condition else []))

    def waiting(self, job: Job) -> Job:
        """Return the job as requeued, behind all others."""
        behind = {"ticket_ms": self._ticket(job.lane, 0)}  # its own work is in the total already
        return job.model_copy(update=behind | {"state": State.QUEUED, "stage": None, "progress": 0.0})

    def cancel(self, job_id: str, *, condition: Condition | None = None) -> Job:
        """Stop a job: at once while it waits, at its next stage while it runs. Idempotent."""

        def ask(job: Job) -> Job:
            if job.ended:
                return job
            if job.state is State.QUEUED:
                return as_ended(job, State.CANCELED, self.now())
            return job.model_copy(update={"cancel_requested": True})

        return self.change(job_id, ask, condition=condition)

    def retry(self, job_id: str, *, condition: Condition | None = None) -> Job:
        """Requeue a job that failed or was canceled, with all its attempts.

        One that is still to stop goes on instead, or is requeued by its worker; any other is left alone.
        """

        def begin(job: Job) -> Job:
            if not job.ended:
                return job.model_copy(update={"cancel_requested": False})
            if job.state not in {State.FAILED, State.CANCELED}:
                return job
            waiting = self.waiting(job)
            anew = {"error": None, "finished_at": None, "started_at": None, "cancel_requested": False}
            return waiting.model_copy(update=anew | {"uncounted_attempts": job.attempts, "outage_s": 0.0})

        return self.change(job_id, begin, condition=condition)

    def expire(self, job_id: str) -> bool:
        """Expire a job in whatever state; one without a readable record is cleared.

        Returns False if only a newer release can expire it; where none runs any more, Redis deletes the record.
        """
        try:
            self.change(job_id, lambda job: as_expired(job, self.now()))
        except NewerRecordError:
            return False
        except UnknownJobError:
            self.clear(job_id)
        else:
            self._redis.zrem(redis_keys.EXPIRY, job_id)
        return True

    def due(self, count: int, *, after: int = 0) -> list[str]:
        """Return up to `count` jobs that are due to expire, without the first `after`."""
        return cast("list[str]", self._redis.zrangebyscore(redis_keys.EXPIRY, 0, self.now(), start=after, num=count))

    def clear(self, job_id: str) -> None:
        """Remove a job whose record is gone or unreadable from all pending work.

        A damaged record is set aside for the operator, for as long as jobs are kept in quarantine.
        """
        record, kept = redis_keys.job_record(job_id), redis_keys.damaged_record(job_id)
        with self._redis.pipeline() as pipe:
            pipe.zrem(redis_keys.EXPIRY, job_id)
            for observer in self._observers:
                observer.lost(pipe, job_id)
            pipe.eval(_PUT_ASIDE, 2, record, kept, int(self._quarantine_ttl_s))
            *_, was_there = pipe.execute()
        if was_there:
            log.error("unreadable job record set aside", job_id=job_id, key=kept)

    def erase(self, job_id: str) -> Job:
        """Remove the record and everything that points to it; returns what it was."""

        def remove(pipe: "Pipeline") -> Job:
            job = parse(fetch(pipe, job_id))
            pipe.multi()
            pipe.delete(redis_keys.job_record(job_id))
            pipe.zrem(redis_keys.caller_jobs(job.caller), job_id)
            pipe.zrem(redis_keys.EXPIRY, job_id)
            self._tell(pipe, Change(job, None))
            return job

        return self._transact(remove, redis_keys.job_record(job_id))

    def now(self) -> float:
        """Return the time, in seconds since the epoch, of the clock that dates the records."""
        return self._clock.now()

    def _find_by_idempotency_key(self, redis: "Redis", key: str, idempotency: Idempotency) -> Job | None:
        known = cast("dict[str, str]", redis.hgetall(key))
        if not known:
            return None
        if known["fingerprint"] != idempotency.fingerprint:
            raise IdempotencyKeyReusedError("Use a new Idempotency-Key for a different photo or different options.")
        try:
            return self.get(known["job"])
        except UnknownJobError:
            return None  # erased since: the key may make a new job

    def _insert(self, pipe: "Pipeline", job: Job) -> Job:
        if pipe.exists(redis_keys.job_record(job.id)):
            return job  # the answer to our write was lost, not the write
        pipe.multi()
        pipe.hset(redis_keys.job_record(job.id), mapping=record_fields(job))
        if job.album is None:  # an album lists its own
            _list(pipe, job)
        pipe.zadd(redis_keys.EXPIRY, {job.id: job.expires_at})
        self._write(pipe, Change(None, job))
        return job

    def _write(self, pipe: "Pipeline", change: Change) -> None:
        """Set when a record expires, and call the observers."""
        if change.moves:
            _keep(pipe, change.job)
        if change.before and change.before.expires_at != change.job.expires_at:
            pipe.zadd(redis_keys.EXPIRY, {change.job.id: change.job.expires_at})
        self._tell(pipe, change)

    def _tell(self, pipe: "Pipeline", change: Change) -> None:
        for observer in self._observers:
            observer.changed(pipe, change)

    def _transact(self, body: Callable[["Pipeline"], Job], *watched: str) -> Job:
        """Run `body` under WATCH until it succeeds without a conflict; what it queues after `multi` is atomic."""
        # redis-py's annotation overlooks value_from_callable
        return cast("Job", self._redis.transaction(body, *watched, value_from_callable=True))  # type: ignore[arg-type]


def _keep(pipe: "Pipeline", job: Job) -> None:
    """Let Redis itself delete a record that no worker expired, or could read."""
    pipe.expireat(redis_keys.job_record(job.id), int(job.expires_at) + RECORD_GRACE_S)


def _list(pipe: "Pipeline", job: Job) -> None:
    """Add a job to the list of its caller, and remove those that expired long ago."""
    index = redis_keys.caller_jobs(job.caller)
    pipe.zadd(index, {job.id: job.created_at})
    pipe.expireat(index, int(job.expires_at) + RECORD_GRACE_S)
    oldest_kept = 2 * job.created_at - job.expires_at - RECORD_GRACE_S
    pipe.zremrangebyscore(index, 0, oldest_kept)
