"""Claiming what is due: members of a sorted set, by when they may be taken, which several nodes share out."""

from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from redis import Redis

# Redis runs a script as one step. KEYS: the set. ARGV: now, when another node may take them, how many at most.
_CLAIM: Final = """
local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, member in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], member) end
return due
"""


def claim_due(redis: "Redis", key: str, *, now: float, until: float, count: int) -> list[str]:
    """Claim up to `count` members that are due; no other node gets them before `until` (epoch seconds)."""
    return cast("list[str]", redis.eval(_CLAIM, 1, key, now, until, count))
