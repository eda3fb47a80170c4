"""The job record: what it holds, and the only ways it may change.

A job lives in one Redis hash. Every change reads the record, decides, and writes under WATCH, so that a change based on
what is no longer true is made again. Each writes an event to the job's stream in the same transaction.
Imported by everyone.
"""

import json
import math
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import structlog
from pydantic import BaseModel, ConfigDict
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from shared import clock, leases
from shared.errors import (
    AttemptsExhaustedError,
    CanceledError,
    IdempotencyKeyReusedError,
    InvalidValueError,
    NewerRecordError,
    SakugaError,
    UnknownJobError,
    UnreadableJobError,
)
from shared.holdings import Holding, hold_until, lapse_now
from shared.images import Format
from shared.lanes import RECORD_PREFIX, Lane, Lanes, sent_key
from shared.leases import Leases
from shared.pipeline import Stage

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

# Of the records of jobs and albums: it rises when an older release could misread what is written from then on. It need
# not for a new field with a default; the fields of `shared.reconciliation` keep their meaning in every version.
RECORD_VERSION = 1
EXPIRY = "sakuga:expiry"
QUARANTINE = "sakuga:quarantine"  # jobs that were tried too often, by when that was seen
TOTALS = "sakuga:totals"
RECORD_GRACE_S = 3600  # how long an expired job can still say that it has expired
STREAM_GRACE_S = 600  # how long the events of a job that has ended can still be listened to
IDEMPOTENCY_TTL_S = 24 * 3600
EVENTS_KEPT = 100
ALBUM_EVENTS_KEPT = 1000
ALBUMS_ENDED = "sakuga:albums:ended"  # albums of which a photo came to its end, until somebody has looked
HINDRANCE_S = 900  # how long a job waits for a store, say, that does not answer
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 30.0  # between its attempts
RESEND_S = 300  # how long a message that was sent again is given to be heard of
NO_SUCH_JOB = "No such job; it may have expired or been deleted."
NEWER = "This was written by a newer release; please try again."
DAMAGED = "This job's record is damaged; please send the photo again."
MOST_AT_ONCE = 16  # jobs that may have been made in the same microsecond
PATIENCE_S = 1.0  # how often a waiting reader looks whether it should go on

_VERSION = {"version": RECORD_VERSION}

# Redis runs a script as one step. KEYS: a record, where it is kept. ARGV: for how many seconds.
_PUT_ASIDE = """
if redis.call('EXISTS', KEYS[1]) == 0 then
    return 0
end
redis.call('RENAME', KEYS[1], KEYS[2])
return redis.call('EXPIRE', KEYS[2], ARGV[1])
"""

log = structlog.get_logger()


class State(StrEnum):
    """The states of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


_STATES = frozenset(json.dumps(state).encode() for state in State)
ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED})


class PhotoInfo(BaseModel):
    """The photo as uploaded: upright size in pixels, bytes, digest."""

    model_config = ConfigDict(frozen=True)
    width: int
    height: int
    bytes: int
    sha256: str


class ResultInfo(PhotoInfo):
    """The resulting picture."""

    content_type: str


class ErrorInfo(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(frozen=True)
    code: str
    title: str
    detail: str


class Job(BaseModel):
    """The record. Times are seconds since the epoch, UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    caller: str
    state: State = State.QUEUED
    claim: str | None = None
    style: str
    max_side: int
    format: Format
    lane: Lane = Lane.INTERACTIVE
    album: str | None = None
    name: str | None = None  # of the photo, within its album
    progress: float = 0.0
    stage: Stage | None = None
    attempts: int = 0
    forgiven: int = 0  # attempts that do not count: before the owner asked for another try, or not the photo's fault
    hindered_s: float = 0.0  # how long attempts and pauses took while something was not there that may come back
    cancel_requested: bool = False
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float
    photo: PhotoInfo
    photo_key: str
    result_key: str
    pixels: int
    work_ms: int
    ticket_ms: int
    promised_s: float | None = None
    result: ResultInfo | None = None
    error: ErrorInfo | None = None
    notes: tuple[str, ...] = ()
    timings: dict[str, float] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def is_quarantined(self) -> bool:
        """Whether it was tried too often: it may be what kills workers, and an operator should see it."""
        return self.state is State.FAILED and self.error is not None and self.error.code == AttemptsExhaustedError.code

    @property
    def flow(self) -> str:
        """Among what bulk work shares the workers fairly."""
        return self.album or self.caller

    @property
    def photo_holding(self) -> Holding:
        return Holding(self.photo_key, self.id)

    @property
    def result_holding(self) -> Holding:
        """Of this attempt alone: one that is overtaken gives back its own and never the other's."""
        return Holding(self.result_key, f"{self.id}:{self.attempts}")

    @property
    def holdings(self) -> tuple[Holding, ...]:
        """All that any attempt may have left."""
        attempts = range(1, self.attempts + 1)
        return (self.photo_holding, *(Holding(self.result_key, f"{self.id}:{attempt}") for attempt in attempts))


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's Idempotency-Key with the digest of what came with it."""

    key: str
    fingerprint: str


