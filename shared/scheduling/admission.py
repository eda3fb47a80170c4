"""Admission control: new work is accepted while its lane has room and Redis has memory for it.

With its memory full, Redis refuses every write: nothing could be claimed, canceled, erased or expired any more, and so
nothing would ever free memory. So new work is refused while there is still room for that.
"""

import threading
import time
from math import ceil
from typing import TYPE_CHECKING, Final

from shared import redis_keys
from shared.errors import QueueFullError
from shared.jobs.record import Lane
from shared.scheduling.lanes import Lanes
from shared.scheduling.workers import Workers

if TYPE_CHECKING:
    from redis import Redis

MIN_PIXELS: Final = 50_000  # what a job counts for at least: it takes Redis and a worker's time, however small
BULK_ROOM: Final = 10  # times the limit of queued work: albums are not waited for in front of a screen
MAX_MEMORY: Final = 0.75  # of Redis's memory for queued work and records; the rest is for finishing it
READ_AGAIN_S: Final = 1
RETRY_AFTER_S: Final = 60  # a guess: records last a day, so when there will be room is unknown


class Memory:
    """Checks the memory of one Redis at most every `READ_AGAIN_S` seconds, one thread at a time."""

    def __init__(self, redis: "Redis") -> None:
        """Read nothing yet."""
        self._redis = redis
        self._reading = threading.Lock()
        self._read_again_at = 0.0
        self._is_short = False

    def require_room(self) -> None:
        """Refuse new work while Redis is nearly full, as checked within the last second.

        Raises:
            QueueFullError: it is.
        """
        if time.monotonic() >= self._read_again_at and self._reading.acquire(blocking=False):
            try:
                self._is_short = self._read()
                self._read_again_at = time.monotonic() + READ_AGAIN_S
            finally:
                self._reading.release()
        if self._is_short:
            raise QueueFullError(
                "The queue's memory is nearly full; please try again later.", retry_after_s=RETRY_AFTER_S
            )

    def _read(self) -> bool:
        found = self._redis.info("memory")
        most = int(found["maxmemory"])  # 0 for any amount
        return most > 0 and int(found["used_memory"]) > MAX_MEMORY * most


class Admission:
    """Admission to every lane."""

    def __init__(self, redis: "Redis", lanes: Lanes, workers: Workers, *, max_queued_megapixels: float) -> None:
        """Admit up to `max_queued_megapixels` of queued work per lane."""
        self._redis = redis
        self._lanes = lanes
        self._workers = workers
        self._memory = Memory(redis)
        self._max_pixels = int(max_queued_megapixels * 1e6)

    def admit(self, lane: Lane, pixels: int, flow: str) -> None:
        """Refuse a job that the lane has no room for; concurrent requests may exceed the limit slightly.

        The bulk lane has room for ten times as much, half of it for any one flow: no album shuts out the others.

        Raises:
            QueueFullError: with the seconds after which half of the queue will be done; or Redis is nearly full.
        """
        self.require_memory()
        totals = self._lanes.totals(lane)
        most = self._max_pixels * (BULK_ROOM if lane is Lane.BULK else 1)
        own = int(self._redis.hget(redis_keys.FLOW_PIXELS, flow) or 0) if lane is Lane.BULK else 0
        if (totals.pixels and totals.pixels + pixels > most) or (own and own + pixels > most // 2):
            half_ms = (totals.submitted_ms - totals.finished_ms) / 2
            wait_s = max(1, ceil(half_ms / 1000 / max(1, self._workers.count())))
            raise QueueFullError("The queue is full; please try again later.", retry_after_s=wait_s)

    def require_memory(self) -> None:
        """Refuse work that Redis has hardly any memory left to store.

        Raises:
            QueueFullError: storing more could block the work that is already queued.
        """
        self._memory.require_room()
