"""How much work waits, how fast it goes, and so when a job will be done.

Workers look into the interactive lane first; when bulk work waits too, every so many pictures one is of the bulk lane.
Each lane keeps two running totals of estimated work in milliseconds of one process: what was ever submitted and what
was ever finished. A job remembers the first total when it joined (its ticket), so the work ahead of it is one
subtraction, whatever the queue's length. In the bulk lane jobs overtake each other, so when work will be done is known
of an album and not of a job. Imported by `shared.jobs` and `web`.
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from statistics import fmean
from typing import TYPE_CHECKING

from shared import backlog, clock
from shared.errors import QueueFullError
from shared.memory import Memory
from shared.styles import Size, Style

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

    from shared.jobs import Job

FLOW_PIXELS = "sakuga:flows:pixels"  # that wait, of each flow of the bulk lane
OUTSTANDING = "sakuga:outstanding"  # work (ms) of each flow of the bulk lane that has not come to its end
RECORD_PREFIX = "sakuga:job:"  # of the keys of job records
WORKERS = "sakuga:workers"
PACE = "sakuga:pace"
HEARTBEAT_S = 2.0
SILENT_AFTER_S = 3 * HEARTBEAT_S
FORGOTTEN_AFTER_S = 3600.0
LONG_AGO_S = 1e6
PROMISES = "sakuga:promises"
DRIFT = "sakuga:drift"
OVERHEAD_MS = 60  # decoding, encoding and the store, per job
LEAST_MS = 0.1  # for a megapixel; quicker than any engine is, and not nothing, which has no pace
LEAST_PIXELS = 50_000  # what a job counts for at the least: it takes Redis and a worker's time, however small its photo
# Milliseconds per megapixel until a worker has measured its own, one process, one thread.
FIRST_GUESS_MS = {Size.FULL: 4000.0, Size.LIGHT: 800.0}
PACE_WEIGHT = 0.2  # of a new measurement in the moving average


BULK_ROOM = 10  # times the limit of waiting work: nobody waits for an album in front of a screen
BULK_SHARE = 0.25  # of the pictures, while single photos keep coming
MOST_FLOWS_READ = 100  # to tell when one will be done: a sample of so many is off by a twentieth or so

# A flow without work leaves nothing behind. KEYS: the work of all flows. ARGV: the flow, what is done of it.
_SETTLE = """
if redis.call('HINCRBY', KEYS[1], ARGV[1], -ARGV[2]) <= 0 then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
"""


class Lane(StrEnum):
    """The queue lane of a job: single photos or albums."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


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


def sent_key(lane: Lane) -> str:
    """The jobs that wait in the queue itself, by when they were sent."""
    return f"sakuga:lane:{lane}:sent"


def totals_key(lane: Lane) -> str:
    return f"sakuga:lane:{lane}:totals"


