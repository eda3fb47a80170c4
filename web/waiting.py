"""Requests that are held open: how many at once, and for how long the server goes on holding them."""

from collections.abc import Callable
from threading import BoundedSemaphore


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
