"""Requests that are held open: a limited number at once, each until its client disconnects or the server stops."""

import re
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Final, cast

from flask import Response, current_app, request, stream_with_context

from shared.errors import BadRequestError, UnavailableError
from web.access import payer
from web.context import client_socket

_HANGUP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)  # Linux also reports a client that only stopped sending


class SlotPool:
    """Limits how many requests are held at once, so that threads remain for others, such as polls.

    A holder may have as many slots as are left for all others: one alone half of them, the next half of the rest. So
    nobody can take them all, and few are idle (the dynamic threshold of Choudhury and Hahne, 1998).
    """

    def __init__(self, slots: int, is_open: Callable[[], bool] = lambda: True) -> None:
        """Hold up to `slots` requests, for as long as `is_open` (until the server shuts down)."""
        self._free = slots
        self._held: Counter[str] = Counter()
        self._lock = Lock()
        self.is_open = is_open

    def acquire(self, holder: str | None) -> bool:
        """Try to acquire a slot for `holder`, if any; return whether that succeeded. If so, `release` must follow."""
        with self._lock:
            if self._free <= (self._held[holder] if holder else 0):
                return False
            self._free -= 1
            if holder:
                self._held[holder] += 1
            return True

    def release(self, holder: str | None) -> None:
        with self._lock:
            self._free += 1
            if holder:
                self._held[holder] -= 1
                self._held = +self._held  # without those that have none


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot of a held request."""

    pool: SlotPool
    holder: str | None
    connection: socket.socket | None
    """The connection to the client, if it is known."""

    def is_wanted(self) -> bool:
        """Return whether to keep waiting: the server is not shutting down and the client is still connected."""
        return self.pool.is_open() and not self.is_abandoned()

    def release(self) -> None:
        self.pool.release(self.holder)

    def is_abandoned(self) -> bool:
        """Return whether the client has disconnected, which a write would only show once there is something to send."""
        if self.connection is None:
            return False
        poll = select.poll()
        poll.register(self.connection, _HANGUP)
        return bool(poll.poll(0))


def acquire_slot() -> Slot | None:
    """Acquire a slot for the current request, or None if its sender may have no more; `slot.release` must follow."""
    pool, holder = cast("SlotPool", current_app.extensions["sakuga-slots"]), payer()
    return Slot(pool, holder, client_socket()) if pool.acquire(holder) else None


def stream_response(body: Callable[[Slot], Iterator[str] | Iterator[bytes]], content_type: str) -> Response:
    """Stream the response as it is produced, which takes a slot for that long.

    Raises:
        UnavailableError: all slots that the sender may have are taken.
    """
    slot = acquire_slot()
    if slot is None:
        raise UnavailableError("Too many open streams; poll instead.", retry_after_s=5)
    response = Response(stream_with_context(body(slot)), content_type=content_type)
    response.call_on_close(slot.release)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def last_event_id() -> str:
    """Return the last event that a client has received; empty for a new client.

    Raises:
        BadRequestError: it is not an event id.
    """
    after = request.headers.get("Last-Event-ID", "")
    if after and not re.fullmatch(r"\d{1,19}-\d{1,19}", after):
        raise BadRequestError("Last-Event-ID must be the id of an event from this stream.")
    return after
