"""Clients that send slowly but are never silent: real sockets, and a web server with short limits."""

import inspect
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import gunicorn
import httpx
import psutil
import pytest
from gunicorn.config import Config
from gunicorn.http.wsgi import create
from gunicorn.workers.gthread import TConn, ThreadWorker

from shared.errors import TooSlowError, UnavailableError
from shared.settings import WEB_THREADS, Settings
from tests.conftest import ROOT, free_port, photo_bytes, wait_until
from web import __main__, slow_clients
from web.slow_clients import ClientSocket, WaitingClients

IMPATIENT = """
from web import slow_clients

slow_clients.SILENCE_S, slow_clients.INITIAL_CREDIT_S, slow_clients.MAX_CREDIT_S, slow_clients.LINGER_S = 2, 2, 1, 600

from web import __main__

create_app = __main__.create_app

def with_more_than_buffers_hold(*args, **kwargs):
    app = create_app(*args, **kwargs)
    app.get("/endless")(lambda: (bytes(1 << 20) for _ in range(1000)))
    return app

__main__.create_app = with_more_than_buffers_hold
__main__.main()
"""
LIMIT_S = 30


@pytest.fixture(scope="module")
def port(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a web server with short limits; clients that it waits for are gone before the next test."""
    port, folder = free_port(), tmp_path_factory.mktemp("web")
    settings = {"SAKUGA_PORT": str(port), "SAKUGA_REDIS_URL": redis_url, "SAKUGA_DATA_DIR": str(folder)}
    web = subprocess.Popen([sys.executable, "-c", IMPATIENT], cwd=ROOT, env=os.environ | settings)
    try:
        wait_until(lambda: is_alive(port), "the web server answers")
        yield port
    finally:
        web.terminate()
        web.wait(20)


def is_alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def dripping(connections: list[socket.socket], drop: bytes) -> Callable[[], None]:
    def drip() -> None:
        for connection in connections:
            with suppress(OSError):  # the web server has closed it
                connection.sendall(drop)

    return drip


def test_headers_sent_byte_by_byte_do_not_block_others(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) for _ in range(WEB_THREADS)]
    try:
        for connection in slow:
            connection.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
        drip = dripping(slow, b"x")
        wait_until(lambda: (drip(), is_alive(port))[1], "the web server answers others", LIMIT_S)
        assert [connection for connection in slow if not ended(connection)] == []
    finally:
        for connection in slow:
            connection.close()


def test_answers_read_a_few_bytes_at_a_time_do_not_block_others(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) for _ in range(2 * WEB_THREADS)]
    try:
        for connection in slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(10):
            for connection in slow:
                read_available(connection)
            assert is_alive(port)
    finally:
        for connection in slow:
            connection.close()


def connected() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        return server.accept()[0], theirs


def read_available(connection: socket.socket) -> bytes | None:
    """Return some of the response received so far: None if there is nothing yet, empty at its end."""
    connection.settimeout(0.01)
    try:
        return connection.recv(500)
    except TimeoutError:
        return None
    except OSError:
        return b""


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_lingering_clients_do_not_block_others(port: int) -> None:
    """While threads close their connections, others are answered."""
    staying = [socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) for _ in range(20)]
    try:
        for connection in staying:
            connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        wait_until(lambda: lingering(port) == len(staying), "all have their answer, and stay", LIMIT_S)
        assert is_alive(port)
        assert lingering(port) == len(staying)
    finally:
        for connection in staying:
            connection.close()


def lingering(port: int) -> int:
    """Return how many connections the web server has shut down but not yet closed."""
    connections = [found for child in psutil.Process().children(recursive=True) for found in child.net_connections()]
    return len([one for one in connections if one.laddr[1] == port and one.status == psutil.CONN_FIN_WAIT2])


def test_a_client_that_never_closes_is_dropped_after_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_clients, "LINGER_S", 0.1)
    ours, theirs = connected()
    with theirs, ClientSocket(ours, WaitingClients(1)) as client:
        client.linger()  # comes back
        assert client.recv(1) == theirs.recv(1) == b""


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("image/png", b""),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n'),
    ],
)
def test_a_body_sent_byte_by_byte_is_refused_as_too_slow(port: int, kind: str, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=0.1) as slow:
        head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: 90000\r\n\r\n"
        slow.sendall(head.encode() + start)
        drip, answer = dripping([slow], b"x"), bytearray()

        def is_answered() -> bool:
            drip()
            with suppress(TimeoutError, ConnectionError):
                answer.extend(slow.recv(65536))
            return b'"too_slow"' in answer

        wait_until(is_answered, "the web server has had enough", LIMIT_S)
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_stops_arriving_is_refused_as_too_slow(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as silent:
        silent.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n")
        silent.sendall(b"Transfer-Encoding: chunked\r\n\r\n10\r\nxx")
        assert silent.recv(65536).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(("path", "status"), [("jobs", 413), ("albums/unknown/photos", 404)])
def test_an_upload_is_refused_before_its_body_is_sent(port: int, path: str, status: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as client:
        kind = "Content-Type: image/png\r\nContent-Length: 1000000000"
        client.sendall(f"POST /api/v1/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}\r\n\r\n".encode())
        assert client.recv(65536).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_photo_sent_in_pieces_in_time_is_accepted(port: int) -> None:
    photo = photo_bytes((400, 300))
    pieces = (photo[place : place + 20_000] for place in range(0, len(photo), 20_000))
    answer = httpx.post(f"http://127.0.0.1:{port}/api/v1/jobs", content=pieces, headers={"Content-Type": "image/png"})
    assert answer.status_code == 202, answer.text


def test_only_time_spent_waiting_counts_and_none_is_saved_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    data, wait_s = b"x" * (slow_clients.MIN_BYTES_PER_S * 100), 0.0

    def recv(*_: object) -> bytes:
        now[0] += wait_s
        return data

    monkeypatch.setattr(socket.socket, "recv", recv)
    ours, theirs = connected()
    with theirs, ClientSocket(ours, WaitingClients(1)) as client:
        assert client.recv(1) == data
        now[0] += 1000  # of our own work
        data, wait_s = b"x", slow_clients.MAX_CREDIT_S - 1
        assert client.recv(1) == b"x"
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert isinstance(client.problem, TooSlowError)


def test_archives_of_vanished_clients_do_not_block_listeners(port: int) -> None:
    """Even while there is nothing to send, because the album waits for pictures."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as client:
        album = client.post("/api/v1/albums", json={}).headers["Location"]
        client.put(f"{album}/photos/a.png", content=photo_bytes(), headers={"Content-Type": "image/png"})

        def may_listen() -> bool:
            with client.stream("GET", f"{album}/events") as answer:
                return answer.status_code == 200

        fetching = [socket.create_connection(("127.0.0.1", port)) for _ in range(WEB_THREADS // 2 + 1)]
        for connection in fetching:
            connection.sendall(f"GET {album}/archive HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        wait_until(
            lambda: any(map(read_available, fetching)), "one is refused, since the others have taken all slots", LIMIT_S
        )
        for connection in fetching:
            connection.close()
        wait_until(may_listen, "the slots are free", LIMIT_S)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux lists the timers of connections")
def test_vanished_clients_are_detected_by_keepalive(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        ends = f"{port:04X}", f"{client.getsockname()[1]:04X}"
        wait_until(lambda: timer(*ends).startswith("02:"), "the keepalive timer runs")


def timer(local: str, remote: str) -> str:
    """That of the connection between two ports, given in hexadecimal."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (found,) = [row[5] for row in rows if (row[1][-4:], row[2][-4:]) == (local, remote)]
    return found


class TestGunicorn:
    """The private interfaces of gunicorn that we rely on; a version without them must fail these tests."""

    NEEDED = f"web/__main__.py relies on it, and gunicorn {gunicorn.__version__} does not do it"

    def test_the_overridden_method_serves_a_connection(self) -> None:
        assert list(inspect.signature(ThreadWorker.handle).parameters) == ["self", "conn"], self.NEEDED
        assert list(inspect.signature(ThreadWorker.accept).parameters) == ["self", "listener"], self.NEEDED

    def test_a_worker_keeps_lists_of_its_idle_connections(self) -> None:
        needed = {"pending_conns", "keepalived_conns", "nr_conns", "worker_connections", "poller"}
        assert needed <= set(ThreadWorker.__init__.__code__.co_names), self.NEEDED

    def test_gunicorn_reads_and_writes_only_through_the_limited_methods(self) -> None:
        config, (ours, theirs) = Config(), connected()
        connection = TConn(config, ours, ("127.0.0.1", 1), ("127.0.0.1", 2))
        assert connection.sock is ours, self.NEEDED
        assert not connection.initialized, self.NEEDED
        with theirs, ClientSocket(ours, WaitingClients(1)) as client:
            connection.sock = client
            connection.init()
            theirs.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
            request = next(connection.parser)
            response, environ = create(request, client, ("127.0.0.1", 1), ("127.0.0.1", 2), config)
            assert environ["gunicorn.socket"] is client, self.NEEDED
            client.recv = lambda *_: b"body"
            assert environ["wsgi.input"].read() == b"body", self.NEEDED
            sent = bytearray()
            client.sendall = lambda data, _=0: sent.extend(data)
            response.start_response("200 OK", [("Content-Length", "2")])
            response.write(b"ok")
            assert sent.endswith(b"ok"), self.NEEDED

    def test_all_our_settings_are_known(self, settings: Settings) -> None:
        server = __main__.Server(settings)
        assert server.cfg.control_socket_disable, f"gunicorn {gunicorn.__version__} opens a control socket"
        assert not server.cfg.sendfile
        assert server.cfg.worker_class is __main__.LimitedThreadWorker


def sent_in_chunks(port: int, body: bytes) -> bytes:
    """Send a body that claims to be chunked; return all that is answered until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        connection.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n")
        connection.sendall(b"Transfer-Encoding: chunked\r\n\r\n" + body)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-5\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcdef\r\n0\r\n\r\n",
        b'3;x="\r\nabc\r\n0\r\n\r\n',
        b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_malformed_chunks_are_refused_and_end_the_connection(port: int, body: bytes) -> None:
    answer = sent_in_chunks(port, body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"application/problem+json" in answer


FEW_FILES = """
import resource
from web import __main__

resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
__main__.OTHER_FILES = {other_files}
__main__.main()
"""


@contextmanager
def serving_with_few_files(redis_url: str, folder: Path, other_files: int) -> Iterator[int]:
    """Run a web server that may open 300 files; yield its port."""
    port = free_port()
    settings = {"SAKUGA_PORT": str(port), "SAKUGA_REDIS_URL": redis_url, "SAKUGA_DATA_DIR": str(folder)}
    code = FEW_FILES.format(other_files=other_files)
    web = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=os.environ | settings)
    try:
        wait_until(lambda: is_alive(port), "the web server answers")
        (serving,) = psutil.Process(web.pid).children()
        yield port
        assert serving.is_running(), "it was not restarted"
    finally:
        web.terminate()
        web.wait(20)


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S))
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        yield


def test_idle_connections_make_room_for_others(redis_url: str, tmp_path: Path) -> None:
    with serving_with_few_files(redis_url, tmp_path, other_files=64) as port, idle_connections(port, 400):
        wait_until(lambda: is_alive(port), "the web server answers others", LIMIT_S)


def test_a_server_without_descriptors_goes_on_when_there_are_some_again(redis_url: str, tmp_path: Path) -> None:
    as_if_there_were_more = -10_000
    with serving_with_few_files(redis_url, tmp_path, as_if_there_were_more) as port:
        with idle_connections(port, 400):
            pass
        wait_until(lambda: is_alive(port), "the web server answers again", LIMIT_S)


def test_the_slowest_of_too_many_clients_is_refused() -> None:
    waiting_clients, pairs = WaitingClients(2), [connected() for _ in range(3)]
    slow, slower, newest = clients = [ClientSocket(ours, waiting_clients) for ours, _ in pairs]
    slower.waited_s = 1000
    try:
        for client in clients:
            waiting_clients.add(client, socket.SHUT_RD)
        assert [one.problem is None for one in (slow, slower, newest)] == [True, False, True]
        assert isinstance(slower.problem, UnavailableError)
        with pytest.raises(ConnectionResetError):
            slower.recv(1)
    finally:
        for connection in [*clients, *(theirs for _, theirs in pairs)]:
            connection.close()


def test_a_wait_within_a_wait_counts_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    waiting_clients, (ours, theirs) = WaitingClients(1), connected()
    with theirs, ClientSocket(ours, waiting_clients) as client:
        waiting_clients.add(client, socket.SHUT_RD)
        now[0] = 3
        theirs.send(b"x")
        client.recv(1)
        waiting_clients.remove(client)
        assert client.waited_s == 3


def test_uploads_at_the_minimum_rate_do_not_block_others(port: int) -> None:
    """However many there are, those that threads have waited for longest are disconnected."""
    slow = [socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) for _ in range(2 * WEB_THREADS)]
    kind = "Content-Type: image/png\r\nContent-Length: 30000000"
    drip = dripping(slow, b"x" * 10 * slow_clients.MIN_BYTES_PER_S)
    try:
        for connection in slow:
            connection.sendall(f"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}\r\n\r\n".encode())
        waiting, answers = list(slow), set[bytes]()

        def others_are_refused() -> bool:
            drip()
            assert is_alive(port)
            for client in list(waiting):
                if (answer := read_available(client)) is not None:
                    waiting.remove(client)
                    answers.add(answer[: len(b"HTTP/1.1 503")])
            return len(waiting) <= slow_clients.MAX_WAITING_CLIENTS

        wait_until(others_are_refused, "the web server waits for no more uploads than it may", LIMIT_S)
        # On a busy machine some are too slow, and some are disconnected before they read their answer.
        assert b"HTTP/1.1 503" in answers
        assert answers <= {b"HTTP/1.1 503", b"HTTP/1.1 408", b""}
    finally:
        for connection in slow:
            connection.close()
