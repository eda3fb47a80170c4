"""A real Sakuga under load: `sakuga up`, external HTTP clients, open-loop arrivals."""

import http.client
import itertools
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

from benchmarks.machine import ROOT, clean_environment
from shared.conversion import Stage
from shared.settings import Settings

SIDE = 512  # the longest side of every picture, in pixels

_READY_LIMIT_S = 300
_BOUNDARY = "sakuga-benchmark"


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency in milliseconds, from the moment a request was due."""

    count: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Served:
    """The results of a busy service.

    `network_share` is the wall time spent generating, relative to that of all stages. `cpu_s` is the CPU time of the
    worker processes per picture, with everything else they do: queue, records, store.
    """

    pictures_per_s: float
    network_share: float
    cpu_s: float


class Client:
    """An HTTP client of a Sakuga on this machine."""

    def __init__(self) -> None:
        """Choose a free port, on which a service may be started."""
        self.port = _free_port()

    def submit(self, photo: bytes, **fields: object) -> str:
        """Send a photo for a picture of 512 pixels, unless `fields` say otherwise; return the path of its job."""
        status, body = self._request("POST", "/api/v1/jobs", _form(photo, {"max_side": SIDE} | fields))
        if status != http.client.ACCEPTED:
            raise RuntimeError(f"a photo was not accepted: {status} {body!r}")
        path: str = json.loads(body)["links"]["self"]
        return path

    def get(self, path: str) -> dict[str, Any]:
        """Fetch a job or any other JSON."""
        return dict(json.loads(self._request("GET", path)[1]))

    def is_ok(self, path: str) -> bool:
        """Return whether the service answers with 200."""
        try:
            return self._request("GET", path)[0] == http.client.OK
        except OSError:
            return False

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"} if body else {}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


class Service:
    """`sakuga up` on loopback, with data and cache folders of its own, both empty at its first start."""

    def __init__(self, settings: Settings) -> None:
        """Configure a service with the style, engine and layout of `settings`; nothing is started yet."""
        self._folder = Path(tempfile.mkdtemp(prefix="sakuga-bench-"))
        self.settings = settings.model_copy(update={"cache_dir": self._folder / "cache"})
        self.client = Client()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> float:
        """Start; return the seconds until a worker is warm."""
        started = time.perf_counter()
        with (self._folder / "up.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"], cwd=ROOT, env=self._environment(), stdout=log, stderr=log
            )
        while not self.client.is_ok("/readyz"):
            if self._process.poll() is not None or time.perf_counter() - started > _READY_LIMIT_S:
                raise RuntimeError((self._folder / "up.log").read_text())
            time.sleep(0.05)
        return time.perf_counter() - started

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)

    def wait_until_prepared(self, photo: bytes) -> None:
        """Wait until the artefacts of all styles have been built in the background.

        A node starts building them before it takes its first photo, so a finished photo shows that building has begun.
        """
        self._finished([self.client.submit(photo)])
        while any(_runs(one, "worker.prepare") for one in self._family()):
            time.sleep(0.5)

    def convert(self, photos: Iterable[bytes]) -> Served:
        """Submit all photos and wait for them; measure over the time in which every process was busy."""
        busy = self._worker_cpu_s()
        with ThreadPoolExecutor(4) as clients:
            paths = list(clients.map(self.client.submit, photos))
        jobs = self._finished(paths)
        busy = self._worker_cpu_s() - busy
        ends = sorted(datetime.fromisoformat(job["finished_at"]).timestamp() for job in jobs)
        processes = self.settings.processes or 1
        first, last = processes - 1, len(ends) - processes  # between them no process is idle
        pictures_per_s = (last - first) / (ends[last] - ends[first])
        return Served(pictures_per_s, network_share([job["timings"] for job in jobs]), busy / len(jobs))

    def _finished(self, paths: Iterable[str]) -> list[dict[str, Any]]:
        """Wait until the jobs have ended, and return them; raise if any did not succeed."""
        jobs = []
        for path in paths:
            while (job := self.client.get(path))["finished_at"] is None:
                time.sleep(0.25)
            jobs.append(job)
        if any(job["state"] != "succeeded" for job in jobs):
            raise RuntimeError(f"a job did not succeed: {jobs}")
        return jobs

    def under_load(
        self, photo_of: Callable[[int], bytes], *, submits_per_s: float, polls_per_s: float, seconds: float
    ) -> tuple[Latency, Latency]:
        """Measure the latency of submissions and polls that are sent when due, whatever the state of earlier ones."""
        first = 10 * (self.settings.processes or 1)  # so that every process is busy from the start
        paths = [self.client.submit(photo_of(number)) for number in range(first)]
        numbers = itertools.count(first)

        def submit() -> None:
            paths.append(self.client.submit(photo_of(next(numbers))))

        def poll() -> None:
            self.client.get(random.choice(paths))  # noqa: S311

        submits = [(float(at), submit) for at in np.arange(0, seconds, 1 / submits_per_s)]
        polls = [(float(at), poll) for at in np.arange(0, seconds, 1 / polls_per_s)]
        latencies = when_due(submits + polls)
        return _latency(latencies[: len(submits)]), _latency(latencies[len(submits) :])

    def wait_until_idle(self) -> None:
        while True:
            if all(job["finished_at"] for job in self.client.get("/api/v1/jobs?limit=100")["jobs"]):
                return
            time.sleep(0.5)

    def memory(self) -> dict[str, float]:
        """Return the memory of the worker's parent and of its largest child in MB: private, and PSS.

        On systems without PSS, such as macOS, only the private memory is measured.
        """
        parent, processes = self._worker()
        children = [child.memory_full_info() for child in processes]
        found = {"child_private_mb": max(child.uss for child in children)}
        if hasattr(children[0], "pss"):
            found |= {
                "child_pss_mb": max(child.pss for child in children),
                "parent_pss_mb": parent.memory_full_info().pss,
            }
        return {name: round(size / 1e6, 1) for name, size in found.items()}

    def _worker(self) -> tuple[psutil.Process, list[psutil.Process]]:
        """Return the worker's parent and its processes that draw."""
        parent = next(one for one in self._family() if _runs(one, "worker"))
        return parent, [child for child in parent.children() if _runs(child, "worker")]

    def _worker_cpu_s(self) -> float:
        times = [child.cpu_times() for child in self._worker()[1]]
        return float(sum(one.user + one.system for one in times))

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None  # noqa: S101  it is running
        family: list[psutil.Process] = psutil.Process(self._process.pid).children(recursive=True)
        return family

    def _environment(self) -> dict[str, str]:
        return clean_environment() | {
            "PYTHONPATH": str(ROOT),  # this code is measured, whatever is installed
            "SAKUGA_DATA_DIR": str(self._folder / "data"),
            "SAKUGA_CACHE_DIR": str(self.settings.cache_dir),
            "SAKUGA_PORT": str(self.client.port),
            "SAKUGA_STYLE": self.settings.style,
            "SAKUGA_ENGINE": self.settings.engine,
            "SAKUGA_PROCESSES": str(self.settings.processes),
            "SAKUGA_THREADS": str(self.settings.threads),
            "SAKUGA_MAX_QUEUED_MEGAPIXELS": "1000000",
        }