EventKind = Literal["state", "progress", "done"]


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's stream."""

    id: str
    kind: EventKind


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a caller's jobs, newest first; `next_cursor` is None on the last."""

    jobs: list[Job]
    next_cursor: str | None


def new_id() -> str:
    """An unguessable id of 160 bits."""
    return secrets.token_hex(20)


class Jobs:
    """All job records in one Redis."""

    def __init__(
        self, redis: "Redis", lanes: Lanes, leases: Leases, *, max_attempts: int, quarantine_ttl_s: float
    ) -> None:
        """A job may be claimed `max_attempts` times; its photo is then kept for the operator for `quarantine_ttl_s`."""
        self._redis = redis
        self._lanes = lanes
        self._leases = leases
        self._max_attempts = max_attempts
        self._quarantine_ttl_s = quarantine_ttl_s

    def earlier(self, caller: str, idempotency: Idempotency) -> Job | None:
        """Find the job that this idempotency key made before, if it is still there.

        Raises:
            IdempotencyKeyReusedError: the key came with something else before.
        """
        return self._earlier(self._redis, _idempotency_key(caller, idempotency.key), idempotency)

    def create(self, job: Job, idempotency: Idempotency | None = None) -> Job:
        """Write a new record, or return the one that this idempotency key made in the meantime.

        Raises:
            IdempotencyKeyReusedError: the key came with something else before.
        """
        if idempotency is None:
            return self._transact(lambda pipe: self._insert(pipe, job), _record(job.id))
        key = _idempotency_key(job.caller, idempotency.key)

        def write(pipe: "Pipeline") -> Job:
            earlier = self._earlier(pipe, key, idempotency)
            if earlier:
                return earlier
            self._insert(pipe, job)
            pipe.hset(key, mapping={"job": job.id, "fingerprint": idempotency.fingerprint})
            pipe.expire(key, IDEMPOTENCY_TTL_S)
            return job

        return self._transact(write, key, _record(job.id))

    def get(self, job_id: str) -> Job:
        """Read a record.

        Raises:
            UnknownJobError: there is none, or it cannot be read.
            NewerRecordError: it is a newer release's, as with whatever reads or changes a record.
        """
        return _read(self._redis, job_id)

    def find(self, job_id: str) -> Job | None:
        """Read a record, if there is one."""
        return self.get_many([job_id]).get(job_id)

    def get_many(self, ids: list[str]) -> dict[str, Job]:
        """Read records by their ids; those that are not there, or cannot be read, are left out.

        Raises:
            NewerRecordError: one of them is a newer release's; without it the answer would be wrong.
        """
        found: dict[str, Job] = {}
        for job_id, read in self._readings(ids).items():
            with suppress(UnknownJobError):
                found[job_id] = read()
        return found

    def _readings(self, ids: list[str]) -> dict[str, Callable[[], Job]]:
        """Fetch records in one round trip; where one of them keeps the others from being fetched, one by one."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(_record(job_id))
                return {job_id: partial(_parse, record) for job_id, record in zip(ids, pipe.execute(), strict=True)}
        except (ResponseError, UnicodeDecodeError):
            return {job_id: partial(self.get, job_id) for job_id in ids}

    def claim(self, job_id: str, holder: str = "") -> Job | None:
        """Begin an attempt in the hands of `holder`.

        Returns None when there is nothing (more) to do: ended, erased, tried too often.

        Attempts are counted here and not by the queue, so they count whatever died: a child, a node, Redis. One that
        runs is overtaken only when its lease has lapsed: a message sent or delivered twice starts nothing twice.
        """
        claim = f"{holder} {secrets.token_hex(8)}"

        def begin(job: Job) -> Job:
            if job.ended or job.claim == claim:  # ours already, where the answer to our write was lost
                return job
            if job.state is State.RUNNING and self._leases.is_held(job_id):
                return job
            if job.cancel_requested:
                return _ended(job, State.CANCELED, self._now())
            if self._was_tried_enough(job):
                return self._exhausted(job)
            return job.model_copy(
                update={
                    "state": State.RUNNING,
                    "claim": claim,
                    "attempts": job.attempts + 1,
                    "started_at": self._now(),
                    "progress": 0.0,
                    "stage": None,
                }
            )

        try:
            job = self._change(job_id, begin)
        except UnknownJobError:
            self.clear(job_id)
            return None
        if job.state is State.RUNNING and job.claim == claim:
            return job
        self.was_heard_of(job_id)
        if job.is_quarantined:
            log.warning("job quarantined after too many attempts", job_id=job_id, attempts=job.attempts)
        return None

    def _exhausted(self, job: Job) -> Job:
        tries = job.attempts - job.forgiven
        often = "once" if tries == 1 else f"{tries} times"
        now, error = self._now(), error_info(AttemptsExhaustedError(f"It was tried {often} and never finished."))
        return _ended(job, State.FAILED, now, error=error, expires_at=max(job.expires_at, now + self._quarantine_ttl_s))

    def advance(self, job: Job, stage: Stage, progress: float) -> None:
        """Publish how far (0..1) this attempt has come.

        Raises:
            CanceledError: the owner wants it stopped, or the attempt is no longer the one that counts.
        """

        def move(current: Job) -> Job:
            _require_current(current, job)
            return current.model_copy(update={"stage": stage, "progress": progress})

        if self._change(job.id, move).cancel_requested:
            raise CanceledError("The job was canceled.")

    def succeed(self, job: Job, result: ResultInfo, *, timings: dict[str, float], notes: tuple[str, ...]) -> Job:
        """Commit the result of this attempt; a later attempt's record is left alone.

        Raises:
            CanceledError: this attempt is no longer the one that counts.
        """

        def finish(current: Job) -> Job:
            if _has_committed(current, job):
                return current  # the answer to our write was lost, not the write
            _require_current(current, job)
            queued = {"queued_s": round((job.started_at or job.created_at) - job.created_at, 4)}
            made = {"result": result, "timings": queued | timings, "notes": notes, "progress": 1.0}
            return _ended(current, State.SUCCEEDED, self._now(), **made)

        return self._change(job.id, finish)

    def has_committed(self, job: Job) -> bool:
        """Whether the result of this very attempt is the job's, or may be."""
        try:
            return _has_committed(self.get(job.id), job)
        except UnknownJobError:
            return False
        except NewerRecordError:
            return True

    def fail(self, job_id: str, error: SakugaError, *, attempt: int | None = None, running_for_s: float = 0) -> None:
        """End a running job with an error.

        One that has moved on to another attempt than `attempt`, or runs for less than `running_for_s`, is left alone.
        """

        def finish(current: Job) -> Job:
            if current.state is not State.RUNNING or attempt not in {None, current.attempts}:
                return current
            now = self._now()
            if now - (current.started_at or 0) < running_for_s:
                return current
            return _ended(current, State.FAILED, now, error=error_info(error))

        self._change(job_id, finish)

    def states(self, ids: list[str]) -> list[str | None]:
        """Read the states of jobs, whichever release recorded them; None where there is no record, or a damaged one."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.execute_command("HGET", _record(job_id), "state", **{NEVER_DECODE: True})  # type: ignore[no-untyped-call]
            return [json.loads(found) if found in _STATES else None for found in pipe.execute(raise_on_error=False)]

    def earlier_result(self, job: Job) -> tuple[ResultInfo, tuple[str, ...]] | None:
        """What another job made of the same photo with the same options, and its notes, if that is still known."""
        card = cast("dict[str, str]", self._redis.hgetall(_card(job.result_key)))
        return (ResultInfo.model_validate_json(card["result"]), tuple(json.loads(card["notes"]))) if card else None

    def stop(self, job: Job) -> None:
        """End a canceled attempt."""

        def finish(current: Job) -> Job:
            return _ended(current, State.CANCELED, self._now()) if _is_current(current, job) else current

        self._change(job.id, finish)

    def requeue(self, job: Job, *, hindered: bool = False) -> float | None:
        """Let this attempt's job wait for another; returns for how many seconds, None when there is to be no other.

        Of a job that was `hindered`, by a store that does not answer say, the attempt does not count: it waits as long
        again as that has lasted, for `HINDRANCE_S` in all.
        """
        now = self._now()
        hindered_s = job.hindered_s + now - (job.started_at or now) if hindered else 0.0
        pause_s = min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, hindered_s))

        def wait(current: Job) -> Job:
            had_its_tries = current.hindered_s > HINDRANCE_S if hindered else self._was_tried_enough(current)
            if not _is_current(current, job) or had_its_tries:
                return current
            waiting = self._waiting(current)
            if not hindered:
                return waiting
            return waiting.model_copy(update={"forgiven": current.forgiven + 1, "hindered_s": hindered_s + pause_s})

        return pause_s if self._change(job.id, wait).state is State.QUEUED else None

    def give_back(self, job_id: str, holder: str, *, counts: bool) -> None:
        """Let a job wait again whose attempt in the hands of `holder` has ended; that of anybody else is left alone.

        The attempt `counts` unless something else than the photo ended it.
        """

        def wait(current: Job) -> Job:
            is_theirs = current.state is State.RUNNING and current.claim and current.claim.startswith(f"{holder} ")
            if not is_theirs:
                return current
            return self._waiting(current).model_copy(update={"forgiven": current.forgiven + (not counts)})

        with suppress(UnknownJobError):
            self._change(job_id, wait)

    def _waiting(self, job: Job) -> Job:
        """The job as it is when it waits again, behind all others."""
        behind = {"ticket_ms": self._lanes.ticket(job.lane, 0)}  # its own work is in the total already
        return job.model_copy(update=behind | {"state": State.QUEUED, "stage": None, "progress": 0.0})

    def _was_tried_enough(self, job: Job) -> bool:
        return job.attempts - job.forgiven >= self._max_attempts

    def cancel(self, job_id: str) -> Job:
        """Stop a job: at once while it waits, at its next stage while it runs. Idempotent."""

        def ask(job: Job) -> Job:
            if job.ended:
                return job
            if job.state is State.QUEUED:
                return _ended(job, State.CANCELED, self._now())
            return job.model_copy(update={"cancel_requested": True})

        return self._change(job_id, ask)

    def retry(self, job_id: str) -> Job:
        """Let a job that failed or was canceled begin anew, its attempts forgiven; any other is left alone."""

        def begin(job: Job) -> Job:
            if job.state not in {State.FAILED, State.CANCELED}:
                return job
            waiting = self._waiting(job)
            anew = {"error": None, "finished_at": None, "started_at": None, "cancel_requested": False}
            return waiting.model_copy(update=anew | {"forgiven": job.attempts, "hindered_s": 0.0})

        return self._change(job_id, begin)

    def expire(self, job_id: str) -> bool:
        """Mark a job whose time to live has passed, whatever it was; one without a readable record is forgotten.

        Returns False for one that a newer release has to expire. Where there is none any more, its record goes by
        itself.
        """
        try:
            self._change(job_id, lambda job: _expired(job, self._now()))
        except NewerRecordError:
            return False
        except UnknownJobError:
            self.clear(job_id)
        else:
            self._redis.zrem(EXPIRY, job_id)
        return True

    def clear(self, job_id: str) -> None:
        """Remove a job whose record is gone or cannot be read from what is still to be done.

        A damaged record is put aside for the operator, as long as what is in quarantine.
        """
        kept = _damaged(job_id)
        with self._redis.pipeline() as pipe:
            for key in (EXPIRY, QUARANTINE, *(sent_key(lane) for lane in Lane)):
                pipe.zrem(key, job_id)
            leases.end(pipe, job_id)
            pipe.eval(_PUT_ASIDE, 2, _record(job_id), kept, int(self._quarantine_ttl_s))
            *_, was_there = pipe.execute()
        if was_there:
            log.error("unreadable job record set aside", job_id=job_id, key=kept)

    def erase(self, job_id: str) -> Job:
        """Remove the record and everything that points to it; returns what it was."""

        def remove(pipe: "Pipeline") -> Job:
            job = _read(pipe, job_id)
            pipe.multi()
            if job.state is State.QUEUED:
                self._lanes.leave(pipe, job)
            if not job.ended:
                self._lanes.finish(pipe, job)
            _tell_album(pipe, job, job.state, None, self._now())
            pipe.delete(_record(job_id), _stream(job_id))
            pipe.zrem(_index(job.caller), job_id)
            pipe.zrem(EXPIRY, job_id)
            pipe.zrem(QUARANTINE, job_id)
            leases.end(pipe, job_id)
            lapse_now(pipe, *job.holdings)
            return job

        return self._transact(remove, _record(job_id))

    def totals(self) -> dict[str, float]:
        """Counts of jobs by how they ended and seconds by stage, since the beginning."""
        return {str(name): float(value) for name, value in cast("dict[str, str]", self._redis.hgetall(TOTALS)).items()}

    def due(self, count: int, *, after: int = 0) -> list[str]:
        """Name up to `count` jobs, after so many others, whose time to live has passed and that are not expired yet."""
        return cast("list[str]", self._redis.zrangebyscore(EXPIRY, 0, self._now(), start=after, num=count))

    def quarantined(self) -> list[Job]:
        """The jobs that were tried too often, as far as they are still there, the oldest first."""
        return self._listed(QUARANTINE, cast("list[str]", self._redis.zrange(QUARANTINE, 0, -1)))

    def may_send_again(self, job_id: str) -> bool:
        """Whether the asker is the one to send a lost job's message again; nobody else may for a while."""
        return bool(self._redis.set(_resent(job_id), "1", nx=True, ex=RESEND_S))

    def was_heard_of(self, job_id: str) -> None:
        """The message that was sent again has come, or could not be sent: if it is lost again, anybody may send it."""
        self._redis.delete(_resent(job_id))

    def page(self, caller: str, *, cursor: str | None, count: int) -> Page:
        """List a caller's jobs, newest first, `count` at a time, from where the page before ended.

        Raises:
            InvalidValueError: the cursor is none of ours.
        """
        newest = _place(cursor) if cursor else (math.inf, "")
        found = cast(
            "list[tuple[str, float]]",
            self._redis.zrevrangebyscore(
                _index(caller), newest[0], "-inf", start=0, num=count + MOST_AT_ONCE, withscores=True
            ),
        )
        places = [(score, job_id) for job_id, score in found if not cursor or (score, job_id) < newest]
        page = places[:count]
        return Page(
            self._listed(_index(caller), [job_id for _, job_id in page]),
            _cursor(*page[-1]) if len(places) > count else None,
        )

    def events(self, job_id: str, *, after: str, wait_s: float) -> Iterator[Event]:
        """Yield the events after the one named `after`; wait up to `wait_s` for the first if there is none yet."""
        answer = self._redis.xread({_stream(job_id): after}, block=max(1, int(wait_s * 1000)))  # 0 waits for ever
        for _, entries in cast("list[tuple[str, list[tuple[str, dict[str, EventKind]]]]]", answer or []):
            for event_id, fields in entries:
                yield Event(event_id, fields["kind"])

    def last_event(self, job_id: str) -> str:
        """The id of the newest event, to listen from now on."""
        newest = cast("list[tuple[str, object]]", self._redis.xrevrange(_stream(job_id), count=1))
        return newest[0][0] if newest else "0"

    def wait(self, job_id: str, timeout_s: float, *, patient: Callable[[], bool] = lambda: True) -> Job:
        """Read a job once it has ended, or as it is after `timeout_s` seconds or when no longer `patient`."""
        deadline = time.monotonic() + timeout_s
        last = "0"  # the first pass reads what has been, so nothing is missed between reading and listening
        job = self.get(job_id)
        while not job.ended and (left := deadline - time.monotonic()) > 0 and patient():
            for event in self.events(job_id, after=last, wait_s=min(left, PATIENCE_S)):
                last = event.id
            job = self.get(job_id)
        return job

    def _earlier(self, redis: "Redis", key: str, idempotency: Idempotency) -> Job | None:
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
        if pipe.exists(_record(job.id)):
            return job  # the answer to our write was lost, not the write
        pipe.multi()
        pipe.hset(_record(job.id), mapping=record_fields(job))
        _keep_record(pipe, job)
        if job.album is None:  # an album lists its own
            pipe.zadd(_index(job.caller), {job.id: job.created_at})
            pipe.expireat(_index(job.caller), int(job.expires_at) + RECORD_GRACE_S)
            oldest_kept = 2 * job.created_at - job.expires_at - RECORD_GRACE_S
            pipe.zremrangebyscore(_index(job.caller), 0, oldest_kept)
        pipe.zadd(EXPIRY, {job.id: job.expires_at})
        pipe.hincrby(TOTALS, "jobs_submitted", 1)
        self._lanes.submit(pipe, job)
        self._lanes.join(pipe, job)
        _announce(pipe, job, "state")
        _keep_events(pipe, job)
        _tell_album(pipe, job, None, job.state, self._now())
        return job

    def _change(self, job_id: str, decide: Callable[[Job], Job]) -> Job:
        def write(pipe: "Pipeline") -> Job:
            record = _fetch(pipe, job_id)
            before = _parse(record)
            after = decide(before)
            pipe.multi()
            if after != before:
                new = record_fields(after)
                pipe.hset(_record(job_id), mapping={name: new[name] for name in new if record.get(name) != new[name]})
                self._write(pipe, before, after)
            return after

        return self._transact(write, _record(job_id))

    def _transact(self, body: Callable[["Pipeline"], Job], *watched: str) -> Job:
        """Run `body` under WATCH until nobody interfered; what it queues after `multi` is written as one."""
        # redis-py's annotation overlooks value_from_callable
        return cast("Job", self._redis.transaction(body, *watched, value_from_callable=True))  # type: ignore[arg-type]

    def _write(self, pipe: "Pipeline", before: Job, after: Job) -> None:
        """Write whatever else changes with a record."""
        if before.state is State.QUEUED and after.state is not State.QUEUED:
            self._lanes.leave(pipe, before)
        if before.ended and not after.ended:
            self._lanes.submit(pipe, after)
        if after.state is State.QUEUED and before.state is not State.QUEUED:
            self._lanes.join(pipe, after, again=not before.ended)
        if after.state is State.RUNNING and after.claim != before.claim:
            leases.begin(pipe, after.id)
            pipe.delete(_resent(after.id))
        if after.state is not State.RUNNING:
            leases.end(pipe, after.id)
        if after.ended and not before.ended:
            self._lanes.finish(pipe, after)
            pipe.hincrby(TOTALS, f"jobs_{after.state}", 1)
            if after.result:
                new = record_fields(after)
                pipe.hset(_card(after.result_key), mapping={"result": new["result"], "notes": new["notes"]})
                pipe.expireat(_card(after.result_key), int(after.expires_at))
                lapse_now(pipe, after.photo_holding)  # nobody needs the photo any more
            for stage, seconds in (after.timings or {}).items():
                pipe.hincrbyfloat(TOTALS, f"seconds_{stage.removesuffix('_s')}", seconds)
        _keep_quarantine(pipe, before, after)
        moved = before.state is not after.state
        _tell_album(pipe, after, before.state, after.state, self._now())
        _announce(pipe, after, "done" if moved and after.ended else "state" if moved else "progress")
        if moved:
            _keep_record(pipe, after)
            _keep_events(pipe, after)

    def _now(self) -> float:
        return clock.now(self._redis)

    def _listed(self, index: str, ids: list[str]) -> list[Job]:
        """The jobs of an index, from which those that are gone are removed."""
        found = self.get_many(ids)
        if gone := set(ids) - found.keys():
            self._redis.zrem(index, *gone)
        return list(found.values())


