"""Admission control: new work is accepted while its lane has room and Redis has memory for it.

With its memory full, Redis refuses every write: nothing could be claimed, canceled, erased or expired any more, and so
nothing would ever free memory. So new work is refused while there is still room for that.
"""

import math
import threading
import time
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Final

from shared.callers.api_keys import PUBLIC_ID
from shared.errors import QueueFullError
from shared.jobs.record import Lane, party_of
from shared.scheduling.fair_queue import FLOWS_OF
from shared.scheduling.lanes import Lanes
from shared.scheduling.room import Room
from shared.scheduling.workers import Workers

if TYPE_CHECKING:
    from redis import Redis

BULK_ROOM: Final = 10  # times the limit of queued work: albums are not waited for in front of a screen
MAX_MEMORY: Final = 0.75  # of Redis's memory for queued work and records; the rest is for finishing it
SHARE_OF_FREE: Final = 3  # times what is free of that a caller may take: one alone three quarters, another as much less
READ_AGAIN_S: Final = 1
RETRY_AFTER_S: Final = 60  # a guess: records last a day, so when there will be room is unknown


class Memory:
    """Checks the memory of one Redis at most every `READ_AGAIN_S` seconds, one thread at a time."""

    def __init__(self, redis: "Redis") -> None:
        """Read nothing yet."""
        self._redis = redis
        self._reading = threading.Lock()
        self._read_again_at = 0.0
        self._used = 0
        self._free: float = math.inf  # bytes that may still be used

    def require_room(self, taken: Callable[[], int]) -> None:
        """Refuse new work of a caller while Redis is nearly full, as checked within the last second.

        `taken` returns the bytes that the caller has taken. It may take some times as many as are free, so that there
        is always room for others (the dynamic threshold of Choudhury and Hahne, 1998).

        Raises:
            QueueFullError: Redis is nearly full, or the caller's share of it is.
        """
        if time.monotonic() >= self._read_again_at and self._reading.acquire(blocking=False):
            try:
                self._free, self._used = self._read()
                self._read_again_at = time.monotonic() + READ_AGAIN_S
            finally:
                self._reading.release()
        if self._free < 0:
            raise QueueFullError(
                "The queue's memory is nearly full; please try again later.", retry_after_s=RETRY_AFTER_S
            )
        if self._used > SHARE_OF_FREE * self._free and taken() > SHARE_OF_FREE * self._free:
            raise QueueFullError(
                "Your jobs and albums take as much of the queue's memory as they may; delete some, or try again later.",
                retry_after_s=RETRY_AFTER_S,
            )

    def _read(self) -> tuple[float, int]:
        found = self._redis.info("memory")
        most, used = int(found["maxmemory"]), int(found["used_memory"])  # any amount if it is 0
        return MAX_MEMORY * most - used if most else math.inf, used


class Admission:
    """Admission to every lane."""

    def __init__(
        self, redis: "Redis", lanes: Lanes, workers: Workers, room: Room, *, max_queued_megapixels: float
    ) -> None:
        """Admit up to `max_queued_megapixels` of queued work per lane."""
        self._redis = redis
        self._lanes = lanes
        self._workers = workers
        self._room = room
        self._memory = Memory(redis)
        self._max_pixels = int(max_queued_megapixels * 1e6)

    def admit(self, lane: Lane, pixels: int, *, caller: str, album: str | None) -> None:
        """Refuse a job of a caller that the lane has no room for; concurrent requests may exceed the limit slightly.

        The bulk lane has room for ten times as much. With keys no caller has more than half of a lane and, without, no
        album more than half of the bulk lane: nobody shuts out the others.

        Raises:
            QueueFullError: with the seconds after which half of the queue will be done; or Redis is nearly full.
        """
        self.require_memory(caller)
        totals = self._lanes.totals(lane)
        most = self._max_pixels * (BULK_ROOM if lane is Lane.BULK else 1)
        party = party_of(caller, album)
        own = int(self._redis.hget(FLOWS_OF[lane].pixels, party) or 0) if party != PUBLIC_ID else 0
        if (totals.pixels and totals.pixels + pixels > most) or (own and own + pixels > most // 2):
            half_ms = (totals.submitted_ms - totals.finished_ms) / 2
            wait_s = max(1, ceil(half_ms / 1000 / max(1, self._workers.count())))
            raise QueueFullError("The queue is full; please try again later.", retry_after_s=wait_s)

    def require_memory(self, caller: str) -> None:
        """Refuse work of a caller that Redis has hardly any memory left to store; without keys all share one.

        Raises:
            QueueFullError: storing more could block the work that is already queued, or the work of other callers.
        """
        self._memory.require_room(lambda: 0 if caller == PUBLIC_ID else self._room.taken(caller))
