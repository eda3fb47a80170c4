"""Limits on waiting for slow clients: each occupies a thread, and there are few.

An idle timeout is not enough: a client that sends a byte now and then is never idle.
"""

import errno
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.errors import SakugaError, TooSlowError, UnavailableError
from shared.settings import WEB_THREADS

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SILENCE_S: Final = 10  # of a client in the middle of a request or a response
INITIAL_CREDIT_S: Final = 10  # seconds that may be spent waiting for a request before anything of it counts
MIN_BYTES_PER_S: Final = 4000  # each second of waiting costs as many
MAX_CREDIT_S: Final = 20  # seconds, so that one who was quick at first may not be slow for hours
LINGER_S: Final = 2  # after an answer that is the last
KEEPALIVE: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # detect clients that are gone
MAX_WAITING_CLIENTS: Final = WEB_THREADS * 3 // 4  # clients at a time; the other threads are for those who are quick


class ClientSocket(socket.socket):
    """A connection on which threads wait for the client only within limits.

    Every byte received is worth credit, `MAX_CREDIT_S` at most, and the time spent waiting for it costs credit. A
    client without credit is refused: reading its request fails like a broken connection, and `problem` is the reason.
    """

    def __init__(self, connection: socket.socket, waiting_clients: "WaitingClients") -> None:
        """Take over an accepted connection."""
        super().__init__(fileno=connection.detach())
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SILENCE_S, 0))
        self.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):  # elsewhere the system's own, which may be hours
                self.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._waiting_clients = waiting_clients
        self.begin_request()

    def begin_request(self) -> None:
        """Give the client new credit."""
        self.problem: SakugaError | None = None
        self.waited_s = 0.0
        self._credit_s: float = INITIAL_CREDIT_S

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive what the client sends next.

        Raises:
            ConnectionResetError: the client is refused, for being silent or slow; `problem` says which.
        """
        began, data = time.monotonic(), None
        with self._waiting(socket.SHUT_RD), suppress(BlockingIOError):  # raised after `SILENCE_S`
            data = super().recv(size, flags)
        credit_s = self._credit_s - (time.monotonic() - began) + len(data or b"") / MIN_BYTES_PER_S
        self._credit_s = min(MAX_CREDIT_S, credit_s)
        if data is None or self._credit_s < 0:
            self.problem = self.problem or TooSlowError(f"Send at least {MIN_BYTES_PER_S} bytes per second.")
        if data is None or self.problem:
            raise ConnectionResetError(errno.ECONNRESET, "The client is refused.")
        return data

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send all of `data`.

        Raises:
            BrokenPipeError: the client has disconnected, is refused, or takes nothing.
        """
        try:
            with self._waiting(socket.SHUT_RDWR):
                super().sendall(data, flags)
        except BlockingIOError as error:
            raise BrokenPipeError(errno.EPIPE, "The client is not reading its response.") from error

    def refuse(self, problem: SakugaError, direction: int) -> None:
        """End the wait of the thread that is waiting for the client, and what can be received or sent from now on."""
        self.problem = problem
        with suppress(OSError):  # it has gone by itself
            self.shutdown(direction)

    def linger(self) -> None:
        """Let the client read the last answer before the connection is closed."""
        deadline = time.monotonic() + LINGER_S
        with suppress(OSError), self._waiting(socket.SHUT_RD):  # it has gone, or does not go
            self.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self.settimeout(left)
                if not super().recv(1 << 16):
                    return
        with suppress(OSError):
            self.shutdown(socket.SHUT_RD)  # whoever closes it sees an end at once

    @contextmanager
    def _waiting(self, direction: int) -> Iterator[None]:
        """Wait in the block for what comes (`SHUT_RD`) or for what goes to be taken (`SHUT_RDWR`)."""
        self._waiting_clients.add(self, direction)
        try:
            yield
        finally:
            self._waiting_clients.remove(self)


class WaitingClients:
    """The clients that threads are waiting for right now. If there are too many, the slowest is refused."""

    def __init__(self, most: int) -> None:
        """Wait for up to `most` clients at a time."""
        self._most = most
        self._waits: dict[ClientSocket, _Wait] = {}
        self._lock = threading.Lock()

    def add(self, client: ClientSocket, direction: int) -> None:
        """Track a client from now on, unless it is tracked, for what is received (`SHUT_RD`) or sent (`SHUT_RDWR`)."""
        with self._lock:
            since = self._waits[client].since if client in self._waits else time.monotonic()
            self._waits[client] = _Wait(since, direction)
            if len(self._waits) > self._most:
                self._refuse_slowest()

    def remove(self, client: ClientSocket) -> None:
        """Stop tracking a client, if it is tracked. From now on it is not refused."""
        with self._lock:
            wait = self._waits.pop(client, None)
            if wait is not None:
                client.waited_s += time.monotonic() - wait.since

    def _refuse_slowest(self) -> None:
        """Refuse a client while the lock is held, so that its thread notices before it does anything else."""
        now = time.monotonic()
        slowest = max(self._waits, key=lambda client: client.waited_s + now - self._waits[client].since)
        wait = self._waits.pop(slowest)  # the next time it is another's turn
        slowest.refuse(UnavailableError("Too many slow uploads; please try again.", retry_after_s=10), wait.direction)


class _Wait(NamedTuple):
    since: float  # by the monotonic clock
    direction: int  # to shut down, to end the wait
