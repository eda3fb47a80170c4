"""The parts of `sakuga up` under one supervisor: started, started again when they die, and stopped in order.

Parts run in sessions of their own, so Ctrl-C reaches only the supervisor, which stops them in order: the web server
first, so that nothing new comes in; then the workers, which finish what they have begun; the queue last. Where the
supervisor is killed, the kernel (Linux) stops them.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from rich.console import Console

from cli import valkey
from cli.parent_death import die_with_parent
from shared.errors import SettingsError
from shared.scheduling.broker import DRAIN_S

START_LIMIT_S = 180
STOP_LIMIT_S = {"web": 15, "worker": DRAIN_S + 10, "queue": 20}
RESTART_DELAYS_S = (0.5, 1, 2, 5, 10, 30)
STEADY_S = 60  # a part that ran this long starts anew from the shortest delay
POLL_S = 0.2
LOG_KEPT_BYTES = 10 << 20
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


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_KEPT_BYTES:
        log.replace(log.with_suffix(".log.1"))
