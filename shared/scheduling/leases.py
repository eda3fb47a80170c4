"""Leases of running jobs, which their workers renew.

A worker that stops renewing loses its jobs to others, and cannot commit afterwards (`shared.jobs` lets only the newest
attempt commit). Time is measured by the clock of Redis alone: a node whose own clock jumps neither loses its leases nor
takes over those of others.
"""

from typing import TYPE_CHECKING, Final, cast

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import State

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

# Multiples of the visibility timeout. A lease expires before the queue redelivers the message, so that the receiver can
# claim the job; a job is abandoned when the queue should have redelivered the message long ago.
EXPIRY_FACTOR: Final = 0.8
ABANDONED_FACTOR: Final = 1.5

# Redis runs a script as one step. KEYS: the leases. ARGV: the job.
_BEGIN: Final = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] + time[2] / 1e6, ARGV[1])
"""

# KEYS: the leases. ARGV: the jobs.
_RENEW: Final = """
local time = redis.call('TIME')
for _, job in ipairs(ARGV) do
    redis.call('ZADD', KEYS[1], 'XX', time[1] + time[2] / 1e6, job)
end
"""

# KEYS: the leases. ARGV: the seconds after which they expire, how many at most.
_EXPIRED: Final = """
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], 0, time[1] + time[2] / 1e6 - ARGV[1], 'LIMIT', 0, ARGV[2])
"""

# KEYS: the leases. ARGV: the seconds after which they expire, the job.
_HELD: Final = """
local time, seen = redis.call('TIME'), redis.call('ZSCORE', KEYS[1], ARGV[2])
return (seen and time[1] + time[2] / 1e6 - seen < tonumber(ARGV[1])) and 1 or 0
"""


class Leases(Observer):
    """All leases in one Redis."""

    def __init__(self, redis: "Redis", *, timeout_s: float) -> None:
        """Expect the queue to redeliver a message that was not renewed for `timeout_s` seconds."""
        self._redis = redis
        self._timeout_s = timeout_s

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Lease a job with each new attempt, until it no longer runs."""
        if change.claims:
            pipe.eval(_BEGIN, 1, redis_keys.LEASES, change.job.id)
        elif change.before and not (change.after and change.after.state is State.RUNNING):
            pipe.zrem(redis_keys.LEASES, change.before.id)

    def lost(self, pipe: "Pipeline", job_id: str) -> None:
        """Drop the lease."""
        pipe.zrem(redis_keys.LEASES, job_id)

    def is_held(self, job_id: str) -> bool:
        """Return whether a live worker is working on this job."""
        return bool(self._redis.eval(_HELD, 1, redis_keys.LEASES, EXPIRY_FACTOR * self._timeout_s, job_id))

    def renew(self, ids: list[str]) -> None:
        """Renew the leases of these jobs; those that are not leased are left alone."""
        if ids:
            self._redis.eval(_RENEW, 1, redis_keys.LEASES, *ids)

    def abandoned(self, count: int) -> list[str]:
        """Return up to `count` jobs whose lease expired, and whose message should have been redelivered by now."""
        return cast(
            "list[str]", self._redis.eval(_EXPIRED, 1, redis_keys.LEASES, ABANDONED_FACTOR * self._timeout_s, count)
        )
