"""`python -m web`: serve the application with gunicorn until told to stop."""

import errno
import gc
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import TConn, ThreadWorker
from kombu.utils.url import maybe_sanitize_url
from redis.exceptions import RedisError

from shared.callers.api_keys import require_guarded
from shared.errors import SakugaError
from shared.hosts import bind_address, in_url
from shared.redis_connection import redis_client
from shared.services import connect
from shared.settings import WEB_THREADS, Settings, load_settings
from shared.telemetry import configure_logs
from web.app import create_app
from web.slow_clients import MAX_WAITING_CLIENTS, ClientSocket, WaitingClients

LOCK_WAIT_S = 5  # for a locked photo: the lock of a worker that died would otherwise block many of the few threads
GRACE_S = 10  # for requests in progress; those that merely wait are ended at once
FILES_PER_THREAD = 8  # open at a time beside the connection: a form, a photo, the store, Redis
OTHER_FILES = 64
MAX_CONNECTIONS = 1000
NO_FILES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ACCEPT_PAUSE_S = 0.1  # while there is no descriptor for another connection: the loop would spin

log = structlog.get_logger()


class LimitedThreadWorker(ThreadWorker):  # type: ignore[misc]
    """Serves with many threads, which wait for slow clients only within limits.

    Idle connections make room for new ones: nobody can keep others out by holding many.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._waiting_clients = WaitingClients(MAX_WAITING_CLIENTS)

    def handle(self, conn: TConn) -> object:
        """Serve a request; gunicorn calls this in a thread when a connection is new or has something to read."""
        if not isinstance(conn.sock, ClientSocket):
            conn.sock = ClientSocket(conn.sock, self._waiting_clients)
        client = conn.sock
        client.begin_request()
        with self._first_wait(conn):
            is_kept = super().handle(conn)
        if is_kept and not client.problem:
            return is_kept
        client.linger()  # here: the loop, which serves all clients, would block
        return False

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; where that takes the last one, or there are no descriptors, close an idle one."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in NO_FILES:
                raise
            log.warning("failed to accept a connection; will retry", error=error.strerror)
            if not self._close_idlest():
                time.sleep(ACCEPT_PAUSE_S)
        if self.nr_conns >= self.worker_connections:
            self._close_idlest()

    def _close_idlest(self) -> bool:
        """Close the connection that has been idle the longest: best one that never sent anything."""
        for idle in (self.pending_conns, self.keepalived_conns):
            if idle:
                conn = idle.popleft()
                self.poller.unregister(conn.sock)
                self.nr_conns -= 1
                conn.close()
                return True
        return False

    @contextmanager
    def _first_wait(self, conn: TConn) -> Iterator[None]:
        """Track the client of a new connection until its first bytes: gunicorn waits for them without `recv`."""
        if not conn.initialized:
            self._waiting_clients.add(conn.sock, socket.SHUT_RD)
        try:
            yield
        finally:
            self._waiting_clients.remove(conn.sock)


class Server(BaseApplication):  # type: ignore[misc]
    """One process with many threads: the work is elsewhere, requests mostly wait for Redis."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: ThreadWorker | None = None
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"{in_url(bind_address(self._settings.host))}:{self._settings.port}",
            "worker_class": LimitedThreadWorker,
            "workers": 1,
            "threads": WEB_THREADS,
            "worker_connections": _connections(),
            "graceful_timeout": GRACE_S,
            "keepalive": 75,
            "timeout": 60,
            "post_fork": self._remember,
            "pre_fork": _share_memory,
            "sendfile": False,  # it would bypass the limits on slow clients
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(
            connect(self._settings, wait_s=LOCK_WAIT_S), is_serving=self._is_serving, malformed=ParseException
        )

    def _remember(self, _arbiter: object, worker: ThreadWorker) -> None:
        self._worker = worker

    def _is_serving(self) -> bool:
        return self._worker is None or bool(self._worker.alive)


def _connections() -> int:
    """Return how many connections there may be at a time; first allow this process as many files as it may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a limit of its own below
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = MAX_CONNECTIONS if files == resource.RLIM_INFINITY else files - WEB_THREADS * FILES_PER_THREAD - OTHER_FILES
    return max(2 * WEB_THREADS, min(MAX_CONNECTIONS, left))


def _share_memory(_arbiter: object, _worker: object) -> None:
    """Keep memory shared between parent and child: the garbage collector would write into all of it."""
    gc.freeze()


def main() -> None:
    """Read the settings and serve."""
    try:
        settings = load_settings()
        require_guarded(settings)
        configure_logs(settings.log_level)
        _introduce(settings)
        Server(settings).run()
    except SakugaError as error:
        sys.exit(f"sakuga web: {error.detail}")


def _introduce(settings: Settings) -> None:
    """Log the address and the dependencies; an operator sees here what is missing."""
    queue = maybe_sanitize_url(settings.redis_url)
    address = f"http://{in_url(settings.host)}:{settings.port}"
    whom = "callers with keys" if settings.api_keys else "anybody"
    log.info("web starting", address=address, queue=queue, store=settings.effective_store_url, answers=whom)
    try:
        with redis_client(settings) as client:
            client.ping()
    except RedisError as error:
        log.warning("the queue is not responding; refusing requests until it is", queue=queue, error=str(error))


if __name__ == "__main__":
    main()
