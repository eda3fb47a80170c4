"""The lanes: their queued jobs, and the work that has passed through.

Each lane keeps two running totals of estimated work in milliseconds of one process: what was ever submitted and what
was ever finished. They change in the transaction of the job that changes them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import Job, Lane, State
from shared.redis_clock import Clock
from shared.scheduling import fair_queue
from shared.scheduling.fair_queue import FLOWS_OF

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

LONG_AGO_S = 1e6

# What has no work left leaves nothing behind. KEYS: the work of all parties, or of the flows of one. ARGV: one of
# them, what is done of it.
_SETTLE = """
if redis.call('HINCRBY', KEYS[1], ARGV[1], -ARGV[2]) <= 0 then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
"""


@dataclass(frozen=True, slots=True)
class LaneStats:
    """The queued jobs of a lane."""

    jobs: int
    megapixels: float


@dataclass(frozen=True, slots=True)
class LaneTotals:
    """Work submitted and finished since the beginning, in milliseconds of one process, and the pixels that wait."""

    submitted_ms: int
    finished_ms: int
    pixels: int


class Lanes(Observer):
    """The queued jobs and totals of every lane, in one Redis."""

    def __init__(self, redis: "Redis", clock: Clock) -> None:
        """Keep them in `redis`."""
        self._redis = redis
        self._clock = clock

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Update the totals when a job is queued, leaves the queue, or finishes."""
        if change.before and change.leaves(State.QUEUED):
            _leave(pipe, change.before)
        if change.begins:
            _submit(pipe, change.job)
        if change.enters(State.QUEUED):
            self._join(pipe, change.job, is_new=change.begins)
        if change.ends:
            _finish(pipe, change.job)

    def lost(self, pipe: "Pipeline", job_id: str) -> None:
        """Remove the job from the queue; the next reconciliation corrects the totals."""
        for lane in Lane:
            pipe.zrem(redis_keys.lane_sent(lane), job_id)

    def _join(self, pipe: "Pipeline", job: Job, *, is_new: bool) -> None:
        """Add a job that is queued; a new one waits for the turn of its flow before it is sent."""
        totals = redis_keys.lane_totals(job.lane)
        pipe.hincrby(totals, "pixels", job.pixels)
        pipe.hincrby(totals, "jobs", 1)
        pipe.hincrby(FLOWS_OF[job.lane].pixels, job.party, job.pixels)
        if is_new:
            fair_queue.push(pipe, job)
        else:
            pipe.zadd(redis_keys.lane_sent(job.lane), {job.id: self._clock.now()})

    def ticket(self, lane: Lane, work_ms: int) -> int:
        """Return the total of submitted work with a job of `work_ms`; concurrent callers may get the same."""
        return self.totals(lane).submitted_ms + work_ms

    def next_job(self, lane: Lane, most: int) -> str | None:
        """Return the next job of a lane and mark it as sent.

        None if there is none, or if `most` are in the message queue already, which concurrent callers cannot exceed.
        """
        return fair_queue.pop(self._redis, lane, most, now=self._clock.now())

    def mark_unsent(self, lane: Lane, job_id: str) -> None:
        """Treat a job's message as lost at once, and not only after a while; among several, keep their order."""
        self._redis.zadd(redis_keys.lane_sent(lane), {job_id: -LONG_AGO_S}, xx=True, incr=True)

    def waiting_since(self, lane: Lane, job_id: str) -> float | None:
        """Return since when a job has been queued (epoch seconds); None if it is not."""
        return self._redis.zscore(redis_keys.lane_sent(lane), job_id)

    def waiting_before(self, lane: Lane, before: float, count: int) -> list[str]:
        """Return up to `count` jobs that were queued before a time."""
        found = self._redis.zrangebyscore(redis_keys.lane_sent(lane), 0, before, start=0, num=count)
        return [str(job_id) for job_id in found]

    def stats(self, lane: Lane) -> LaneStats:
        found = self._redis.hmget(redis_keys.lane_totals(lane), ["jobs", "pixels"])
        jobs, pixels = (int(value or 0) for value in found)
        return LaneStats(jobs, pixels / 1e6)

    def totals(self, lane: Lane) -> LaneTotals:
        found = self._redis.hmget(redis_keys.lane_totals(lane), ["submitted_ms", "finished_ms", "pixels"])
        return LaneTotals(*(int(value or 0) for value in found))


def _submit(pipe: "Pipeline", job: Job) -> None:
    pipe.hincrby(redis_keys.lane_totals(job.lane), "submitted_ms", job.work_ms)
    for key, name in FLOWS_OF[job.lane].work_of(job.party, job.flow):
        pipe.hincrby(key, name, job.work_ms)


def _leave(pipe: "Pipeline", job: Job) -> None:
    totals = redis_keys.lane_totals(job.lane)
    pipe.hincrby(totals, "pixels", -job.pixels)
    pipe.hincrby(totals, "jobs", -1)
    pipe.zrem(redis_keys.lane_sent(job.lane), job.id)
    pipe.eval(_SETTLE, 1, FLOWS_OF[job.lane].pixels, job.party, job.pixels)
    fair_queue.remove(pipe, job)


def _finish(pipe: "Pipeline", job: Job) -> None:
    pipe.hincrby(redis_keys.lane_totals(job.lane), "finished_ms", job.work_ms)
    for key, name in FLOWS_OF[job.lane].work_of(job.party, job.flow):
        pipe.eval(_SETTLE, 1, key, name, job.work_ms)
