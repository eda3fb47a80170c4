"""Limits on waiting for slow clients: each occupies a thread, and there are few.

An idle timeout is not enough: a client that sends a byte now and then is never idle.
"""

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from gunicorn.workers.gthread import TConn, ThreadWorker
from werkzeug.wsgi import ClosingIterator

from shared.errors import TooSlowError, UnavailableError
from shared.settings import WEB_THREADS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEAD_S: Final = 10  # from its first byte until all of a request's head is there
GOODBYE_S: Final = 2  # after an answer that is the last
BODY_BYTES_PER_S: Final = 4000
BODY_GRACE_S: Final = 20  # seconds by which a client may fall behind that rate
MAX_WAITING_CLIENTS: Final = WEB_THREADS * 3 // 4  # clients at a time; the other threads are for those who are quick


class SlowClientWorker(ThreadWorker):  # type: ignore[misc]
    """Disconnects clients that are too slow to send their request, or to read the response."""

    def init_process(self) -> None:
        """Serve until told to stop."""
        self._clients: dict[TConn, Client] = {}
        self._waiting_clients = WaitingClients(MAX_WAITING_CLIENTS)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application, and track the clients that responses are sent to."""
        super().load_wsgi()
        self.wsgi: WSGIApplication = _tracking_clients(self.wsgi, self._waiting_clients)

    def handle(self, conn: TConn) -> object:
        """Serve a request, as far as its head comes in time."""
        client = self._clients[conn] = Client(conn.sock, socket.SHUT_RD, head_until=time.monotonic() + HEAD_S)
        try:
            with self._waiting_clients.waiting_for(client):
                is_kept = super().handle(conn)
                if not is_kept:
                    _hang_up(conn.sock)
                return is_kept
        finally:
            del self._clients[conn]

    def handle_request(self, req: object, conn: TConn) -> object:
        """Answer a request whose head is there; before and after, its client is awaited."""
        client = self._clients[conn]
        client.head_until = None
        self._waiting_clients.remove(client)
        unreader = conn.parser.unreader
        unreader.chunk = Paced(unreader.chunk, client, self._waiting_clients)
        try:
            return super().handle_request(req, conn)
        except BlockingIOError as error:  # it took nothing for as long as the system waits, which is no fault of ours
            raise BrokenPipeError(errno.EPIPE, "The client is not reading its response.") from error
        finally:
            del unreader.chunk  # what nobody asked for is drained after the answer, within a time of its own
            self._waiting_clients.add(client)

    def murder_pending(self) -> None:
        """Close what is overdue; the loop of the worker calls this every second or more often."""
        super().murder_pending()
        now = time.monotonic()
        for client in list(self._clients.values()):
            if client.head_until and now > client.head_until:
                client.disconnect()  # its thread reads the end


class Client:
    """The client of a request, and for how long threads have waited for it."""

    def __init__(self, connection: socket.socket, direction: int, *, head_until: float | None = None) -> None:
        """Wait for what comes (`SHUT_RD`) or for what goes to be taken (`SHUT_RDWR`)."""
        self.head_until = head_until
        self.is_disconnected = False
        self.waited_s = 0.0
        self._connection = connection
        self._direction = direction

    def disconnect(self) -> None:
        """Shut down the connection, so that the waiting thread reads its end."""
        self.is_disconnected = True
        with suppress(OSError):  # it has gone by itself
            self._connection.shutdown(self._direction)


class WaitingClients:
    """The clients that threads are waiting for right now. If there are too many, the slowest is disconnected."""

    def __init__(self, most: int) -> None:
        """Wait for up to `most` clients at a time."""
        self._most = most
        self._since: dict[Client, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def waiting_for(self, client: Client) -> Iterator[None]:
        """Track a client while the block waits for it."""
        self.add(client)
        try:
            yield
        finally:
            self.remove(client)

    def add(self, client: Client) -> None:
        """Track a client from now on."""
        with self._lock:
            self._since[client] = time.monotonic()
            slowest = self._slowest() if len(self._since) > self._most else None
        if slowest:
            slowest.disconnect()

    def remove(self, client: Client) -> None:
        """Stop tracking a client, if it is tracked."""
        with self._lock:
            since = self._since.pop(client, None)
            if since is not None:
                client.waited_s += time.monotonic() - since

    def _slowest(self) -> Client:
        now = time.monotonic()
        slowest = max(self._since, key=lambda client: client.waited_s + now - self._since[client])
        del self._since[slowest]  # the next time it is another's turn
        return slowest


def _tracking_clients(application: "WSGIApplication", waiting_clients: WaitingClients) -> "WSGIApplication":
    """Wrap the application so that the clients of its responses are tracked while they are sent."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        body = application(environ, start_response)
        client = Client(environ["gunicorn.socket"], socket.SHUT_RDWR)
        return ClosingIterator(_sent(body, client, waiting_clients), getattr(body, "close", None))

    return answer


def _sent(body: Iterable[bytes], client: Client, waiting_clients: WaitingClients) -> Iterator[bytes]:
    for chunk in body:
        with waiting_clients.waiting_for(client):
            yield chunk  # which the server sends before it asks for more


def _hang_up(connection: socket.socket) -> None:
    """Close a connection gracefully, here in a thread: the loop, which serves all clients, would block."""
    deadline = time.monotonic() + GOODBYE_S
    with suppress(OSError):  # it has gone, or does not go
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(1 << 16):
                return
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RD)  # whoever closes it sees an end at once


class Paced:
    """Reads a body, which must arrive at `BODY_BYTES_PER_S`. Only the time spent waiting counts."""

    def __init__(self, read: Callable[[int | None], bytes], client: Client, waiting_clients: WaitingClients) -> None:
        self._read = read
        self._client = client
        self._waiting_clients = waiting_clients
        self._credit_s: float = BODY_GRACE_S

    def __call__(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes.

        Raises:
            TooSlowError: they arrive too slowly.
            UnavailableError: too many clients are sending, and this is the slowest.
        """
        began = time.monotonic()
        with self._waiting_clients.waiting_for(self._client):
            data = self._read(size_hint)
        waited = time.monotonic() - began
        if self._client.is_disconnected:
            raise UnavailableError("Too many slow uploads; please try again.", retry_after_s=10)
        # Nothing is saved up beyond the grace: one who was quick at first may not be slow for hours.
        self._credit_s = min(BODY_GRACE_S, self._credit_s - waited + len(data) / BODY_BYTES_PER_S)
        if self._credit_s < 0:
            raise TooSlowError(f"Send at least {BODY_BYTES_PER_S} bytes per second.")
        return data
