"""Estimates of when a job or an album will be done, from the measured speed of earlier work.

A job records the total work submitted when it joined its lane (its ticket), so the work ahead of it is one
subtraction, whatever the queue's length. In the bulk lane jobs overtake each other, so there are estimates for albums
and not for jobs.

Those who take turns get equal shares, so until the work of one is done each of the others gets as much, or less if it
has less: that is counted first among the albums of a caller, then among callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from shared import redis_keys
from shared.jobs.record import Job, Lane, State, party_of
from shared.redis_clock import Clock
from shared.scheduling.fair_queue import FLOWS_OF
from shared.scheduling.lane_order import BULK_SHARE
from shared.scheduling.workers import count_alive
from shared.styles import Size, Style

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

OVERHEAD_MS = 60  # decoding, encoding and the store, per job
MIN_MS = 0.1  # per megapixel; faster than any engine, but not zero, which is no pace
# Milliseconds per megapixel until a worker has measured its own, one process, one thread.
FIRST_GUESS_MS = {Size.FULL: 4000.0, Size.LIGHT: 800.0}
MAX_STEP, MAX_FIRST_STEP = 1.5, 4  # times the present slowdown that one job may count for
PACE_WEIGHT = 0.2  # of a new measurement in the moving average
MAX_READ = 100  # of those who take turns, for one estimate: a sample of this size is off by about a twentieth


@dataclass(frozen=True, slots=True)
class Estimate:
    """A job's position (1 is next; 0 is running) and the seconds until it is done, where known."""

    position: int | None
    eta_s: float | None


