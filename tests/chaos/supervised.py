"""`sakuga up` as a rig: a supervisor, which can be killed together with its parts."""

import os
import signal
from pathlib import Path
from typing import Self

import psutil

from cli.running import running
from shared.services import connect
from shared.settings import Settings
from tests.chaos.rig import AnyRig
from tests.conftest import RunningService, wait_until

GONE_LIMIT_S = 60


class Supervised(AnyRig):
    """A rig in which everything runs under one supervisor."""

    def __init__(self, folder: Path) -> None:
        """Choose a port; nothing is started yet."""
        environment = {"SAKUGA_PROCESSES": "2", "SAKUGA_STYLE": "hinata-full", "SAKUGA_VISIBILITY_TIMEOUT_S": "6"}
        self._service = RunningService(folder, environment=environment)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.services.redis.close()
        self._service.stop()

    @property
    def url(self) -> str:
        return self._service.url

    def is_busy(self) -> bool:
        return bool(self.held())

    def restore(self) -> None:
        wait_until(self._service.ready, "all is ready again", 60)

    def kill(self) -> None:
        """Kill the supervisor, wait until its parts have ended too, and restart it."""
        assert self._service.process is not None
        family = psutil.Process(self._service.process.pid).children(recursive=True)
        os.kill(self._service.process.pid, signal.SIGKILL)
        self._service.process.wait()
        wait_until(lambda: not any(part.is_running() for part in family), "the parts have gone", GONE_LIMIT_S)
        self._start()

    def _start(self) -> None:
        self._service.start()
        found = running(self._service.data_dir)
        assert found is not None
        self.services = connect(Settings(data_dir=self._service.data_dir, redis_url=found.redis_url))
