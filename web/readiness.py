"""Readiness of the store and the queue, with cached checks: anybody may ask, and each check costs something.

While the queue hangs, a request that uses it would hold a thread until its timeout, and a few a second would take all.
So requests are then refused at once, except those that do not need it.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, cast

from flask import current_app, g, request
from redis.exceptions import RedisError

from shared.errors import SakugaError, UnavailableError
from shared.redis_connection import redis_client
from shared.settings import Settings
from web.access import OPEN_VIEWS, UNWATCHED

REMEMBERED_S: Final = 2
QUEUE_ANSWERS_S: Final = 2  # it counts as down if it takes longer


class Check:
    """Checks at most every `REMEMBERED_S` seconds, one thread at a time; all others get the cached result."""

    def __init__(self, look: Callable[[], object]) -> None:
        """Check with `look`, which fails with a SakugaError or RedisError."""
        self._look = look
        self._looking = threading.Lock()
        self._seen: bool | None = None
        self._again_at = 0.0

    def answers(self) -> bool:
        """Return whether the last check succeeded; only callers before the first check wait for it."""
        if self._looking.acquire(blocking=self._seen is None):
            try:
                self._look_if_due()
            finally:
                self._looking.release()
        return bool(self._seen)

    def _look_if_due(self) -> None:
        if time.monotonic() < self._again_at:
            return
        try:
            self._look()
            self._seen = True
        except (SakugaError, RedisError):
            self._seen = False
        self._again_at = time.monotonic() + REMEMBERED_S


def queue_check(settings: Settings, *, writes: bool = False) -> Check:
    """Check whether the queue answers or, with `writes`, takes writes, with a shorter timeout than its other users.

    With its disk full it refuses them, and PING as well; what it has can still be read.
    """

    def look() -> None:
        with redis_client(settings, timeout_s=QUEUE_ANSWERS_S, tries=1) as client:
            client.ping() if writes else client.time()

    return Check(look)


def check_of(what: str) -> Check:
    """Return this application's check of the `store`, the `queue` or its `writes`."""
    return cast("Check", current_app.extensions[f"sakuga-{what}-check"])


def require_queue() -> None:
    """Refuse requests that need the queue while it does not respond.

    Raises:
        UnavailableError: it does not respond.
    """
    g.is_queue_away = request.endpoint not in UNWATCHED and not check_of("queue").answers()
    if g.is_queue_away and request.endpoint not in OPEN_VIEWS:
        raise queue_is_away()


def queue_is_away() -> UnavailableError:
    """Return the error for requests that need the queue."""
    return UnavailableError("The service's database is not responding; please try again.", retry_after_s=5)