class Estimates:
    """The measurements in one Redis, and the estimates from them."""

    def __init__(self, redis: "Redis", clock: Clock) -> None:
        """Keep it in `redis`."""
        self._redis = redis
        self._clock = clock

    def estimate_ms(self, styles: Sequence[Style], megapixels: float) -> int:
        """Estimate the work of a job in milliseconds of one process, at the measured pace of each style it draws in."""
        paces = self._redis.hmget(redis_keys.PACE, [style.name for style in styles])
        guesses = [FIRST_GUESS_MS[style.size] for style in styles]
        each_ms = (float(pace) if pace else guess for pace, guess in zip(paces, guesses, strict=True))
        return OVERHEAD_MS + round(megapixels * sum(each_ms))

    def record_pace(self, style_name: str, ms_per_megapixel: float) -> None:
        """Update the pace of a style: a moving average, so that one odd photo does not move it far."""
        before = self._redis.hget(redis_keys.PACE, style_name)
        after = ms_per_megapixel if before is None else _average(float(before), ms_per_megapixel)
        self._redis.hset(redis_keys.PACE, style_name, f"{max(after, MIN_MS):.1f}")

    def record_eta_error(self, eta_s: float | None, took_s: float) -> None:
        """Update the mean relative error of the ETAs that the owners of jobs were given at first."""
        if eta_s is None or took_s <= 0:
            return
        error = abs(eta_s - took_s) / took_s
        before = self.eta_error()
        self._redis.set(redis_keys.ETA_ERROR, f"{error if before is None else _average(before, error):.4f}")

    def record_slowdown(self, expected_ms: int, took_ms: float) -> None:
        """Update the factor by which jobs take longer than estimated at submission.

        Queued work was estimated with the pace of that time, which may have been a guess. One odd photo, however long
        it took, moves the factor by a few percent, since all estimates depend on it.
        """
        factor = took_ms / max(1, expected_ms)
        found = self._redis.get(redis_keys.SLOWDOWN)
        before, step = (float(found), MAX_STEP) if found else (1.0, MAX_FIRST_STEP)
        factor = min(max(factor, before / step), before * step)
        self._redis.set(redis_keys.SLOWDOWN, f"{_average(before, factor) if found else factor:.4f}")

    def eta_error(self) -> float | None:
        """Return the mean relative error of estimated times; None until a job has finished."""
        error = self._redis.get(redis_keys.ETA_ERROR)
        return None if error is None else float(error)

    def pace(self) -> dict[str, float]:
        """Return the measured megapixels per second of one process, by style."""
        return {str(name): round(1000 / float(ms), 4) for name, ms in self._redis.hgetall(redis_keys.PACE).items()}

    def estimate(self, job: Job) -> Estimate:
        """Estimate the position and time of an unfinished job. Hardly more work with a longer queue.

        There is no estimate for a queued bulk job, only for its album. The photos of other callers count as far as they
        get their turn before this one.
        """
        if job.ended:
            return Estimate(None, None)
        now = self._clock.now()
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrank(redis_keys.lane_sent(job.lane), job.id)
            pipe.zcard(redis_keys.lane_sent(job.lane))
            pipe.lpos(FLOWS_OF[job.lane].jobs(job.flow), job.id)
            pipe.zcard(FLOWS_OF[job.lane].parties)
            levels = FLOWS_OF[job.lane].work_of(job.party, job.flow)
            _read_work(pipe, levels)
            pipe.hget(redis_keys.lane_totals(job.lane), "finished_ms")
            pipe.hget(redis_keys.lane_totals(Lane.BULK), "jobs")
            count_alive(pipe, now)
            pipe.get(redis_keys.SLOWDOWN)
            rank, sent, own_rank, parties, *work, finished, bulk_jobs, processes, slowdown = pipe.execute()
        own_s = job.work_ms * float(slowdown or 1) / 1000
        if job.state is State.RUNNING:
            left_s = own_s - (now - (job.started_at or 0))
            return Estimate(0, max(0.1, left_s) if processes else None)
        if rank is None and own_rank is not None:
            rank = sent + own_rank * max(1, parties)
        position = None if rank is None else int(rank) + 1
        if job.lane is Lane.BULK or not processes:
            return Estimate(None if job.lane is Lane.BULK else position, None)
        arrived_before_ms = job.ticket_ms - job.work_ms - int(finished or 0)
        ahead_ms = max(0, min(arrived_before_ms, _work_until_done_ms(levels, work) - job.work_ms))
        ahead_s = ahead_ms * float(slowdown or 1) / 1000
        if int(bulk_jobs or 0) > 0:  # then every process has a picture to finish first
            ahead_s = ahead_s / (1 - BULK_SHARE) + own_s * int(processes) / (int(processes) + 1)
        return Estimate(position, ahead_s / int(processes) + own_s)

    def album_eta_s(self, caller: str, album: str) -> float | None:
        """Estimate the seconds until an album's work is done beside all other work; None without workers.

        Constant work per call: with more than `MAX_READ` others a random sample stands for all.
        """
        now = self._clock.now()
        levels = FLOWS_OF[Lane.BULK].work_of(party_of(caller, album), album)
        with self._redis.pipeline(transaction=False) as pipe:
            _read_work(pipe, levels)
            pipe.hmget(redis_keys.lane_totals(Lane.INTERACTIVE), ["submitted_ms", "finished_ms"])
            count_alive(pipe, now)
            pipe.get(redis_keys.SLOWDOWN)
            *work, singles, processes, slowdown = pipe.execute()
        if not processes:
            return None
        work_ms = _work_until_done_ms(levels, work)
        submitted, finished = (int(value or 0) for value in singles)
        work_ms = min(work_ms + submitted - finished, work_ms / BULK_SHARE)  # single photos first, within their share
        return work_ms * float(slowdown or 1) / int(processes) / 1000


def _read_work(pipe: "Pipeline", levels: list[tuple[str, str]]) -> None:
    """Queue the reading of what `_work_until_done_ms` takes."""
    for key, name in levels:
        pipe.hget(key, name)
        pipe.hlen(key)
        pipe.hrandfield(key, MAX_READ, withvalues=True)


def _work_until_done_ms(levels: list[tuple[str, str]], work: list[Any]) -> float:
    """Return the work of a lane until a flow is done: its own, and as much of every other, or less if that has less.

    Then the same of its party and of every other.
    """
    done_ms = float(work[0] or 0)
    for place, (_, name) in enumerate(levels):
        own, count, sample = work[3 * place : 3 * place + 3]
        others = [min(done_ms, int(ms)) for other, ms in zip(sample[::2], sample[1::2], strict=True) if other != name]
        done_ms += (count - (own is not None)) * (fmean(others) if others else 0)
    return done_ms


def _average(before: float, measured: float) -> float:
    return (1 - PACE_WEIGHT) * before + PACE_WEIGHT * measured
