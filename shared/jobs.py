"""The job record: what it holds, and the only ways it may change.

A job lives in one Redis hash. Every change reads the record, decides, and writes under WATCH, so that a change based on
what is no longer true is made again. Each writes an event to the job's stream in the same transaction.
Imported by everyone.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from shared.errors import AttemptsExhaustedError, CanceledError, IdempotencyKeyReusedError, SakugaError, UnknownJobError
from shared.images import Format
from shared.lanes import Lane, Lanes
from shared.pipeline import PROGRESS_AT, Stage

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

EXPIRY = "sakuga:expiry"
UNSENT = "sakuga:unsent"  # jobs that are recorded and not yet known to be queued, by when they were recorded
TOTALS = "sakuga:totals"
RECORD_GRACE_S = 24 * 3600  # how long an expired job can still say that it has expired
IDEMPOTENCY_TTL_S = 24 * 3600
EVENTS_KEPT = 100
PATIENCE_S = 1.0  # how often a waiting reader looks whether it should go on


class State(StrEnum):
    """The life of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"


ENDED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.EXPIRED})


class PhotoInfo(BaseModel):
    """The photo as uploaded: upright size in pixels, bytes, digest."""

    model_config = ConfigDict(frozen=True)
    width: int
    height: int
    bytes: int
    sha256: str


class ResultInfo(PhotoInfo):
    """The picture made of it."""

    content_type: str