def when_due(requests: Sequence[tuple[float, Callable[[], object]]]) -> list[float]:
    """Send each request when it is due, in seconds from now; return how many milliseconds later each was answered.

    There are as many clients as pending requests, however many requests there are in all.
    """
    begun = time.perf_counter()

    def make(at: float, request: Callable[[], object]) -> float:
        request()
        return (time.perf_counter() - begun - at) * 1000

    made: dict[int, Future[float]] = {}
    with ThreadPoolExecutor(len(requests)) as clients:
        for index in sorted(range(len(requests)), key=lambda index: requests[index][0]):
            at, request = requests[index]
            time.sleep(max(0.0, begun + at - time.perf_counter()))
            made[index] = clients.submit(make, at, request)
    return [made[index].result() for index in range(len(requests))]


def network_share(timings: Sequence[Mapping[str, float]]) -> float:
    """Return the share of all stages' time that was spent generating; time in the queue does not count."""
    generating = sum(one[f"{Stage.GENERATE}_s"] for one in timings)
    return generating / sum(one[f"{stage}_s"] for one in timings for stage in Stage)


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return bool(process.cmdline()[1:] == ["-m", module])
    except psutil.NoSuchProcess:  # it has just ended
        return False


def _form(photo: bytes, fields: Mapping[str, object]) -> bytes:
    start = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name="
    words = "".join(f'{start}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    return f'{words}{start}"photo"; filename="photo.jpg"\r\n\r\n'.encode() + photo + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _latency(found: Iterable[float]) -> Latency:
    values = np.array(list(found))
    p50, p99 = np.quantile(values, [0.5, 0.99])
    return Latency(len(values), round(float(p50), 1), round(float(p99), 1), round(float(values.max()), 1))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
