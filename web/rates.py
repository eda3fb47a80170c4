"""Rate limiting: requests per minute of a caller, or of an address where there is no caller.

New albums have a limit of their own: an empty one takes room in Redis, and nothing else limits them. The window is the
last 60 seconds.
"""

import time
from dataclasses import dataclass
from math import ceil
from typing import Final

import structlog
from flask import Response, g, request
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from shared import redis_keys
from shared.errors import TooManyRequestsError
from shared.services import Services
from web.access import OPEN_VIEWS, UNWATCHED, known_caller, sender

WINDOW_S: Final = 60
ALBUMS_PER_MINUTE: Final = 60
_UNCOUNTED: Final = UNWATCHED | OPEN_VIEWS - {"page.sign_in"}  # the page itself could not show the error

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rate:
    """The state of a caller's limit: how many requests are left, and when it resets."""

    quota: int
    left: int
    reset_s: int


class Rates:
    """Counts requests in the Redis of the services, for all web processes together."""

    def __init__(self, services: Services) -> None:
        self._default = services.settings.requests_per_minute
        storage = RedisStorage(
            "redis://", connection_pool=services.redis.connection_pool, key_prefix=redis_keys.RATE_PREFIX
        )  # the address is that of the pool
        self._limiter = MovingWindowRateLimiter(storage)

    def count(self) -> None:
        """Count this request; while Redis does not respond, none is counted.

        Raises:
            TooManyRequestsError: there were too many in the last minute; refused ones do not count.
        """
        caller = known_caller()
        quota = (caller.requests_per_minute if caller else None) or self._default
        if quota is None or request.endpoint in _UNCOUNTED or g.is_queue_away:
            return
        try:
            is_within, g.rate = self._hit(RateLimitItemPerMinute(quota))
        except RedisError as error:
            log.warning("requests are not rate limited: Redis is not responding", error=str(error))
            return
        if not is_within:
            raise TooManyRequestsError(
                f"The limit is {quota} requests a minute; please wait a moment.", retry_after_s=g.rate.reset_s
            )

    def count_album(self) -> None:
        """Count an album that is about to be started.

        Raises:
            TooManyRequestsError: there were too many in the last minute.
        """
        is_within, rate = self._hit(RateLimitItemPerMinute(ALBUMS_PER_MINUTE, namespace="albums"))
        if not is_within:
            raise TooManyRequestsError(
                f"The limit is {rate.quota} new albums a minute; please wait a moment.", retry_after_s=rate.reset_s
            )

    def _hit(self, limit: RateLimitItemPerMinute) -> tuple[bool, Rate]:
        """Count one more; return whether it is within the limit, and the state of the limit."""
        whose = sender()
        is_within = self._limiter.hit(limit, whose)
        reset_at, left = self._limiter.get_window_stats(limit, whose)
        return is_within, Rate(limit.amount, left, max(1, ceil(reset_at - time.time())))


def add_rate_headers(response: Response) -> Response:
    """Add the headers of the RateLimit draft."""
    rate: Rate | None = g.get("rate")
    if rate:
        response.headers["RateLimit-Policy"] = f'"default";q={rate.quota};w={WINDOW_S}'
        response.headers["RateLimit"] = f'"default";r={rate.left};t={rate.reset_s}'
    return response
