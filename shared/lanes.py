"""How much work waits, how fast it goes, and so when a job will be done.

Each lane keeps two running totals of estimated work in milliseconds of one process: what was ever submitted and what
was ever finished. A job remembers the first total when it joined (its ticket), so the work ahead of it is one
subtraction, whatever the queue's length. Imported by `shared.jobs` and `web`.
"""

import time
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING

from shared.errors import QueueFullError
from shared.styles import Size, Style

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

    from shared.jobs import Job

WORKERS = "sakuga:workers"
PACE = "sakuga:pace"
HEARTBEAT_S = 2.0
SILENT_AFTER_S = 3 * HEARTBEAT_S
FORGOTTEN_AFTER_S = 3600.0
PROMISES = "sakuga:promises"
OVERHEAD_MS = 60  # decoding, encoding and the store, per job
LEAST_PIXELS = 50_000  # what a job counts for at the least: it takes Redis and a worker's time, however small its photo
# Milliseconds per megapixel until a worker has measured its own, one process, one thread.
FIRST_GUESS_MS = {Size.FULL: 4000.0, Size.LIGHT: 800.0}
PACE_WEIGHT = 0.2  # of a new measurement in the moving average


class Lane(StrEnum):
    """Which queue a job waits in."""

    INTERACTIVE = "interactive"


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a job may expect: its place (1 is next; 0 is running) and seconds until it is done, where known."""

    position: int | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class LaneStats:
    """What waits in a lane."""

    jobs: int
    megapixels: float


def waiting_key(lane: Lane) -> str:
    return f"sakuga:lane:{lane}:waiting"


def totals_key(lane: Lane) -> str:
    return f"sakuga:lane:{lane}:totals"


class Lanes:
    """Reads and keeps the books of every lane in Redis."""

    def __init__(self, redis: "Redis", *, max_queued_megapixels: float) -> None:
        """Admit up to `max_queued_megapixels` of waiting work per lane."""
        self._redis = redis
        self._max_pixels = int(max_queued_megapixels * 1e6)

    def estimate_ms(self, style: Style, megapixels: float) -> int:
        """Work of one job in milliseconds of one process, at the style's measured pace."""
        pace = self._redis.hget(PACE, style.name)
        return OVERHEAD_MS + round(megapixels * (float(pace) if pace else FIRST_GUESS_MS[style.size]))

    def admit(self, lane: Lane, pixels: int) -> None:
        """Refuse a job that the lane has no room for; of those who ask at once, a few may come in above the limit.

        Raises:
            QueueFullError: with the seconds after which half of the queue will be done.
        """
        submitted, finished, waiting = self._totals(lane)
        if waiting and waiting + pixels > self._max_pixels:
            wait_s = max(1, ceil((submitted - finished) / 2000 / max(1, self.processes())))
            raise QueueFullError("The queue is full; please try again later.", retry_after_s=wait_s)

    def ticket(self, lane: Lane, work_ms: int) -> int:
        """The total of submitted work that would include a job of `work_ms`; two asking at once may get the same."""
        return self._totals(lane)[0] + work_ms

    def submit(self, pipe: "Pipeline", job: "Job") -> None:
        """Count a new job's work as submitted, inside the caller's transaction."""
        pipe.hincrby(totals_key(job.lane), "submitted_ms", job.work_ms)

    def join(self, pipe: "Pipeline", job: "Job") -> None:
        """Add a job that begins to wait (again) to the books, inside the caller's transaction."""
        pipe.zadd(waiting_key(job.lane), {job.id: time.time()})
        pipe.hincrby(totals_key(job.lane), "pixels", job.pixels)

    def leave(self, pipe: "Pipeline", job: "Job") -> None:
        """Take a job that no longer waits off the books."""
        pipe.zrem(waiting_key(job.lane), job.id)
        pipe.hincrby(totals_key(job.lane), "pixels", -job.pixels)

    def finish(self, pipe: "Pipeline", job: "Job") -> None:
        """Count a job's work as done: it has come to its end, whichever."""
        pipe.hincrby(totals_key(job.lane), "finished_ms", job.work_ms)

    def record_pace(self, style_name: str, ms_per_megapixel: float) -> None:
        """Learn from a finished conversion: a moving average, so that one odd photo does not move it far."""
        before = self._redis.hget(PACE, style_name)
        after = ms_per_megapixel if before is None else _average(float(before), ms_per_megapixel)
        self._redis.hset(PACE, style_name, f"{after:.1f}")

    def record_promise(self, promised_s: float | None, took_s: float) -> None:
        """Learn how far off the time was that a job's owner was told, as a share of the time it took."""
        if promised_s is None or took_s <= 0:
            return
        error = abs(promised_s - took_s) / took_s
        before = self.promise_error()
        self._redis.set(PROMISES, f"{error if before is None else _average(before, error):.4f}")

    def promise_error(self) -> float | None:
        """How far off promised times are, as a share of the time it took; None until a job has ended."""
        error = self._redis.get(PROMISES)
        return None if error is None else float(error)

    def waiting_since(self, lane: Lane, job_id: str) -> float | None:
        """When a job began to wait (epoch seconds); None when it does not."""
        return self._redis.zscore(waiting_key(lane), job_id)

    def waiting_before(self, lane: Lane, before: float, count: int) -> list[str]:
        """Name up to `count` jobs that began to wait before a time."""
        found = self._redis.zrangebyscore(waiting_key(lane), 0, before, start=0, num=count)
        return [str(job_id) for job_id in found]

    def pace(self) -> dict[str, float]:
        """Megapixels per second of one process, by style, as measured."""
        return {str(name): round(1000 / float(ms), 4) for name, ms in self._redis.hgetall(PACE).items()}

    def beat(self, process: str) -> None:
        """Say that a warm worker process is alive."""
        self._redis.zadd(WORKERS, {process: time.time()})

    def leave_work(self, process: str) -> None:
        self._redis.zrem(WORKERS, process)

    def forget(self, host: str) -> None:
        """Sign off every process of a node that starts anew; it may have died without a word."""
        if gone := self.alive_on(host):
            self._redis.zrem(WORKERS, *gone)

    def alive_on(self, host: str) -> list[str]:
        """The warm worker processes of one node heard of lately, as `host/pid`."""
        self._redis.zremrangebyscore(WORKERS, 0, time.time() - FORGOTTEN_AFTER_S)
        alive = self._redis.zrangebyscore(WORKERS, time.time() - SILENT_AFTER_S, "+inf")
        return [str(name) for name in alive if str(name).startswith(f"{host}/")]

    def processes(self) -> int:
        return int(self._redis.zcount(WORKERS, time.time() - SILENT_AFTER_S, "+inf"))

    def outlook(self, job: "Job") -> Outlook:
        """Where a job that has not ended stands. Constant work per call, whatever the queue's length."""
        if job.ended:
            return Outlook(None, None)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrank(waiting_key(job.lane), job.id)
            pipe.hget(totals_key(job.lane), "finished_ms")
            pipe.zcount(WORKERS, time.time() - SILENT_AFTER_S, "+inf")
            rank, finished, processes = pipe.execute()
        position = 0 if rank is None else int(rank) + 1
        if not processes:
            return Outlook(position, None)
        if job.started_at and rank is None:
            return Outlook(0, max(0.1, job.work_ms / 1000 - (time.time() - job.started_at)))
        ahead_ms = max(0, job.ticket_ms - job.work_ms - int(finished or 0))
        return Outlook(position, (ahead_ms / int(processes) + job.work_ms) / 1000)

    def stats(self, lane: Lane) -> LaneStats:
        return LaneStats(int(self._redis.zcard(waiting_key(lane))), self._totals(lane)[2] / 1e6)

    def _totals(self, lane: Lane) -> tuple[int, int, int]:
        values = self._redis.hmget(totals_key(lane), ["submitted_ms", "finished_ms", "pixels"])
        submitted, finished, pixels = (int(value or 0) for value in values)
        return submitted, finished, pixels


def _average(before: float, measured: float) -> float:
    return (1 - PACE_WEIGHT) * before + PACE_WEIGHT * measured
