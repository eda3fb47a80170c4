"""Whether Redis has memory left for new work.

With its memory full it refuses every write: nothing could be claimed, canceled, erased or expired any more, and so
nothing would ever make room. So new work is refused while there is room for that.
"""

import threading
import time
from typing import TYPE_CHECKING, Final

from shared.errors import QueueFullError

if TYPE_CHECKING:
    from redis import Redis

MOST: Final = 0.75  # of its memory for what waits and what is remembered; the rest is for carrying on
READ_AGAIN_S: Final = 1
RETRY_AFTER_S: Final = 60  # records go a day after they were made, so when there will be room nobody knows


class Memory:
    """Looks at the memory of one Redis at most every `READ_AGAIN_S` seconds, one thread at a time."""

    def __init__(self, redis: "Redis") -> None:
        """Nothing is read before it is asked for."""
        self._redis = redis
        self._reading = threading.Lock()
        self._read_again_at = 0.0
        self._is_short = False

    def require_room(self) -> None:
        """Refuse new work while Redis is nearly full, as it was seen within the last second.

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
        return most > 0 and int(found["used_memory"]) > MOST * most
