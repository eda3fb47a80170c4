"""Renewal of the messages and leases of a node's in-flight jobs.

The queue redelivers a message that is not renewed within the visibility timeout. That is short, so that the jobs of a
dead node are soon done elsewhere, and is independent of how long a job may take.
"""

import time
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from celery.worker import state

from shared.redis_clock import Clock
from shared.scheduling.broker import UNACKED_INDEX
from shared.scheduling.leases import Leases

if TYPE_CHECKING:
    from celery.worker.request import Request
    from redis import Redis

RENEWALS: Final = 3  # within a visibility timeout


class Renewal:
    """Renews what is in flight. A thread calls it: the node's main loop is blocked during shutdown."""

    def __init__(self, redis: "Redis", clock: Clock, leases: Leases, *, longest_s: float) -> None:
        """Renew nothing that runs for longer than `longest_s`: a working main loop would have killed it."""
        self._redis = redis
        self._clock = clock
        self._leases = leases
        self._longest_s = longest_s
        self._since: WeakKeyDictionary[Request, float] = WeakKeyDictionary()

    def renew(self) -> None:
        """Renew the messages and leases of this node's in-flight jobs.

        Raises:
            RedisError: they could not be renewed.
        """
        now = time.monotonic()
        running, waiting = _held()
        running = [one for one in running if now - self._since.setdefault(one, now) < self._longest_s]
        if held := running + waiting:
            # never added anew: what is acknowledged in this moment is gone
            seen = self._clock.now()
            self._redis.zadd(UNACKED_INDEX, {one.message.delivery_tag: seen for one in held}, xx=True)
        # What waits here for a process to be warm may be leased to an attempt elsewhere that has died.
        self._leases.renew([one.id for one in running])


def _held() -> tuple[list["Request"], list["Request"]]:
    """Return the requests that children work on, and those that wait for a child or for their retry."""
    while True:
        try:
            running = set(state.active_requests)
            return list(running), list((state.reserved_requests | state.scheduled_requests) - running)
        except RuntimeError:  # the main loop took or gave something meanwhile
            continue