def error_info(error: SakugaError) -> ErrorInfo:
    """What a job's owner is told."""
    return ErrorInfo(code=error.code, title=error.title, detail=error.detail)


def _ended(job: Job, state: State, at: float, **changes: object) -> Job:
    return job.model_copy(update={"finished_at": at, "state": state, "stage": None, **changes})


def _expired(job: Job, at: float) -> Job:
    return job if job.state is State.EXPIRED else _ended(job, State.EXPIRED, job.finished_at or at, result=None)


def _has_committed(current: Job, attempt: Job) -> bool:
    return current.state is State.SUCCEEDED and current.attempts == attempt.attempts


def _is_current(current: Job, claimed: Job) -> bool:
    return current.state is State.RUNNING and current.attempts == claimed.attempts


def _require_current(current: Job, claimed: Job) -> None:
    if not _is_current(current, claimed):
        raise CanceledError("Another attempt has taken over.")


def _keep_quarantine(pipe: "Pipeline", before: Job, after: Job) -> None:
    if after.is_quarantined and not before.is_quarantined:
        pipe.zadd(QUARANTINE, {after.id: after.finished_at or 0})
        pipe.zadd(EXPIRY, {after.id: after.expires_at})
        hold_until(pipe, after.photo_holding, after.expires_at)
    if before.is_quarantined and not after.is_quarantined:
        pipe.zrem(QUARANTINE, after.id)


