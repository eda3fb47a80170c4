"""What this node has in hand stays its own: messages and jobs are claimed anew again and again while it works on them.

The queue gives a message to somebody else when nothing is heard of it for the visibility timeout. That is short, so
that the work of a node that died is soon done elsewhere, and says nothing about how long a job may take.
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
    """Renews what is in hand. A thread calls it: the node's main loop stands still while it shuts down."""

    def __init__(self, redis: "Redis", clock: Clock, leases: Leases, *, longest_s: float) -> None:
        """Keep nothing that runs for longer than `longest_s`: it would have been killed if the main loop still ran."""
        self._redis = redis
        self._clock = clock
        self._leases = leases
        self._longest_s = longest_s
        self._since: WeakKeyDictionary[Request, float] = WeakKeyDictionary()

    def renew(self) -> None:
        """Say that this node lives and works on what it has in hand.

        Raises:
            RedisError: nobody heard it.
        """
        now = time.monotonic()
        running, waiting = _in_hand()
        running = [one for one in running if now - self._since.setdefault(one, now) < self._longest_s]
        if held := running + waiting:
            # never added anew: what is acknowledged in this moment is gone
            seen = self._clock.now()
            self._redis.zadd(UNACKED_INDEX, {one.message.delivery_tag: seen for one in held}, xx=True)
        # What waits here for a process to be warm may be leased to an attempt elsewhere that has died.
        self._leases.renew([one.id for one in running])


def _in_hand() -> tuple[list["Request"], list["Request"]]:
    """What children are at work on, and what waits for one, or for its time to come again."""
    while True:
        try:
            running = set(state.active_requests)
            return list(running), list((state.reserved_requests | state.scheduled_requests) - running)
        except RuntimeError:  # the main loop took or gave something meanwhile
            continue
