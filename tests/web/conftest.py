"""Fixtures of the tests of `web/`."""

import json
import threading
from collections.abc import Iterator

import pytest

from shared.services import Services
from tests.albums import album, client  # noqa: F401  fixtures
from tests.callers import caller  # noqa: F401  a fixture
from tests.conftest import ToyEngine
from worker import tasks


@pytest.fixture
def work(services: Services) -> Iterator[None]:
    """A worker with a toy engine that takes jobs from the queue while the test runs."""
    stopped = threading.Event()
    thread = threading.Thread(target=_work, args=(services, stopped))
    thread.start()
    services.workers.heartbeat("host/1")
    yield
    stopped.set()
    thread.join()


def _work(services: Services, stopped: threading.Event) -> None:
    while not stopped.is_set():
        message = services.redis.blpop(["interactive"], timeout=0.1)
        if message:
            job_id = json.loads(message[1])["headers"]["id"]
            tasks.convert(job_id, services, lambda _: ToyEngine())