class ErrorInfo(BaseModel):
    """Why a job failed, in words its owner may read."""

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
    style: str
    max_side: int
    format: Format
    lane: Lane = Lane.INTERACTIVE
    progress: float = 0.0
    stage: Stage | None = None
    attempts: int = 0
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
    result: ResultInfo | None = None
    error: ErrorInfo | None = None
    notes: tuple[str, ...] = ()
    timings: dict[str, float] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


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

    def __init__(self, redis: "Redis", lanes: Lanes, *, max_attempts: int) -> None:
        """`max_attempts` is how often a job may be claimed before it fails for good."""
        self._redis = redis
        self._lanes = lanes
        self._max_attempts = max_attempts

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
            return self._transact(lambda pipe: self._insert(pipe, job))
        key = _idempotency_key(job.caller, idempotency.key)

        def write(pipe: "Pipeline") -> Job:
            earlier = self._earlier(pipe, key, idempotency)
            if earlier:
                return earlier
            self._insert(pipe, job)
            pipe.hset(key, mapping={"job": job.id, "fingerprint": idempotency.fingerprint})
            pipe.expire(key, IDEMPOTENCY_TTL_S)
            return job

        return self._transact(write, key)

    def get(self, job_id: str) -> Job:
        """Read a record.

        Raises:
            UnknownJobError: there is none.
        """
        return _parse(cast("dict[str, str]", self._redis.hgetall(_record(job_id))))

    def claim(self, job_id: str) -> Job | None:
        """Begin an attempt, or return None when there is nothing (more) to do: ended, erased, tried too often.

        Attempts are counted here and not by the queue, so they count whatever died: a child, a node, Redis.
        """

        def begin(job: Job) -> Job:
            if job.ended:
                return job
            if job.cancel_requested:
                return _ended(job, State.CANCELED)
            if job.attempts >= self._max_attempts:
                tries = f"It was tried {job.attempts} times and never came to an end."
                return _ended(job, State.FAILED, error=error_info(AttemptsExhaustedError(tries)))
            return job.model_copy(
                update={
                    "state": State.RUNNING,
                    "attempts": job.attempts + 1,
                    "started_at": time.time(),
                    "progress": 0.0,
                    "stage": None,
                }
            )

        try:
            job = self._change(job_id, begin)
        except UnknownJobError:
            return None
        return job if job.state is State.RUNNING else None

    def advance(self, job: Job, stage: Stage) -> None:
        """Publish the stage this attempt has come to.

        Raises:
            CanceledError: the owner wants it stopped, or the attempt is no longer the one that counts.
        """

        def move(current: Job) -> Job:
            _require_current(current, job)
            return current.model_copy(update={"stage": stage, "progress": PROGRESS_AT[stage]})

        if self._change(job.id, move).cancel_requested:
            raise CanceledError("The job was canceled.")

    def succeed(self, job: Job, result: ResultInfo, *, timings: dict[str, float], notes: tuple[str, ...]) -> Job:
        """Commit the result of this attempt; a later attempt's record is left alone.

        Raises:
            CanceledError: this attempt is no longer the one that counts.
        """

        def finish(current: Job) -> Job:
            _require_current(current, job)
            queued = {"queued_s": round((job.started_at or job.created_at) - job.created_at, 4)}
            return _ended(current, State.SUCCEEDED, result=result, timings=queued | timings, notes=notes, progress=1.0)

        return self._change(job.id, finish)

    def fail(self, job_id: str, error: SakugaError, *, attempt: int | None = None) -> None:
        """End a running job with an error, unless it has moved on to another attempt than `attempt`."""

        def finish(current: Job) -> Job:
            if current.state is not State.RUNNING or attempt not in {None, current.attempts}:
                return current
            return _ended(current, State.FAILED, error=error_info(error))

        self._change(job_id, finish)

    def earlier_result(self, job: Job) -> tuple[ResultInfo, tuple[str, ...]] | None:
        """What another job made of the same photo with the same options, and its notes, if that is still known."""
        card = cast("dict[str, str]", self._redis.hgetall(_card(job.result_key)))
        return (ResultInfo.model_validate_json(card["result"]), tuple(json.loads(card["notes"]))) if card else None

    def stop(self, job: Job) -> None:
        """End a canceled attempt."""
        self._change(job.id, lambda now: _ended(now, State.CANCELED) if _is_current(now, job) else now)

    def requeue(self, job: Job) -> bool:
        """Let this attempt's job wait for another; False when it was the last one allowed."""

        def wait(current: Job) -> Job:
            if not _is_current(current, job) or current.attempts >= self._max_attempts:
                return current
            return current.model_copy(update={"state": State.QUEUED, "stage": None, "progress": 0.0})

        return self._change(job.id, wait).state is State.QUEUED

    def cancel(self, job_id: str) -> Job:
        """Stop a job: at once while it waits, at its next stage while it runs. Idempotent."""

        def ask(job: Job) -> Job:
            if job.ended:
                return job
            if job.state is State.QUEUED:
                return _ended(job, State.CANCELED)
            return job.model_copy(update={"cancel_requested": True})

        return self._change(job_id, ask)

    def expire(self, job_id: str) -> None:
        """Mark a job whose time to live has passed, whatever it was; an erased one is forgotten."""
        with suppress(UnknownJobError):
            self._change(job_id, lambda job: job if job.state is State.EXPIRED else _expired(job))
        self._redis.zrem(EXPIRY, job_id)

    def erase(self, job_id: str) -> Job:
        """Remove the record and everything that points to it; returns what it was."""

        def remove(pipe: "Pipeline") -> Job:
            job = _parse(cast("dict[str, str]", pipe.hgetall(_record(job_id))))
            pipe.multi()
            if job.state is State.QUEUED:
                self._lanes.leave(pipe, job)
            if not job.ended:
                self._lanes.finish(pipe, job)
            pipe.delete(_record(job_id), _stream(job_id))
            pipe.zrem(_index(job.caller), job_id)
            pipe.zrem(EXPIRY, job_id)
            pipe.zrem(UNSENT, job_id)
            return job

        return self._transact(remove, _record(job_id))

    def totals(self) -> dict[str, float]:
        """Counts of jobs by how they ended and seconds by stage, since the beginning."""
        return {str(name): float(value) for name, value in cast("dict[str, str]", self._redis.hgetall(TOTALS)).items()}

    def due(self, now: float, count: int) -> list[str]:
        """Name up to `count` jobs whose time to live has passed and that are not expired yet."""
        return cast("list[str]", self._redis.zrangebyscore(EXPIRY, 0, now, start=0, num=count))

    def unsent(self, before: float, count: int) -> list[str]:
        """Name up to `count` jobs recorded before a time and not yet known to be queued."""
        return cast("list[str]", self._redis.zrangebyscore(UNSENT, 0, before, start=0, num=count))

    def mark_sent(self, job_id: str) -> None:
        """Note that the job is queued."""
        self._redis.zrem(UNSENT, job_id)

    def page(self, caller: str, *, cursor: str | None, count: int) -> Page:
        """List a caller's jobs, newest first, `count` at a time. A cursor is the last id of the page before."""
        index = _index(caller)
        start = 0
        if cursor is not None:
            rank = self._redis.zrevrank(index, cursor)
            if rank is None:
                return Page([], None)
            start = int(cast("int", rank)) + 1
        ids = cast("list[str]", self._redis.zrevrange(index, start, start + count))
        return Page(self._read_many(index, ids[:count]), ids[count - 1] if len(ids) > count else None)

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
            raise IdempotencyKeyReusedError("Use a new Idempotency-Key for another photo or other options.")
        try:
            return self.get(known["job"])
        except UnknownJobError:
            return None  # erased since: the key may make a new job

    def _insert(self, pipe: "Pipeline", job: Job) -> Job:
        pipe.multi()
        pipe.hset(_record(job.id), mapping=_fields(job))
        pipe.expireat(_record(job.id), int(job.expires_at) + RECORD_GRACE_S)
        pipe.zadd(_index(job.caller), {job.id: job.created_at})
        oldest_kept = 2 * job.created_at - job.expires_at - RECORD_GRACE_S
        pipe.zremrangebyscore(_index(job.caller), 0, oldest_kept)
        pipe.zadd(EXPIRY, {job.id: job.expires_at})
        pipe.zadd(UNSENT, {job.id: job.created_at})
        pipe.hincrby(TOTALS, "jobs_submitted", 1)
        self._lanes.submit(pipe, job)
        self._lanes.join(pipe, job)
        _announce(pipe, job, "state")
        return job

    def _change(self, job_id: str, decide: Callable[[Job], Job]) -> Job:
        def write(pipe: "Pipeline") -> Job:
            before = _parse(cast("dict[str, str]", pipe.hgetall(_record(job_id))))
            after = decide(before)
            pipe.multi()
            if after != before:
                self._write(pipe, before, after)
            return after

        return self._transact(write, _record(job_id))

    def _transact(self, body: Callable[["Pipeline"], Job], *watched: str) -> Job:
        """Run `body` under WATCH until nobody interfered; what it queues after `multi` is written as one."""
        # redis-py's annotation overlooks value_from_callable
        return cast("Job", self._redis.transaction(body, *watched, value_from_callable=True))  # type: ignore[arg-type]

    def _write(self, pipe: "Pipeline", before: Job, after: Job) -> None:
        old, new = _fields(before), _fields(after)
        pipe.hset(_record(after.id), mapping={name: value for name, value in new.items() if old[name] != value})
        if before.state is State.QUEUED and after.state is not State.QUEUED:
            self._lanes.leave(pipe, before)
        if after.state is State.QUEUED and before.state is not State.QUEUED:
            self._lanes.join(pipe, after)
        if after.ended and not before.ended:
            self._lanes.finish(pipe, after)
            pipe.hincrby(TOTALS, f"jobs_{after.state}", 1)
            if after.result:
                pipe.hset(_card(after.result_key), mapping={"result": new["result"], "notes": new["notes"]})
                pipe.expireat(_card(after.result_key), int(after.expires_at))
            for stage, seconds in (after.timings or {}).items():
                pipe.hincrbyfloat(TOTALS, f"seconds_{stage.removesuffix('_s')}", seconds)
        moved = before.state is not after.state
        _announce(pipe, after, "done" if moved and after.ended else "state" if moved else "progress")

    def _read_many(self, index: str, ids: list[str]) -> list[Job]:
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(_record(job_id))
            records = pipe.execute()
        gone = [job_id for job_id, record in zip(ids, records, strict=True) if not record]
        if gone:
            self._redis.zrem(index, *gone)
        return [_parse(record) for record in records if record]


