"""What time it is for everybody: by the clock of Redis, whatever the clock of this machine says.

A node whose clock is an hour ahead would else expire what others have just made. Between readings the time is counted
by a clock that nobody can set.
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
        """Nothing is read before it is asked for."""
        self._redis = redis
        self._reading: _Reading | None = None

    def now(self) -> float:
        """Seconds since the epoch, as Redis tells them or told within the last `READ_AGAIN_S` seconds.

        Raises:
            RedisError: it does not answer.
        """
        reading = self._reading
        if reading is None or time.clock_gettime(_STEADY) - reading.at > READ_AGAIN_S:
            seconds, microseconds = self._redis.time()
            at = time.clock_gettime(_STEADY)  # after the answer: who is kept waiting is late, and expires nothing early
            reading = self._reading = _Reading(at, seconds + microseconds / 1e6 - at)
        return time.clock_gettime(_STEADY) + reading.ahead_s