def _keep_record(pipe: "Pipeline", job: Job) -> None:
    """Let Redis itself remove a record that nobody was there to expire, or could read."""
    pipe.expireat(_record(job.id), int(job.expires_at) + RECORD_GRACE_S)


def _keep_events(pipe: "Pipeline", job: Job) -> None:
    if job.ended:
        pipe.expire(_stream(job.id), STREAM_GRACE_S)
    else:
        pipe.expireat(_stream(job.id), int(job.expires_at) + RECORD_GRACE_S)


def _announce(pipe: "Pipeline", job: Job, kind: str) -> None:
    pipe.xadd(_stream(job.id), {"kind": kind}, maxlen=EVENTS_KEPT)


def _tell_album(pipe: "Pipeline", job: Job, before: State | None, after: State | None, now: float) -> None:
    """Keep the counts of a job's album, and tell its listeners, as part of what changes the job."""
    if job.album is None or before is after:
        return
    if before:
        pipe.hincrby(album_counts(job.album), before.value, -1)
    if after:
        pipe.hincrby(album_counts(job.album), after.value, 1)
    pipe.xadd(album_stream(job.album), {"name": job.name or "", "state": after or ""}, maxlen=ALBUM_EVENTS_KEPT)
    for key in (album_counts(job.album), album_stream(job.album)):  # the album itself may be gone already
        pipe.expireat(key, int(max(now, job.expires_at)) + RECORD_GRACE_S, nx=True)
    if after is None or after in ENDED:
        pipe.sadd(ALBUMS_ENDED, job.album)


