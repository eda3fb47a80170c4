"""Requests that are held open: a limited number at once, each until its client disconnects or the server stops."""

import re
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Final, cast

from flask import Response, current_app, request, stream_with_context

from shared.errors import BadRequestError, UnavailableError
from web.context import client_socket

_HANGUP: Final = getattr(select, "POLLRDHUP", select.POLLHUP)  # Linux also reports a client that only stopped sending


class SlotPool:
    """Limits the number of held requests, so that threads remain for others, such as polls."""

    def __init__(self, slots: int, is_open: Callable[[], bool] = lambda: True) -> None:
        """Hold up to `slots` requests, for as long as `is_open` (until the server shuts down)."""
        self._slots = BoundedSemaphore(slots)
        self.is_open = is_open

    def acquire(self) -> bool:
        """Try to acquire a slot; return whether that succeeded. If so, `release` must follow."""
        return self._slots.acquire(blocking=False)

    def release(self) -> None:
        self._slots.release()


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot of a held request."""

    pool: SlotPool
    connection: socket.socket | None
    """The connection to the client, if it is known."""

    def is_wanted(self) -> bool:
        """Return whether to keep waiting: the server is not shutting down and the client is still connected."""
        return self.pool.is_open() and not self.is_abandoned()

    def is_abandoned(self) -> bool:
        """Return whether the client has disconnected, which a write would only show once there is something to send."""
        if self.connection is None:
            return False
        poll = select.poll()
        poll.register(self.connection, _HANGUP)
        return bool(poll.poll(0))


def acquire_slot() -> Slot | None:
    """Acquire a slot for the current request, or None if all are taken; `slot.pool.release` must follow."""
    pool = cast("SlotPool", current_app.extensions["sakuga-slots"])
    return Slot(pool, client_socket()) if pool.acquire() else None


def stream_response(body: Callable[[Slot], Iterator[str] | Iterator[bytes]], content_type: str) -> Response:
    """Stream the response as it is produced, which takes a slot for that long.

    Raises:
        UnavailableError: all slots are taken.
    """
    slot = acquire_slot()
    if slot is None:
        raise UnavailableError("Too many open streams; poll instead.", retry_after_s=5)
    response = Response(stream_with_context(body(slot)), content_type=content_type)
    response.call_on_close(slot.pool.release)
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