def error_info(error: SakugaError) -> ErrorInfo:
    """What a job's owner is told."""
    return ErrorInfo(code=error.code, title=error.title, detail=error.detail)


def _ended(job: Job, state: State, **changes: object) -> Job:
    return job.model_copy(update={"state": state, "stage": None, "finished_at": time.time(), **changes})


def _expired(job: Job) -> Job:
    return _ended(job, State.EXPIRED, result=None)


def _is_current(current: Job, claimed: Job) -> bool:
    return current.state is State.RUNNING and current.attempts == claimed.attempts


def _require_current(current: Job, claimed: Job) -> None:
    if not _is_current(current, claimed):
        raise CanceledError("Another attempt has taken over.")


def _announce(pipe: "Pipeline", job: Job, kind: str) -> None:
    pipe.xadd(_stream(job.id), {"kind": kind}, maxlen=EVENTS_KEPT)
    pipe.expireat(_stream(job.id), int(job.expires_at) + RECORD_GRACE_S)


def _fields(job: Job) -> dict[Any, Any]:  # what redis-py takes for a mapping of strings
    return {name: json.dumps(value) for name, value in job.model_dump(mode="json").items()}


def _parse(record: dict[str, str]) -> Job:
    if not record:
        raise UnknownJobError("No such job; it may have been deleted, or it expired long ago.")
    return Job.model_validate({name: json.loads(value) for name, value in record.items()})


def _record(job_id: str) -> str:
    return f"sakuga:job:{job_id}"


def _stream(job_id: str) -> str:
    return f"sakuga:job:{job_id}:events"


def _index(caller: str) -> str:
    return f"sakuga:jobs:{caller}"


def _card(result_key: str) -> str:
    return f"sakuga:result:{result_key}"


def _idempotency_key(caller: str, key: str) -> str:
    return f"sakuga:idempotency:{caller}:{key}"
