"""Requests that are held open: how many at once, and for how long the server goes on holding them."""

import re
from collections.abc import Callable, Iterator
from threading import BoundedSemaphore
from typing import cast

from flask import Response, current_app, request, stream_with_context

from shared.errors import BadRequestError, UnavailableError


class WaitingRoom:
    """Keeps waiting requests from taking every thread: polls must be answered while others wait."""

    def __init__(self, seats: int, is_open: Callable[[], bool] = lambda: True) -> None:
        """Hold up to `seats` requests, for as long as `is_open` (until the server shuts down)."""
        self._seats = BoundedSemaphore(seats)
        self.is_open = is_open

    def take_seat(self) -> bool:
        """Whether this request may wait; if so, `leave` must follow."""
        return self._seats.acquire(blocking=False)

    def leave(self) -> None:
        self._seats.release()


def waiting_room() -> WaitingRoom:
    """Where the requests of this application wait."""
    return cast("WaitingRoom", current_app.extensions["sakuga-waiting"])


def held_open(body: Callable[[WaitingRoom], Iterator[str] | Iterator[bytes]], content_type: str) -> Response:
    """Answer with what comes as it comes; for as long as it does, a seat is taken.

    Raises:
        UnavailableError: all seats are.
    """
    room = waiting_room()
    if not room.take_seat():
        raise UnavailableError("Too many requests wait here; poll instead, or try again later.", retry_after_s=5)
    response = Response(stream_with_context(body(room)), content_type=content_type)
    response.call_on_close(room.leave)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def last_event_id() -> str:
    """The event that a listener heard last; empty if it has just come.

    Raises:
        BadRequestError: it is none of ours.
    """
    after = request.headers.get("Last-Event-ID", "")
    if after and not re.fullmatch(r"\d{1,19}-\d{1,19}", after):
        raise BadRequestError("Last-Event-ID must be the id of an event from here.")
    return after
