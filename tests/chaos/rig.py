"""The parts of a service as separate processes, each of which can be killed, paused, cut off and restarted."""

import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
import psutil

from cli import valkey
from shared.files import write_atomically
from shared.jobs.record import Lane
from shared.redis_keys import LEASES
from shared.services import Services, connect
from shared.settings import Settings
from tests.chaos.machine import Switch
from tests.chaos.proxy import Proxy
from tests.conftest import ROOT, S3_KEYS, free_port, wait_until
from tests.processes import copies_of
from worker.app import process_name

NODES = 2
START_LIMIT_S = 180
HOLD_LIMIT_S = 60
MOMENT_S = 3  # for which photos are held after the block, so that the fault hits running conversions


def exit_on_sigterm() -> None:
    """Exit on SIGTERM by an exception, so that everything started is stopped on the way out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


class AnyRig(ABC):
    """A service into which faults are injected."""

    services: Services

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def is_busy(self) -> bool:
        """Return whether every node is converting a photo."""

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold up running conversions during the block and a moment longer, if the rig can."""
        yield

    @abstractmethod
    def restore(self) -> None:
        """Undo all faults."""

    def held(self) -> set[str]:
        """Return the running jobs."""
        return {str(job_id) for job_id in self.services.redis.zrange(LEASES, 0, -1)}

    def waiting(self) -> int:
        """Return how many jobs are queued."""
        return sum(self.services.lanes.stats(lane).jobs for lane in Lane)

    def state(self) -> str:
        """Describe jobs and workers, for error messages."""
        totals = self.services.totals.read()
        return f"{self.services.workers.count()} workers, {self.waiting()} wait, held {self.held()}, {totals}"


@dataclass
class Program:
    """A process and its children, in a session of its own."""

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
        """Return the children that convert photos."""
        return copies_of(psutil.Process(self.pid))

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
class Rig(AnyRig):
    """A queue, a store, a web server and two nodes of one process each; with a switch, each node runs on its own host.

    With `s3_port` the store is the S3 server on that port, reached by all through one line; otherwise it is a folder.
    """

    folder: Path
    timeout_s: int = 6  # of visibility
    s3_port: int | None = None
    store: Path | None = None
    switch: Switch | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Choose ports; nothing is started yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.queue_port = free_port(), free_port()
        self.s3_line = Proxy(self.s3_port) if self.s3_port else None
        self.queue = self._queue()
        self.web = self._part("web", "web")
        self.nodes = [self._node(number) for number in range(NODES)]
        self.services = connect(Settings(data_dir=self.folder, redis_url=self._address()))

    def __enter__(self) -> Self:
        """Start everything and wait until it is ready.

        Raises:
            TimeoutError: it does not get ready; the logs in `folder` say why.
        """
        for program in self.programs:
            program.start()
        wait_until(lambda: self.workers() == NODES, "all nodes are ready", START_LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self.programs):
            program.send_signal(signal.SIGCONT)
            program.end()
        if self.s3_line:
            self.s3_line.close()
        self.services.redis.close()

    @contextmanager
    def holding(self) -> Iterator[None]:
        self._hold(HOLD_LIMIT_S)
        try:
            yield
        finally:
            self._hold(MOMENT_S)

    def restore(self) -> None:
        """Undo all faults: restart what was killed, resume what was paused, correct the clocks.

        Raises:
            TimeoutError: it does not get ready.
        """
        for number in range(NODES):
            self.clock_of(number).unlink(missing_ok=True)
        for program in self.programs:
            program.send_signal(signal.SIGCONT)
        self.restart_ended()
        wait_until(self._is_manned, "all nodes are ready again", START_LIMIT_S)

    def restart_ended(self) -> None:
        """Restart programs that have ended, as a supervisor would."""
        for program in self.programs:
            if program.process is None or program.process.poll() is not None:
                program.start()

    @property
    def programs(self) -> list[Program]:
        return [self.queue, self.web, *self.nodes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def clock_of(self, number: int) -> Path:
        """Return the file with the seconds by which a node's clock is wrong."""
        return self.folder / f"clock-{number}"

    def _hold(self, seconds: float) -> None:
        write_atomically(self.folder / "hold", str(time.monotonic() + seconds).encode())

    def workers(self) -> int:
        """Return how many warm processes the web server reports, or 0 while it does not respond."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=10)
            return int(answer.json().get("workers", 0)) if answer.status_code == 200 else 0
        except httpx.TransportError:
            return 0

    def is_busy(self) -> bool:
        return len(self.held()) == NODES

    def _is_manned(self) -> bool:
        """Return whether every node has a warm process; the web server counts a dead one until its heartbeat ends."""
        if self.workers() < NODES:
            return False
        warm = self.services.workers.alive_on(socket.gethostname())
        return all(any(process_name(fork.pid) in warm for fork in node.forks()) for node in self.nodes)

    def _queue(self) -> Program:
        hosts = ["127.0.0.1", *([self.switch.address] if self.switch else [])]
        options = ["--port", str(self.queue_port), "--unixsocket", "", "--bind", *hosts, "--protected-mode", "no"]
        return Program([*valkey.command(self.folder, self.folder / "no.sock"), *options], {}, self._log("queue"))

    def _node(self, number: int) -> Program:
        node = self._part("tests.chaos.node", f"node-{number}")
        node.environment["CHAOS_CLOCK"] = str(self.clock_of(number))
        node.environment["CHAOS_HOLD"] = str(self.folder / "hold")
        if self.switch:
            node.command = self.switch.at(number, node.command)
            node.environment["SAKUGA_REDIS_URL"] = self._address(self.switch.address)
        return node

    def _part(self, module: str, name: str) -> Program:
        environment = {
            "SAKUGA_DATA_DIR": str(self.folder),
            "SAKUGA_PORT": str(self.port),
            "SAKUGA_PROCESSES": "1",
            "SAKUGA_REDIS_URL": self._address(),
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

    def _address(self, host: str = "127.0.0.1") -> str:
        return f"redis://{host}:{self.queue_port}/0"
