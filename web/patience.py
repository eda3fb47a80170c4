"""How long the web waits for a client that sends: a thread is lent to it, and there are few.

Silence alone is no measure, for one who sends a byte now and then is never silent. Imported by `web.__main__`.
"""

import errno
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gunicorn.workers.gthread import TConn, ThreadWorker

from shared.errors import TooSlowError

HEAD_S: Final = 10  # from its first byte until all of a request's head is there
GOODBYE_S: Final = 2  # after an answer that is the last
BODY_BYTES_PER_S: Final = 4000
BODY_GRACE_S: Final = 20  # by which a client may fall behind that rate


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Ends the connections of clients that take too long to say what they want, or to send it."""

    def init_process(self) -> None:
        """Serve until told to stop."""
        self._heads: dict[TConn, float] = {}  # those that are being read, by when they must be there
        super().init_process()

    def handle(self, conn: TConn) -> object:
        """Serve a request, as far as its head comes in time."""
        self._heads[conn] = time.monotonic() + HEAD_S
        try:
            is_kept = super().handle(conn)
        finally:
            self._heads.pop(conn, None)
        if not is_kept:
            _hang_up(conn.sock)
        return is_kept

    def handle_request(self, req: object, conn: TConn) -> object:
        """Answer a request whose head is there."""
        self._heads.pop(conn, None)
        unreader = conn.parser.unreader
        unreader.chunk = Paced(unreader.chunk)
        try:
            return super().handle_request(req, conn)
        except BlockingIOError as error:  # it took nothing for as long as the system waits, which is no fault of ours
            raise BrokenPipeError(errno.EPIPE, "The client does not take its answer.") from error
        finally:
            del unreader.chunk  # what nobody asked for is drained after the answer, within a time of its own

    def murder_pending(self) -> None:
        """Close what is overdue; the loop of the worker calls this every second or more often."""
        super().murder_pending()
        now = time.monotonic()
        for conn, deadline in list(self._heads.items()):
            if now > deadline:
                with suppress(OSError):  # it has gone by itself
                    conn.sock.shutdown(socket.SHUT_RD)  # its thread reads the end


def _hang_up(connection: socket.socket) -> None:
    """Let the client take the answer and go, here in a thread: the loop, which serves everybody, would wait for it."""
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
    """Reads of a body, which must come at `BODY_BYTES_PER_S`. Only the waiting counts, not what is done in between."""

    def __init__(self, read: Callable[[int | None], bytes]) -> None:
        self._read = read
        self._credit_s: float = BODY_GRACE_S

    def __call__(self, size_hint: int | None = None) -> bytes:
        """The next bytes.

        Raises:
            TooSlowError: they come too slowly.
        """
        began = time.monotonic()
        data = self._read(size_hint)
        waited = time.monotonic() - began
        # Nothing is saved up beyond the grace: one who was quick at first may not be slow for hours.
        self._credit_s = min(BODY_GRACE_S, self._credit_s - waited + len(data) / BODY_BYTES_PER_S)
        if self._credit_s < 0:
            raise TooSlowError(f"Send at least {BODY_BYTES_PER_S} bytes a second.")
        return data
