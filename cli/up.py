"""`sakuga up`: the queue, the workers and the web server under one supervisor.

Parts run in sessions of their own, so Ctrl-C reaches only the supervisor, which stops them in order: the web server
first, so that nothing new comes in; then the workers, which finish what they have begun; the queue last. Where the
supervisor is killed, the kernel (Linux) stops them.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape

from cli import valkey
from cli.keys import file_of
from cli.parent_death import die_with_parent
from cli.running import Running, only_one
from shared.callers.api_keys import require_guarded
from shared.errors import SettingsError
from shared.hosts import bound_socket, in_url
from shared.scheduling.broker import DRAIN_S
from shared.services import Services, connect
from shared.settings import PREFIX, Settings
from shared.styles import installed_styles

START_LIMIT_S = 180
STOP_LIMIT_S = {"web": 15, "worker": DRAIN_S + 10, "queue": 20}
RESTART_DELAYS_S = (0.5, 1, 2, 5, 10, 30)
STEADY_S = 60  # a part that ran this long starts anew from the shortest delay
POLL_S = 0.2
LOG_KEPT_BYTES = 10 << 20
SOCKET = "valkey.sock"
QUEUE = "queue"  # its folder in the data folder


@dataclass(slots=True)
class Part:
    """One supervised program."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    umask: int = -1  # that of this process
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float | None = None

    def start(self) -> None:
        _rotate(self.log)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                die_with_parent(self.command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=self.umask,
            )
        self.started = time.monotonic()
        self.restart_at = None

    def exit_code(self) -> int | None:
        return self.process.poll() if self.process else None

    def stop(self, limit_s: float) -> None:
        """Ask it to stop, and end it when it does not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-15:])


@dataclass(slots=True)
class Supervisor:
    """Starts the parts, starts them again when they die, and stops them in order."""

    parts: list[Part]
    console: Console
    stopping: bool = field(default=False)

    def ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def wait_for(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready`, watching that no part dies meanwhile.

        Raises:
            SettingsError: a part ended or did not get ready in time; its last words are shown.
        """
        deadline = time.monotonic() + START_LIMIT_S
        while not self.stopping and not ready():
            dead = next((part for part in self.parts if part.process and part.exit_code() is not None), None)
            if dead:
                words = dead.last_words()
                advice = valkey.advice(words, dead.log.parent.parent / QUEUE) if dead.name == "queue" else ""
                raise SettingsError(f"The {dead.name} exited while starting:\n{words}{advice}")
            if time.monotonic() > deadline:
                logs = self.parts[0].log.parent
                raise SettingsError(f"The {what} was not ready within {START_LIMIT_S} s; see {logs}")
            time.sleep(POLL_S)

    def watch(self) -> None:
        """Keep everything running until asked to stop."""
        while not self.stopping:
            for part in self.parts:
                self._look_after(part)
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop the parts in reverse of how they depend on each other."""
        for part in reversed(self.parts):
            part.stop(STOP_LIMIT_S[part.name])

    def _look_after(self, part: Part) -> None:
        now = time.monotonic()
        if part.restart_at is not None:
            if now >= part.restart_at:
                part.start()
            return
        if part.exit_code() is None:
            return
        part.failures = 0 if now - part.started > STEADY_S else part.failures
        delay = RESTART_DELAYS_S[min(part.failures, len(RESTART_DELAYS_S) - 1)]
        part.failures += 1
        part.restart_at = now + delay
        code = part.exit_code()
        self.console.print(f"[yellow]The {part.name} exited (code {code}); restarting in {delay:g} s.[/]")


def run(settings: Settings, console: Console) -> int:
    """Run Sakuga until SIGINT or SIGTERM; returns the exit code.

    Raises:
        SettingsError: the data folder or the port is taken, a part cannot start, or strangers would be served.
    """
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
                _announce(settings, console)
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


def _announce(settings: Settings, console: Console) -> None:
    console.print(f"[bold]Sakuga is ready: {escape(settings.local_url)}[/]", style="#c2185b")
    console.print(f"Data and logs are in {settings.data_dir}. Ctrl-C stops.")
    if settings.api_keys:
        console.print("API keys are required.")
    elif file_of(settings).exists():
        console.print(
            f"Keys exist but aren't required. To require them, set SAKUGA_API_KEYS={file_of(settings)}",
            style="yellow",
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
    environment = os.environ | {
        f"{PREFIX}REDIS_URL": settings.redis_url,
        f"{PREFIX}PORT": str(settings.port),
        f"{PREFIX}DATA_DIR": str(settings.data_dir),
        "PYTHONUNBUFFERED": "1",
    }
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


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
        log.replace(log.with_suffix(".log.1"))
