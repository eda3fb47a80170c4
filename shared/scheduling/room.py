"""Each caller's share of the memory of Redis: what its jobs and albums take until they expire.

Sizes are estimates, counted by the hour in which they were taken, so nothing needs to happen when a record expires.
"""

from typing import TYPE_CHECKING, Final

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import RECORD_GRACE_S, Job
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

# Measured; in addition a name is in the record, in its album's list and order, and in an event of every state.
JOB_BYTES: Final = 5_500
ALBUM_BYTES: Final = 2_000
REFUSAL_BYTES: Final = 800  # of a photo that is not accepted into an album
NAMES: Final = 6
HOUR_S: Final = 3600

# Redis runs a script as one step. KEYS: what a caller has taken. ARGV: the hour, bytes.
_REFUND: Final = """
local taken = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0)
if taken > tonumber(ARGV[2]) then
    redis.call('HINCRBY', KEYS[1], ARGV[1], -ARGV[2])
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
"""


class Room(Observer):
    """The memory that each caller takes, of one Redis."""

    def __init__(self, redis: "Redis", clock: Clock, *, ttl_s: float) -> None:
        """Count in `redis` what lives for `ttl_s` seconds."""
        self._redis = redis
        self._clock = clock
        self._kept_s = int(ttl_s) + RECORD_GRACE_S

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Count a new job, and no longer one that is erased."""
        if change.before is None:
            self.charge(pipe, change.job.caller, _size_of(change.job), at=change.job.created_at)
        elif change.after is None:
            self.release(pipe, change.job.caller, _size_of(change.job), at=change.job.created_at)

    def charge(self, pipe: "Pipeline", caller: str, size: int, *, at: float) -> None:
        """Charge a caller for `size` bytes, inside a transaction."""
        pipe.hincrby(redis_keys.room(caller), _hour(at), size)
        pipe.expire(redis_keys.room(caller), self._kept_s + HOUR_S)

    def release(self, pipe: "Pipeline", caller: str, size: int, *, at: float) -> None:
        """Refund them, inside a transaction; `at` is when they were charged."""
        pipe.eval(_REFUND, 1, redis_keys.room(caller), _hour(at), size)

    def taken(self, caller: str) -> int:
        """Return the bytes that a caller takes now."""
        hours = {int(hour): int(size) for hour, size in self._redis.hgetall(redis_keys.room(caller)).items()}
        first = int(_hour(self._clock.now() - self._kept_s))
        if gone := [str(hour) for hour in hours if hour < first]:
            self._redis.hdel(redis_keys.room(caller), *gone)
        return sum(size for hour, size in hours.items() if hour >= first)


def refusal_size(name: str) -> int:
    """Return the bytes that a photo takes which an album does not accept."""
    return REFUSAL_BYTES + NAMES * len(name.encode())


def _size_of(job: Job) -> int:
    return JOB_BYTES + NAMES * len((job.name or "").encode())


def _hour(at: float) -> str:
    return str(int(at // HOUR_S))
