"""A network connection between two parts, which can be cut, slowed or broken."""

import socket
import threading
import time
from enum import StrEnum

CHUNK = 1 << 16
LOOK_S = 0.1
REFUSAL = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Line(StrEnum):
    """The state of a line."""

    GOOD = "good"
    DOWN = "down"  # connections are refused, as if the server were down
    SLOW = "slow"  # everything is delayed by a second
    BROKEN = "broken"  # HTTP requests are answered with 500


class Proxy:
    """Forwards connections from a port of its own to the port `target`, according to the state of the line."""

    def __init__(self, target: int) -> None:
        """Start listening, with a good line."""
        self.line = Line.GOOD
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        if self.line is Line.DOWN:
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            near.close()
            return
        threading.Thread(target=self._pump, args=(far, near), daemon=True).start()
        self._pump(near, far, is_request=True)

    def _pump(self, source: socket.socket, sink: socket.socket, *, is_request: bool = False) -> None:
        try:
            source.settimeout(LOOK_S)
            while True:
                data = self._received(source)
                if not data or self.line is Line.DOWN:
                    return
                if is_request and self.line is Line.SLOW:
                    time.sleep(1)
                if is_request and self.line is Line.BROKEN:
                    source.sendall(REFUSAL)
                    return
                sink.sendall(data)
        except OSError:
            return
        finally:
            for end in (source, sink):
                end.close()

    def _received(self, source: socket.socket) -> bytes:
        while True:
            try:
                return source.recv(CHUNK)
            except TimeoutError:
                if self.line is Line.DOWN:
                    return b""
