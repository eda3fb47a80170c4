"""The cost of a job in Redis and the web server, by queue length.

A real Valkey, a real web and a real worker node, with pictures so small that only their handling counts. Redis itself
counts the commands; ours are subtracted, and progress is observed in the store's folder, which costs no commands.
Periodic work of a node (heartbeats, housekeeping, Celery's own) counts towards conversions if it falls due meanwhile.
The web server's share is its CPU time.
"""

import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import psutil
from PIL import Image
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.machine import ROOT, clean_environment
from benchmarks.service import Client
from cli import valkey
from shared import redis_keys
from shared.conversion import Options
from shared.photos.formats import MAX_SIDE_MIN, Format
from shared.redis_connection import redis_client
from shared.services import connect
from shared.settings import Settings
from shared.usecases.submit import Order, submit

SUBMITS, POLLS = 50, 200
WARM, DONE = 5, 40  # pictures before and during the count; together fewer than are submitted at any queue length
_STYLE = "hinata-light"


@dataclass(frozen=True, slots=True)
class Cost:
    """The counts while `queued` jobs were waiting: Redis commands, and milliseconds of the web server's CPU time."""

    queued: int
    commands_per_submit: float
    commands_per_poll: float
    commands_per_conversion: float
    web_ms_per_submit: float
    web_ms_per_poll: float


def measure(queued: int, settings: Settings) -> Cost:
    """Fill a queue, then count a few submissions, polls and conversions."""
    folder = Path(tempfile.mkdtemp(prefix="sakuga-bench-", dir="/tmp"))
    own = settings.model_copy(
        update={
            "data_dir": folder,
            "redis_url": f"redis+socket://{folder / 'valkey.sock'}",
            "style": _STYLE,
            "store_url": "",
            "max_queued_megapixels": 1e9,
            "port": 0,
        }
    )
    try:
        with ExitStack() as stack:
            stack.enter_context(_running(valkey.command(folder, folder / "valkey.sock"), {}))
            redis = redis_client(own)
            _wait(lambda: _answers(redis))
            client = Client()
            web = stack.enter_context(_running([sys.executable, "-m", "web"], _environment(own, client.port)))
            _wait(lambda: client.is_ok("/livez"))
            _fill(own, queued)
            return _count(own, redis, client, web, queued)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _count(settings: Settings, redis: Redis, client: Client, web: subprocess.Popen[bytes], queued: int) -> Cost:
    server = psutil.Process(web.pid).children()[0]
    with counted(redis, server) as submits:
        paths = [client.submit(_photo(number), format="png") for number in range(SUBMITS)]
    with counted(redis, server) as polls:
        for number in range(POLLS):
            client.get(paths[number % SUBMITS])
    with _running([sys.executable, "-m", "worker"], _environment(settings, client.port)):
        conversions, converted = _conversions(settings, redis, server)
    return Cost(
        queued,
        round(submits.commands / SUBMITS, 1),
        round(polls.commands / POLLS, 1),
        round(conversions.commands / converted, 1),
        round(submits.cpu_ms / SUBMITS, 2),
        round(polls.cpu_ms / POLLS, 2),
    )


@dataclass(slots=True)
class _Counted:
    commands: int = 0
    cpu_ms: float = 0.0


@contextmanager
def counted(redis: Redis, web: psutil.Process) -> Iterator[_Counted]:
    """Count the Redis commands of others and the CPU time of the web server during the block."""
    found = _Counted()
    commands, cpu_s = _commands(redis), _cpu_s(web)
    yield found
    found.commands, found.cpu_ms = _commands(redis) - commands - 1, (_cpu_s(web) - cpu_s) * 1000  # one is our own INFO


def _conversions(settings: Settings, redis: Redis, web: psutil.Process) -> tuple[_Counted, int]:
    """Count from the moment one picture is stored until another is, so that only whole conversions are counted."""
    results = settings.data_dir / "store" / "public" / "results"
    _wait(lambda: _files(results) >= WARM, every_s=0.002)
    stored, before = _files(results), _succeeded(redis)
    with counted(redis, web) as found:
        _wait(lambda: _files(results) >= stored + DONE, every_s=0.002)
        after = _succeeded(redis)
    found.commands -= 1  # the command just sent
    return found, after - before


def _files(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


def _succeeded(redis: Redis) -> int:
    return int(cast("str | None", redis.hget(redis_keys.TOTALS, "jobs_succeeded")) or 0)


def _commands(redis: Redis) -> int:
    return int(redis.info("stats")["total_commands_processed"])


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _fill(settings: Settings, count: int) -> None:
    """Queue jobs as the web server does; none of those to be converted shares a result with another."""
    shares = [range(start, count, 2) for start in range(2)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_submit, args=(settings, share)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError("the queue could not be filled")


def _submit(settings: Settings, numbers: range) -> None:
    services = connect(settings)
    for number in numbers:
        submit(services, BytesIO(_photo(number)), Order(_STYLE, Options(MAX_SIDE_MIN, Format.JPEG)))


def _photo(number: int) -> bytes:
    """Return a photo that differs from that of any other number below 2^24, so that none is converted already."""
    buffer = BytesIO()
    colour = number & 255, number >> 8 & 255, number >> 16 & 255
    Image.new("RGB", (MAX_SIDE_MIN, MAX_SIDE_MIN), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _environment(settings: Settings, port: int) -> dict[str, str]:
    return {
        "SAKUGA_CACHE_DIR": str(settings.cache_dir),
        "SAKUGA_DATA_DIR": str(settings.data_dir),
        "SAKUGA_MAX_QUEUED_MEGAPIXELS": str(settings.max_queued_megapixels),
        "SAKUGA_PORT": str(port),
        "SAKUGA_PROCESSES": "1",
        "SAKUGA_REDIS_URL": settings.redis_url,
        "SAKUGA_STYLE": settings.style,
    }


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment() | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


def _wait(condition: Callable[[], bool], *, limit_s: float = 300, every_s: float = 0.02) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a part of the benchmark did not become ready")
        time.sleep(every_s)
