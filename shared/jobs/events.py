"""The event streams of jobs: every change is published, and requests that wait for one listen."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.reader import JobReader
from shared.jobs.record import RECORD_GRACE_S, Job

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

EVENTS_KEPT = 100
STREAM_GRACE_S = 600  # for how long the events of a finished job can still be read
READ_BLOCK_S = 1.0  # how often a waiting reader checks whether to keep waiting

EventKind = Literal["state", "progress", "done"]


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's stream."""

    id: str
    kind: EventKind


class Events(Observer):
    """The streams of all jobs in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep them in `redis`."""
        self._redis = redis
        self._jobs = JobReader(redis)

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Publish a change; the stream is deleted a while after its job has finished, or with an erased job."""
        stream = redis_keys.job_stream(change.job.id)
        if change.after is None:
            pipe.delete(stream)
            return
        pipe.xadd(stream, {"kind": _kind(change, change.after)}, maxlen=EVENTS_KEPT)
        if change.moves and change.after.ended:
            pipe.expire(stream, STREAM_GRACE_S)
        elif change.moves:
            pipe.expireat(stream, int(change.after.expires_at) + RECORD_GRACE_S)

    def read(self, job_id: str, *, after: str, wait_s: float) -> Iterator[Event]:
        """Yield the events after `after`; wait up to `wait_s` for the first if there is none yet."""
        block_ms = max(1, int(wait_s * 1000))  # 0 would wait forever
        answer = self._redis.xread({redis_keys.job_stream(job_id): after}, block=block_ms)
        for _, entries in cast("list[tuple[str, list[tuple[str, dict[str, EventKind]]]]]", answer or []):
            for event_id, fields in entries:
                yield Event(event_id, fields["kind"])

    def last(self, job_id: str) -> str:
        """Return the id of the newest event, from which to listen for later ones."""
        found = self._redis.xrevrange(redis_keys.job_stream(job_id), count=1)
        newest = cast("list[tuple[str, object]]", found)
        return newest[0][0] if newest else "0"

    def wait_for_end(self, job_id: str, timeout_s: float, *, keep_waiting: Callable[[], bool] = lambda: True) -> Job:
        """Return a job once it has finished, or after `timeout_s` seconds, or once `keep_waiting` returns false."""
        deadline = time.monotonic() + timeout_s
        last = "0"  # the first pass reads what has been, so nothing is missed between reading and listening
        job = self._jobs.get(job_id)
        while not job.ended and (left := deadline - time.monotonic()) > 0 and keep_waiting():
            for event in self.read(job_id, after=last, wait_s=min(left, READ_BLOCK_S)):
                last = event.id
            job = self._jobs.get(job_id)
        return job


def _kind(change: Change, job: Job) -> EventKind:
    if not change.moves:
        return "progress"
    return "done" if job.ended else "state"
