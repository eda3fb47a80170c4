"""`python -m web`: serve the application with gunicorn until told to stop."""

import gc
import socket
import struct
import sys

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker
from kombu.utils.url import maybe_sanitize_url
from redis.exceptions import RedisError

from shared.callers.api_keys import require_guarded
from shared.errors import SakugaError
from shared.redis_connection import redis_client
from shared.services import connect
from shared.settings import WEB_THREADS, Settings, load_settings
from shared.telemetry import configure_logs
from web.app import create_app
from web.slow_clients import SlowClientWorker

SILENCE_S = 10  # of a client in the middle of a request or a response
LOCK_WAIT_S = 5  # for a locked photo: the lock of a worker that died would otherwise block many of the few threads
PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}  # detect clients that are gone
GRACE_S = 10  # for requests in progress; those that merely wait are ended at once

log = structlog.get_logger()


class Server(BaseApplication):  # type: ignore[misc]
    """One process with many threads: the work is elsewhere, requests mostly wait for Redis."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: ThreadWorker | None = None
        super().__init__()

    def load_config(self) -> None:
        options = {
            "bind": f"{self._settings.host}:{self._settings.port}",
            "worker_class": SlowClientWorker,
            "workers": 1,
            "threads": WEB_THREADS,
            "graceful_timeout": GRACE_S,
            "keepalive": 75,
            "timeout": 60,
            "post_fork": self._remember,
            "pre_fork": _share_memory,
            "when_ready": _limit_waiting,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return create_app(connect(self._settings, wait_s=LOCK_WAIT_S), is_serving=self._is_serving)

    def _remember(self, _arbiter: object, worker: ThreadWorker) -> None:
        self._worker = worker

    def _is_serving(self) -> bool:
        return self._worker is None or bool(self._worker.alive)


def _share_memory(_arbiter: object, _worker: object) -> None:
    """Keep memory shared between parent and child: the garbage collector would write into all of it."""
    gc.freeze()


def _limit_waiting(arbiter: Arbiter) -> None:
    """Set timeouts so that no idle client keeps a thread. Connections inherit the options of their listener."""
    for listener in arbiter.LISTENERS:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", SILENCE_S, 0))
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in PROBES.items():
            if hasattr(socket, name):  # elsewhere the system's own, which may be hours
                listener.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


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
    address = f"http://{settings.host}:{settings.port}"
    whom = "callers with keys" if settings.api_keys else "anybody"
    log.info("web starting", address=address, queue=queue, store=settings.effective_store_url, answers=whom)
    try:
        with redis_client(settings) as client:
            client.ping()
    except RedisError as error:
        log.warning("the queue is not responding; refusing requests until it is", queue=queue, error=str(error))


if __name__ == "__main__":
    main()