def record_fields(record: BaseModel) -> dict[Any, Any]:  # what redis-py takes for a mapping of strings
    """A record as the hash that Redis keeps: JSON by the name of each field, and the version."""
    return {name: json.dumps(value) for name, value in (record.model_dump(mode="json") | _VERSION).items()}


def record_values(fields: dict[str, str]) -> dict[str, Any]:
    """What was made into a hash by `record_fields`, to be validated.

    Raises:
        NewerRecordError: by a newer release.
        ValueError: it is damaged.
    """
    if int(fields.get("version", RECORD_VERSION)) > RECORD_VERSION:  # at first none was written
        raise NewerRecordError(NEWER, retry_after_s=5)
    return {name: json.loads(value) for name, value in fields.items()}


def _read(redis: "Redis", job_id: str) -> Job:
    return _parse(_fetch(redis, job_id))


def _fetch(redis: "Redis", job_id: str) -> dict[str, str]:
    try:
        return cast("dict[str, str]", redis.hgetall(_record(job_id)))
    except UnicodeDecodeError as error:
        raise UnreadableJobError(DAMAGED) from error
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        raise UnreadableJobError(DAMAGED) from error


def _parse(record: dict[str, str]) -> Job:
    if not record:
        raise UnknownJobError(NO_SUCH_JOB)
    try:
        return Job.model_validate(record_values(record))
    except (ValueError, RecursionError) as error:  # no JSON, or not what a job has
        raise UnreadableJobError(DAMAGED) from error


