"""The parts of a service as processes of their own, each of which can be killed, paused, cut off and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import httpx
import psutil

from cli import valkey
from shared.lanes import Lane
from shared.leases import LEASES
from shared.services import Services, connect
from shared.settings import Settings
from tests.chaos.proxy import Line, Proxy
from tests.conftest import ROOT, S3_KEYS, free_port

NODES = 2
START_LIMIT_S = 180


def die_in_order() -> None:
    """When told to stop (SIGTERM), end what was started on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def wait_for(condition: Callable[[], bool], what: str, limit_s: float) -> None:
    """Poll `condition` until it holds.

    Raises:
        TimeoutError: it does not.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.05)


class AnyRig(Protocol):
    """What photos are sent to while it suffers."""

    services: Services

    @property
    def url(self) -> str: ...

    def in_hand(self) -> set[str]:
        """The jobs that are being converted now."""
        ...

    def wait_until_busy(self) -> None:
        """Wait until something is in hand everywhere."""
        ...

    def mend(self) -> None:
        """Let everything be as it was."""
        ...


@dataclass
class Program:
    """A process with all its children, in a session of its own."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.pid).children(recursive=True))

    def forks(self) -> list[psutil.Process]:
        """The children that convert photos."""
        process = psutil.Process(self.pid)
        alive = [child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE]
        return [child for child in alive if child.cmdline() == process.cmdline()]

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it, and wait until it and its children have gone."""
        if self.process is None:
            return
        if number is signal.SIGKILL:
            self.send_signal(number)
        else:
            self.process.send_signal(number)
        self.process.wait(90)
        self.send_signal(signal.SIGKILL)


@dataclass
class Rig:
    """A queue, a store, a web and two nodes of one process each; each node reaches the queue through a line of its own.

    With `s3_port` the store is the S3 server there, which all reach through one line; else it is a folder.
    """

    folder: Path
    timeout_s: int = 6  # of visibility
    s3_port: int | None = None
    store: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Choose ports; nothing is started."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.queue_port = free_port(), free_port()
        self.lines = [Proxy(self.queue_port) for _ in range(NODES)]
        self.s3_line = Proxy(self.s3_port) if self.s3_port else None
        command = [*valkey.command(self.folder, self.folder / "unused.sock"), "--port", str(self.queue_port)]
        self.queue = Program([*command, "--unixsocket", ""], {}, self._log("queue"))
        self.web = self._part("web", "web", self.queue_port)
        nodes = enumerate(self.lines)
        self.nodes = [self._part("tests.chaos.node", f"node-{number}", line.port) for number, line in nodes]
        for number, node in enumerate(self.nodes):
            node.environment["CHAOS_CLOCK"] = str(self.clock_of(number))
        self.services = connect(Settings(data_dir=self.folder, redis_url=_redis(self.queue_port)))

    def __enter__(self) -> Self:
        """Start everything and wait until it is ready.

        Raises:
            TimeoutError: it does not get ready; the logs in `folder` say why.
        """
        for program in self.programs:
            program.start()
        wait_for(lambda: self.workers() == NODES, "all nodes are ready", START_LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self.programs):
            program.send_signal(signal.SIGCONT)
            program.end()
        for line in [*self.lines, *([self.s3_line] if self.s3_line else [])]:
            line.close()
        self.services.redis.close()

    def mend(self) -> None:
        """Let everything be as it was: what was killed starts again, what was paused goes on, clocks are right.

        Raises:
            TimeoutError: it does not get ready.
        """
        for number, line in enumerate(self.lines):
            line.line = Line.GOOD
            self.clock_of(number).unlink(missing_ok=True)
        for program in self.programs:
            program.send_signal(signal.SIGCONT)
        self.revive()
        wait_for(lambda: self.workers() == NODES, "all nodes are ready again", START_LIMIT_S)

    def revive(self) -> None:
        """Start what has ended, as a supervisor would."""
        for program in self.programs:
            if program.process is None or program.process.poll() is not None:
                program.start()

    @staticmethod
    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)

    @property
    def programs(self) -> list[Program]:
        return [self.queue, self.web, *self.nodes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def clock_of(self, number: int) -> Path:
        """The file that says how many seconds a node's clock is wrong."""
        return self.folder / f"clock-{number}"

    def workers(self) -> int:
        """How many warm processes the web knows of, 0 while it does not answer."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=10)
            return int(answer.json().get("workers", 0)) if answer.status_code == 200 else 0
        except httpx.TransportError:
            return 0

    def in_hand(self) -> set[str]:
        """The jobs that are being converted now."""
        return {str(job_id) for job_id in self.services.redis.zrange(LEASES, 0, -1)}

    def waiting(self) -> int:
        """How many jobs wait."""
        return sum(self.services.lanes.stats(lane).jobs for lane in Lane)

    def wait_until_busy(self) -> None:
        """Wait until every node has a job in hand."""
        wait_for(lambda: len(self.in_hand()) == NODES, "every node has a photo in hand", 60)

    def _part(self, module: str, name: str, queue_port: int) -> Program:
        environment = {
            "SAKUGA_DATA_DIR": str(self.folder),
            "SAKUGA_PORT": str(self.port),
            "SAKUGA_PROCESSES": "1",
            "SAKUGA_REDIS_URL": _redis(queue_port),
            "SAKUGA_STYLE": "hinata-full",
            "SAKUGA_THREADS": "1",
            "SAKUGA_VISIBILITY_TIMEOUT_S": str(self.timeout_s),
        }
        if self.store:
            environment["SAKUGA_STORE_URL"] = f"file:{self.store}"
        if self.s3_line:
            endpoint = f"http://127.0.0.1:{self.s3_line.port}"
            environment |= S3_KEYS | {"AWS_ENDPOINT_URL_S3": endpoint, "SAKUGA_STORE_URL": "s3://chaos/here"}
        return Program([sys.executable, "-m", module], environment | self.environment, self._log(name))

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def _redis(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"
