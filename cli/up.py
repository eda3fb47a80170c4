"""`sakuga up`: the queue, the workers and the web server under one supervisor."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape

from cli import lan, valkey
from cli.keys import file_of
from cli.running import Running, only_one
from cli.supervisor import QUEUE, Part, Supervisor
from shared.callers.api_keys import require_guarded
from shared.errors import SettingsError
from shared.hosts import bound_socket, in_url
from shared.services import Services, connect
from shared.settings import PREFIX, Settings
from shared.styles import installed_styles

SOCKET = "valkey.sock"
DECIDED = ("host", "port", "published_at", "trusted_hosts", "api_keys", "redis_url", "data_dir")  # here, for the parts


def run(settings: Settings, console: Console, *, on_lan: bool = False) -> int:
    """Run Sakuga until SIGINT or SIGTERM; returns the exit code.

    Raises:
        SettingsError: the data folder or the port is taken, a part cannot start, strangers would be served, or there is
            no local network to serve.
        OSError: the data folder cannot be used.
    """
    settings, invitation = lan.invite(settings) if on_lan else (settings, None)
    require_guarded(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    installed_styles(settings.data_dir)[settings.style]  # an unknown one is said now, not in a log
    with only_one(settings.data_dir) as folder, _short_folder() as runtime:
        if folder.previous.sockets:
            shutil.rmtree(folder.previous.sockets, ignore_errors=True)  # left behind by a supervisor that was killed
        settings = _completed(settings, runtime)
        folder.tell(Running(url=settings.local_url, redis_url=settings.redis_url, sockets=str(runtime)))
        supervisor = Supervisor(_parts(settings, runtime), console)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, supervisor.ask_to_stop)
        try:
            _start(supervisor, settings)
            if not supervisor.stopping:
                _announce(settings, console, invitation)
            supervisor.watch()
            console.print("Stopping: finishing running jobs first.")
        finally:
            supervisor.stop()
        console.print("Stopped. Queued jobs resume at the next start.")
    return 0


def _start(supervisor: Supervisor, settings: Settings) -> None:
    services = connect(settings)
    *queue, worker, web = supervisor.parts
    with supervisor.console.status("Starting the queue"):
        for part in queue:
            part.start()
        supervisor.wait_for("queue", lambda: _answers(services))
    services.workers.deregister_host(socket.gethostname())
    with supervisor.console.status("Loading and warming the engine"):
        worker.start()
        web.start()
        supervisor.wait_for("web", lambda: _listens(settings))
        supervisor.wait_for("worker", lambda: bool(services.workers.alive_on(socket.gethostname())))


def _announce(settings: Settings, console: Console, invitation: lan.Invitation | None) -> None:
    address = invitation.address(settings.port) if invitation else settings.local_url
    console.print(f"[bold]Sakuga is ready: {escape(address)}[/]", style="#c2185b")
    console.print(f"Data and logs are in {settings.data_dir}. Ctrl-C stops.", markup=False)
    if invitation:
        invitation.show(settings.port, console)
    elif settings.api_keys:
        console.print("API keys are required.")
    elif file_of(settings).exists():
        console.print(
            f"Keys exist but aren't required. To require them, set SAKUGA_API_KEYS={file_of(settings)}",
            style="yellow",
            markup=False,
        )


def _completed(settings: Settings, runtime: Path) -> Settings:
    """Fill in what `up` decides: the embedded queue's address, and a free port for port 0."""
    changes: dict[str, object] = {}
    if "redis_url" not in settings.model_fields_set:
        changes["redis_url"] = _embedded_url(runtime)
    changes["port"] = _free_port(settings)
    return settings.model_copy(update=changes)


def _embedded_url(runtime: Path) -> str:
    return f"redis+socket://{runtime / SOCKET}"


def _parts(settings: Settings, runtime: Path) -> list[Part]:
    logs = settings.data_dir / "logs"
    queue_data = settings.data_dir / QUEUE
    for folder in (logs, queue_data):
        folder.mkdir(parents=True, exist_ok=True)
    queue_data.chmod(0o700)  # earlier versions made it, and the files in it, readable by everyone
    decided = {name: getattr(settings, name) for name in DECIDED}
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    environment |= {f"{PREFIX}{name.upper()}": str(value) for name, value in decided.items() if value is not None}
    programs = {"worker": [sys.executable, "-m", "worker"], "web": [sys.executable, "-m", "web"]}
    if settings.redis_url == _embedded_url(runtime):
        programs = {"queue": valkey.command(queue_data, runtime / SOCKET)} | programs
    return [
        Part(name, command, environment, logs / f"{name}.log", umask=0o077 if name == "queue" else -1)
        for name, command in programs.items()
    ]


@contextmanager
def _short_folder() -> Iterator[Path]:
    """A private folder whose path is short enough for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="sakuga-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port(settings: Settings) -> int:
    try:
        with bound_socket(settings.host, settings.port) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"{in_url(settings.host)}:{settings.port} is not available ({error.strerror}); "
            "choose another port with --port or SAKUGA_PORT."
        ) from error


def _answers(services: Services) -> bool:
    try:
        return bool(services.redis.ping())
    except RedisError:
        return False


def _listens(settings: Settings) -> bool:
    url = urlsplit(settings.local_url)
    try:
        socket.create_connection((url.hostname, url.port), timeout=1).close()
    except OSError:
        return False
    return True
