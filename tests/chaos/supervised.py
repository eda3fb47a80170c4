"""`sakuga up` as a rig: one supervisor with its parts, which may all die with it."""

import os
import signal
from pathlib import Path
from typing import Self

import psutil

from cli.valkey import address_of
from shared.leases import LEASES
from shared.services import connect
from shared.settings import Settings
from tests.chaos.rig import wait_for
from tests.conftest import RunningService

GONE_LIMIT_S = 60


class Supervised:
    """What a workload and a fault need of a rig, with everything under one supervisor."""

    def __init__(self, folder: Path) -> None:
        """Choose a port; nothing is started."""
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

    def in_hand(self) -> set[str]:
        return {str(job_id) for job_id in self.services.redis.zrange(LEASES, 0, -1)}

    def wait_until_busy(self) -> None:
        wait_for(lambda: bool(self.in_hand()), "a photo is in hand", 60)

    def mend(self) -> None:
        wait_for(self._service.ready, "all is ready again", 60)

    def kill(self) -> None:
        """Kill the supervisor, wait until its parts have gone too, and start anew."""
        assert self._service.process is not None
        family = psutil.Process(self._service.process.pid).children(recursive=True)
        os.kill(self._service.process.pid, signal.SIGKILL)
        self._service.process.wait()
        wait_for(lambda: not any(part.is_running() for part in family), "the parts have gone", GONE_LIMIT_S)
        self._start()

    def _start(self) -> None:
        self._service.start()
        url = address_of(self._service.data_dir)
        assert url is not None
        self.services = connect(Settings(data_dir=self._service.data_dir, redis_url=url))
