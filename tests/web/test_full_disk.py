"""With the disk of the queue full, nothing new is taken, and what is there can still be looked at."""

import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from cli import valkey
from shared.services import Services, connect
from shared.settings import Settings
from tests.answers import JOBS, body, problem, send
from tests.conftest import ToyEngine, photo_bytes, wait_until
from web.app import create_app
from worker import tasks


@dataclass
class Disk:
    """The services on a Valkey of their own, and the process whose disk may fill up."""

    services: Services
    pid: int

    def fill(self) -> None:
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (1 << 12, resource.RLIM_INFINITY))
        wait_until(lambda: not self._takes_writes(), "Valkey refuses writes")

    def _takes_writes(self) -> bool:
        try:
            return bool(self.services.redis.set("filling", "x" * 5000))
        except RedisError:
            return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp(prefix="sakuga-test-", dir="/tmp"))  # the path of a socket must be short
    socket = folder / "valkey.sock"
    # a process that writes beyond its limit is killed unless it ignores the signal, as Python does
    server = subprocess.Popen(valkey.command(folder, socket), stdout=subprocess.DEVNULL, restore_signals=False)
    services = connect(Settings(redis_url=f"redis+socket://{socket}", data_dir=tmp_path))
    wait_until(socket.exists, "Valkey listens")
    yield Disk(services, server.pid)
    services.redis.close()
    server.kill()
    server.wait(20)
    shutil.rmtree(folder)


def test_what_is_there_can_be_looked_at_while_the_disk_is_full(disk: Disk) -> None:
    client = create_app(disk.services).test_client()
    job = body(send(client))
    tasks.convert(job["id"], disk.services, lambda _: ToyEngine())
    disk.services.workers.heartbeat("host/1")
    disk.fill()
    assert body(client.get(job["links"]["self"]))["state"] == "succeeded"
    with client.get(job["links"]["result"]) as picture:
        assert picture.status_code == 200
    assert [one["id"] for one in body(client.get(JOBS))["jobs"]] == [job["id"]]
    assert problem(send(client, photo_bytes(seed=1))) == (503, "unavailable")
    assert client.get("/readyz").status_code == 503