class Lanes:
    """Reads and keeps the books of every lane in Redis."""

    def __init__(self, redis: "Redis", *, max_queued_megapixels: float) -> None:
        """Admit up to `max_queued_megapixels` of waiting work per lane."""
        self._redis = redis
        self._memory = Memory(redis)
        self._max_pixels = int(max_queued_megapixels * 1e6)

    def estimate_ms(self, style: Style, megapixels: float) -> int:
        """Work of one job in milliseconds of one process, at the style's measured pace."""
        pace = self._redis.hget(PACE, style.name)
        return OVERHEAD_MS + round(megapixels * (float(pace) if pace else FIRST_GUESS_MS[style.size]))

    def admit(self, lane: Lane, pixels: int, flow: str) -> None:
        """Refuse a job that the lane has no room for; of those who ask at once, a few may come in above the limit.

        The bulk lane has room for ten times as much, and gives half of that to one flow: an album shuts out no other.

        Raises:
            QueueFullError: with the seconds after which half of the queue will be done; or Redis is nearly full.
        """
        self.require_memory()
        submitted, finished, waiting = self._totals(lane)
        most = self._max_pixels * (BULK_ROOM if lane is Lane.BULK else 1)
        own = int(self._redis.hget(FLOW_PIXELS, flow) or 0) if lane is Lane.BULK else 0
        if (waiting and waiting + pixels > most) or (own and own + pixels > most // 2):
            wait_s = max(1, ceil((submitted - finished) / 2000 / max(1, self.processes())))
            raise QueueFullError("The queue is full; please try again later.", retry_after_s=wait_s)

    def require_memory(self) -> None:
        """Refuse what Redis would have to remember and has hardly any memory for.

        Raises:
            QueueFullError: as soon as that could keep what is there from going on.
        """
        self._memory.require_room()

    def ticket(self, lane: Lane, work_ms: int) -> int:
        """The total of submitted work that would include a job of `work_ms`; two asking at once may get the same."""
        return self._totals(lane)[0] + work_ms

    def submit(self, pipe: "Pipeline", job: "Job") -> None:
        """Count a new job's work as submitted, inside the caller's transaction."""
        pipe.hincrby(totals_key(job.lane), "submitted_ms", job.work_ms)
        if job.lane is Lane.BULK:
            pipe.hincrby(OUTSTANDING, job.flow, job.work_ms)

    def join(self, pipe: "Pipeline", job: "Job", *, again: bool = False) -> None:
        """Add a job that begins to wait to the books, inside the caller's transaction.

        One that waits `again` is with the queue; else a job of the bulk lane waits for its turn first.
        """
        pipe.hincrby(totals_key(job.lane), "pixels", job.pixels)
        pipe.hincrby(totals_key(job.lane), "jobs", 1)
        if job.lane is Lane.BULK:
            pipe.hincrby(FLOW_PIXELS, job.flow, job.pixels)
        if job.lane is Lane.BULK and not again:
            backlog.enter(pipe, job.flow, job.id)
        else:
            pipe.zadd(sent_key(job.lane), {job.id: clock.now(self._redis)})

    def leave(self, pipe: "Pipeline", job: "Job") -> None:
        """Take a job that no longer waits off the books."""
        pipe.hincrby(totals_key(job.lane), "pixels", -job.pixels)
        pipe.hincrby(totals_key(job.lane), "jobs", -1)
        pipe.zrem(sent_key(job.lane), job.id)
        if job.lane is Lane.BULK:
            pipe.eval(_SETTLE, 1, FLOW_PIXELS, job.flow, job.pixels)
            backlog.withdraw(pipe, job.flow, job.id)

    def finish(self, pipe: "Pipeline", job: "Job") -> None:
        """Count a job's work as done: it has come to its end, whichever."""
        pipe.hincrby(totals_key(job.lane), "finished_ms", job.work_ms)
        if job.lane is Lane.BULK:
            pipe.eval(_SETTLE, 1, OUTSTANDING, job.flow, job.work_ms)

    def next_bulk_job(self, most: int) -> str | None:
        """The bulk job whose turn it is, which counts as sent from now on.

        None when none waits for its turn, or when `most` wait in the queue already, however many ask at once.
        """
        return backlog.take(self._redis, sent_key(Lane.BULK), RECORD_PREFIX, most)

    def was_not_sent(self, lane: Lane, job_id: str) -> None:
        """Take the message of a job for lost at once, and not after a while; those of others in their order."""
        self._redis.zadd(sent_key(lane), {job_id: -LONG_AGO_S}, xx=True, incr=True)

    def record_pace(self, style_name: str, ms_per_megapixel: float) -> None:
        """Learn from a finished conversion: a moving average, so that one odd photo does not move it far."""
        before = self._redis.hget(PACE, style_name)
        after = ms_per_megapixel if before is None else _average(float(before), ms_per_megapixel)
        self._redis.hset(PACE, style_name, f"{max(after, LEAST_MS):.1f}")

    def record_promise(self, promised_s: float | None, took_s: float) -> None:
        """Learn how far off the time was that a job's owner was told, as a share of the time it took."""
        if promised_s is None or took_s <= 0:
            return
        error = abs(promised_s - took_s) / took_s
        before = self.promise_error()
        self._redis.set(PROMISES, f"{error if before is None else _average(before, error):.4f}")

    def record_drift(self, expected_ms: int, took_ms: float) -> None:
        """Learn how much longer jobs take than was expected of them when they came, as a factor.

        What waits was measured by the pace of its time, which may have been a guess.
        """
        factor = took_ms / max(1, expected_ms)
        before = self._redis.get(DRIFT)
        self._redis.set(DRIFT, f"{factor if before is None else _average(float(before), factor):.4f}")

    def promise_error(self) -> float | None:
        """How far off promised times are, as a share of the time it took; None until a job has ended."""
        error = self._redis.get(PROMISES)
        return None if error is None else float(error)

    def waiting_since(self, lane: Lane, job_id: str) -> float | None:
        """When a job began to wait (epoch seconds); None when it does not."""
        return self._redis.zscore(sent_key(lane), job_id)

    def waiting_before(self, lane: Lane, before: float, count: int) -> list[str]:
        """Name up to `count` jobs that began to wait before a time."""
        found = self._redis.zrangebyscore(sent_key(lane), 0, before, start=0, num=count)
        return [str(job_id) for job_id in found]

    def pace(self) -> dict[str, float]:
        """Megapixels per second of one process, by style, as measured."""
        return {str(name): round(1000 / float(ms), 4) for name, ms in self._redis.hgetall(PACE).items()}

    def beat(self, process: str) -> None:
        """Say that a warm worker process is alive."""
        self._redis.zadd(WORKERS, {process: clock.now(self._redis)})

    def leave_work(self, process: str) -> None:
        self._redis.zrem(WORKERS, process)

    def forget(self, host: str) -> None:
        """Sign off every process of a node that starts anew; it may have died without a word."""
        if gone := self.alive_on(host):
            self._redis.zrem(WORKERS, *gone)

    def alive_on(self, host: str) -> list[str]:
        """The warm worker processes of one node heard of lately, as `host/pid`."""
        now = clock.now(self._redis)
        self._redis.zremrangebyscore(WORKERS, 0, now - FORGOTTEN_AFTER_S)
        alive = self._redis.zrangebyscore(WORKERS, now - SILENT_AFTER_S, "+inf")
        return [str(name) for name in alive if str(name).startswith(f"{host}/")]

    def processes(self) -> int:
        return int(self._redis.zcount(WORKERS, clock.now(self._redis) - SILENT_AFTER_S, "+inf"))

    def outlook(self, job: "Job") -> Outlook:
        """Where a job that has not ended stands. Constant work per call, whatever the queue's length.

        Of a bulk job that waits nothing is said: its album knows when it will end.
        """
        if job.ended:
            return Outlook(None, None)
        now = clock.now(self._redis)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zrank(sent_key(job.lane), job.id)
            pipe.hget(totals_key(job.lane), "finished_ms")
            pipe.hget(totals_key(Lane.BULK), "jobs")
            pipe.zcount(WORKERS, now - SILENT_AFTER_S, "+inf")
            pipe.get(DRIFT)
            rank, finished, bulk_jobs, processes, drift = pipe.execute()
        own_s = job.work_ms * float(drift or 1) / 1000
        if job.state == "running":
            left_s = own_s - (now - (job.started_at or 0))
            return Outlook(0, max(0.1, left_s) if processes else None)
        position = None if rank is None else int(rank) + 1
        if job.lane is Lane.BULK or not processes:
            return Outlook(None if job.lane is Lane.BULK else position, None)
        ahead_s = max(0, job.ticket_ms - job.work_ms - int(finished or 0)) * float(drift or 1) / 1000
        if int(bulk_jobs or 0) > 0:  # then every process has a picture in hand, which is awaited first
            ahead_s = ahead_s / (1 - BULK_SHARE) + own_s * int(processes) / (int(processes) + 1)
        return Outlook(position, ahead_s / int(processes) + own_s)

    def flow_eta_s(self, flow: str) -> float | None:
        """Seconds until the bulk work of a flow will be done, with what all others get meanwhile; None if nobody works.

        Flows are served alike, so until this one ends every other gets as much as it, or less if it has less. Constant
        work per call: of more than `MOST_FLOWS_READ` flows a random sample stands for all.
        """
        now = clock.now(self._redis)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hget(OUTSTANDING, flow)
            pipe.hlen(OUTSTANDING)
            pipe.hrandfield(OUTSTANDING, MOST_FLOWS_READ, withvalues=True)
            pipe.hmget(totals_key(Lane.INTERACTIVE), ["submitted_ms", "finished_ms"])
            pipe.zcount(WORKERS, now - SILENT_AFTER_S, "+inf")
            pipe.get(DRIFT)
            own, flows, sample, singles, processes, drift = pipe.execute()
        if not processes:
            return None
        own_ms = int(own or 0)
        others = [min(own_ms, int(ms)) for other, ms in zip(sample[::2], sample[1::2], strict=True) if other != flow]
        work_ms: float = own_ms + (flows - (own is not None)) * (fmean(others) if others else 0)
        submitted, finished = (int(value or 0) for value in singles)
        work_ms = min(work_ms + submitted - finished, work_ms / BULK_SHARE)  # single photos first, within their share
        return work_ms * float(drift or 1) / int(processes) / 1000

    def stats(self, lane: Lane) -> LaneStats:
        jobs, pixels = (int(value or 0) for value in self._redis.hmget(totals_key(lane), ["jobs", "pixels"]))
        return LaneStats(jobs, pixels / 1e6)

    def _totals(self, lane: Lane) -> tuple[int, int, int]:
        values = self._redis.hmget(totals_key(lane), ["submitted_ms", "finished_ms", "pixels"])
        submitted, finished, pixels = (int(value or 0) for value in values)
        return submitted, finished, pixels


def _average(before: float, measured: float) -> float:
    return (1 - PACE_WEIGHT) * before + PACE_WEIGHT * measured
