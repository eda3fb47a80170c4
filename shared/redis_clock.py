"""What time it is for everybody: by the clock of Redis, whatever the clock of this machine says.

A node whose clock is an hour ahead would else expire what others have just made. Between readings the time is counted
by a clock that nobody can set.
"""

import time
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from redis import Redis

READ_AGAIN_S: Final = 5
# Where there is one, a clock that goes on while the machine sleeps.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Reading(NamedTuple):
    at: float  # by the steady clock
    ahead_s: float  # of the steady clock


_READINGS: "WeakKeyDictionary[Redis, _Reading]" = WeakKeyDictionary()


def now(redis: "Redis") -> float:
    """Seconds since the epoch, as a Redis tells them or told within the last `READ_AGAIN_S` seconds.

    Raises:
        RedisError: it does not answer.
    """
    reading = _READINGS.get(redis)
    if reading is None or time.clock_gettime(_STEADY) - reading.at > READ_AGAIN_S:
        seconds, microseconds = redis.time()
        at = time.clock_gettime(_STEADY)  # after the answer: who is kept waiting is late, and expires nothing early
        reading = _READINGS[redis] = _Reading(at, seconds + microseconds / 1e6 - at)
    return time.clock_gettime(_STEADY) + reading.ahead_s