def _cursor(score: float, job_id: str) -> str:
    return f"{score!r}-{job_id}"


def _place(cursor: str) -> tuple[float, str]:
    score, _, job_id = cursor.partition("-")
    try:
        place = float(score), job_id
    except ValueError:
        place = math.nan, job_id
    if not math.isfinite(place[0]):
        raise InvalidValueError("cursor must be the next_cursor of the previous page.")
    return place


def album_counts(album_id: str) -> str:
    """How many photos of an album are in which state."""
    return f"sakuga:album:{album_id}:counts"


def album_stream(album_id: str) -> str:
    """What happened to the photos of an album."""
    return f"sakuga:album:{album_id}:events"


def _record(job_id: str) -> str:
    return f"{RECORD_PREFIX}{job_id}"


def _damaged(job_id: str) -> str:
    return f"sakuga:damaged:{job_id}"


def _stream(job_id: str) -> str:
    return f"sakuga:job:{job_id}:events"


def _resent(job_id: str) -> str:
    return f"sakuga:resent:{job_id}"


def _index(caller: str) -> str:
    return f"sakuga:jobs:{caller}"


def _card(result_key: str) -> str:
    return f"sakuga:result:{result_key}"


def _idempotency_key(caller: str, key: str) -> str:
    return f"sakuga:idempotency:{caller}:{key}"
