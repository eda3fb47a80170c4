"""The time that all nodes share: that of Redis, whatever the clock of this machine says.

Otherwise a node whose clock is an hour ahead would expire what others have just created. Between readings the time is
counted by a clock that cannot be set.
"""

import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from redis import Redis

READ_AGAIN_S: Final = 5
# Where there is one, a clock that goes on while the machine sleeps.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Reading(NamedTuple):
    at: float  # by the steady clock
    ahead_s: float  # of the steady clock


class Clock:
    """The clock of one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Read nothing yet."""
        self._redis = redis
        self._reading: _Reading | None = None

    def now(self) -> float:
        """Return the seconds since the epoch by the clock of Redis, read at most `READ_AGAIN_S` seconds ago.

        Raises:
            RedisError: it does not answer.
        """
        reading = self._reading
        if reading is None or time.clock_gettime(_STEADY) - reading.at > READ_AGAIN_S:
            seconds, microseconds = self._redis.time()
            at = time.clock_gettime(_STEADY)  # after the answer: a slow answer makes us late, and nothing expires early
            reading = self._reading = _Reading(at, seconds + microseconds / 1e6 - at)
        return time.clock_gettime(_STEADY) + reading.ahead_s
