"""The registry of live, warm worker processes."""

from typing import TYPE_CHECKING

from shared import redis_keys
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis

HEARTBEAT_S = 2.0
SILENT_AFTER_S = 3 * HEARTBEAT_S
FORGOTTEN_AFTER_S = 3600.0


class Workers:
    """The registry in one Redis."""

    def __init__(self, redis: "Redis", clock: Clock) -> None:
        """Keep it in `redis`."""
        self._redis = redis
        self._clock = clock

    def heartbeat(self, process: str) -> None:
        """Record that a warm worker process is alive."""
        self._redis.zadd(redis_keys.WORKERS, {process: self._clock.now()})

    def deregister(self, process: str) -> None:
        self._redis.zrem(redis_keys.WORKERS, process)

    def deregister_host(self, host: str) -> None:
        """Deregister every process of a node that restarts, since it may have died without doing so."""
        if gone := self.alive_on(host):
            self._redis.zrem(redis_keys.WORKERS, *gone)

    def alive_on(self, host: str) -> list[str]:
        """Return the live processes of one node, as `host/pid`."""
        now = self._clock.now()
        self._redis.zremrangebyscore(redis_keys.WORKERS, 0, now - FORGOTTEN_AFTER_S)
        alive = self._redis.zrangebyscore(redis_keys.WORKERS, now - SILENT_AFTER_S, "+inf")
        return [str(name) for name in alive if str(name).startswith(f"{host}/")]

    def count(self) -> int:
        """Return the number of live processes on all nodes."""
        return int(count_alive(self._redis, self._clock.now()))


def count_alive(redis: "Redis", now: float) -> int:
    """Count the live processes on all nodes; in a pipeline, queue that."""
    return redis.zcount(redis_keys.WORKERS, now - SILENT_AFTER_S, "+inf")
