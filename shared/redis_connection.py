"""Connecting to the Redis that the settings name."""

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from shared.settings import Settings


def redis_client(settings: Settings, *, timeout_s: float = 5, tries: int = 3) -> Redis:
    """Return a client that reconnects, waits up to `timeout_s` for an answer and tries a lost command `tries` times.

    The timeout must exceed the longest blocking read.
    """
    return Redis.from_url(
        settings.redis_url.replace("redis+socket://", "unix://", 1),  # kombu's name for it, and redis-py's
        decode_responses=True,
        protocol=2,
        socket_connect_timeout=min(3, timeout_s),
        socket_timeout=timeout_s,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), tries - 1),
        retry_on_error=[RedisConnectionError],
    )
