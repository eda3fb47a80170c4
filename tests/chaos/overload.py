"""`make overload`: send more photos than can be converted, for minutes, and judge how the service responds.

Exits with 1 unless it refuses with a time to retry, answers health checks, converts what it accepted in the time it
announced, and stays within bounded resources.
"""

import argparse
import itertools
import math
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from shared.settings import WEB_THREADS
from tests.chaos.rig import Rig, exit_on_sigterm
from tests.chaos.workload import ENDED, PIXELS, photo_of, seconds_of
from tests.conftest import wait_until

TIMES = 10
SENDERS = 16
QUEUE_S = 30  # of work that may be queued
GRACE = 0.25  # allowed relative error of an announced time,
NEAR = 0.75  # and the share of jobs that must be within it
MAY_GROW_BYTES = 64 << 20
MAY_OPEN = WEB_THREADS  # additional files: each thread may open a connection to the queue, and keeps it
KEYS_PER_JOB = 5  # its record, events, cached result, and the references to its photo and picture
KEYS_BESIDES = 5
HEALTH_S = 1  # within which health checks are answered
AFTERWARDS = 0.75  # of the throughput before
MEASURE_S = 20
FIRST_PER_S = 40  # photos sent to measure the throughput; doubled while that is too few


@dataclass
class Observations:
    """The observations of clients."""

    accepted: dict[str, float | None] = field(default_factory=dict)  # the announced time, by job
    submit_s: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)  # the values of Retry-After, in seconds
    odd: list[str] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)
    unhealthy: list[str] = field(default_factory=list)  # failed health checks
    memory: dict[str, list[int]] = field(default_factory=dict)  # bytes, by program


class Flood:
    """Clients that ignore refusals."""

    def __init__(self, rig: Rig, per_s: float) -> None:
        """Prepare to send this many photos per second."""
        self.seen = Observations()
        self._rig = rig
        self._pause_s = SENDERS / per_s
        self._photos = [photo_of(seed) for seed in range(50)]
        self._number = itertools.count()
        self._salt = secrets.token_bytes(8)  # a photo converted before would come from the cache

    def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(SENDERS + 1) as pool:
            watching = pool.submit(self._watch, until)
            for done in [pool.submit(self._send, until) for _ in range(SENDERS)]:
                done.result()
            watching.result()

    def _send(self, until: float) -> None:
        with httpx.Client(base_url=self._rig.url, timeout=30) as client:
            while (began := time.monotonic()) < until:
                self._send_one(client)
                time.sleep(max(0.0, random.uniform(0.5, 1.5) * self._pause_s - (time.monotonic() - began)))

    def _send_one(self, client: httpx.Client) -> None:
        began, number = time.monotonic(), next(self._number)
        photo = self._photos[number % len(self._photos)] + self._salt + b"%d" % number  # trailing bytes are ignored
        try:
            answer = client.post("/api/v1/jobs", content=photo, headers={"Content-Type": "image/png"})
        except httpx.TransportError as error:
            self.seen.odd.append(repr(error))
            return
        self.seen.submit_s.append(time.monotonic() - began)
        if answer.status_code == 202:
            self.seen.accepted[answer.json()["id"]] = answer.json()["eta_s"]
        elif answer.status_code == 503 and answer.json()["code"] == "queue_full":
            self.seen.refused.append(int(answer.headers["Retry-After"]))
        else:
            self.seen.odd.append(f"{answer.status_code} {answer.text[:200]}")

    def _watch(self, until: float) -> None:
        with httpx.Client(base_url=self._rig.url, timeout=10) as client:
            while time.monotonic() < until:
                for path in ("/livez", "/readyz"):
                    self._check(client, path)
                for name, used in memory_of(self._rig).items():
                    self.seen.memory.setdefault(name, []).append(used)
                time.sleep(1)

    def _check(self, client: httpx.Client, path: str) -> None:
        began = time.monotonic()
        try:
            answer = client.get(path)
        except httpx.TransportError as error:
            self.seen.unhealthy.append(f"{path}: {error!r}")
        else:
            if answer.status_code != 200:
                self.seen.unhealthy.append(f"{path}: {answer.status_code}")
        self.seen.health_s.append(time.monotonic() - began)


@dataclass
class Usage:
    """The resources of the rig while idle."""

    memory: dict[str, int]  # bytes, by program
    files: dict[str, int]  # open files, by program
    keys: int  # in Redis


def usage_of(rig: Rig) -> Usage:
    return Usage(memory_of(rig), open_files(rig), int(rig.services.redis.dbsize()))


def memory_of(rig: Rig) -> dict[str, int]:
    """Return the memory of each program and its children in bytes, with their share of shared memory (PSS)."""
    return each_program(rig, lambda process: int(process.memory_full_info().pss))


def open_files(rig: Rig) -> dict[str, int]:
    return each_program(rig, lambda process: int(process.num_fds()))


def each_program(rig: Rig, measure: Callable[[psutil.Process], int]) -> dict[str, int]:
    """Return the sum of a measure over the processes of each program."""
    names = ("queue", "web", "node 0", "node 1")
    return {name: _sum(program.pid, measure) for name, program in zip(names, rig.programs, strict=True)}


def _sum(pid: int, measure: Callable[[psutil.Process], int]) -> int:
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.Error):  # it has just ended
            total += measure(process)
    return total


def capacity(rig: Rig) -> float:
    """Measure how many photos per second the rig converts."""
    per_s = FIRST_PER_S
    while True:
        flood = Flood(rig, per_s)
        began = time.monotonic()
        flood.run(MEASURE_S)
        is_busy = bool(flood.seen.refused) or rig.waiting() > SENDERS
        converted_per_s = len(ended(rig, flood.seen)) / (time.monotonic() - began)
        if is_busy or len(flood.seen.submit_s) < per_s * MEASURE_S / 2:  # this machine cannot send more
            return converted_per_s
        per_s *= 2


def room_for(seconds: float, per_s: float) -> dict[str, str]:
    """Return settings with a queue for this many seconds of work, at this many photos per second."""
    return {"SAKUGA_MAX_QUEUED_MEGAPIXELS": f"{seconds * per_s * PIXELS / 1e6:.1f}"}


def ended(rig: Rig, seen: Observations, limit_s: float = 300) -> list[dict[str, Any]]:
    """Wait until all accepted jobs have ended, and return them."""
    jobs: dict[str, dict[str, Any]] = {}
    with httpx.Client(base_url=rig.url, timeout=30) as client:

        def look() -> bool:
            for job_id in seen.accepted.keys() - jobs.keys():
                job = client.get(f"/api/v1/jobs/{job_id}").json()
                if job["state"] not in ENDED:
                    return False
                jobs[job_id] = job
            return True

        wait_until(look, "all that was accepted has ended", limit_s)
    return list(jobs.values())


def judge(rig: Rig, seen: Observations, before: Usage) -> list[str]:
    """Print the observations; return the violated guarantees."""
    jobs = ended(rig, seen)
    after = usage_of(rig)
    good = sum(job["state"] == "succeeded" for job in jobs)
    print(f"accepted {len(jobs)}, of which {good} succeeded; refused {len(seen.refused)}; odd answers {len(seen.odd)}")
    print(f"Retry-After from {min(seen.refused, default=0)} to {max(seen.refused, default=0)} s")
    print(f"submit: median {_ms(seen.submit_s, 50)} ms, p99 {_ms(seen.submit_s, 99)} ms")
    for one in (seen.odd + seen.unhealthy)[:10]:
        print("odd:", one)
    kept = {
        "too much is refused": bool(seen.refused),
        "no odd answers": not seen.odd,
        "what was accepted succeeds": good == len(jobs) == len(seen.accepted) and not rig.waiting(),
        "health checks are answered": _is_healthy(seen),
        "the time that was told": _is_near(jobs, seen),
        "memory": _is_small(seen.memory, before.memory, after.memory),
        "open files": _has_few_files(before.files, after.files),
        "keys in Redis": _has_few_keys(after.keys - before.keys, len(jobs)),
    }
    return [guarantee for guarantee, holds in kept.items() if not holds]


def _is_healthy(seen: Observations) -> bool:
    p99_ms = _ms(seen.health_s, 99)
    print(
        f"/livez and /readyz: median {_ms(seen.health_s, 50)} ms, p99 {p99_ms} ms, "
        f"{len(seen.unhealthy)} of {len(seen.health_s)} failed"
    )
    return not seen.unhealthy and p99_ms <= 1000 * HEALTH_S


def _is_near(jobs: list[dict[str, Any]], seen: Observations) -> bool:
    """Return whether the times announced on acceptance were right; a missing one counts as wrong."""
    took = {job["id"]: seconds_of(job["finished_at"]) - seconds_of(job["created_at"]) for job in jobs}
    errors = [math.inf if told is None else told / took[one] - 1 for one, told in seen.accepted.items()]
    near = sum(abs(error) <= GRACE for error in errors) / len(errors)
    told = [error for error in errors if error < math.inf]
    share = f"within {GRACE:.0%} for {near:.0%} of jobs, none for {len(errors) - len(told)}"
    median, mean = statistics.median(map(abs, errors)), statistics.fmean(told or [math.nan])
    print(f"time that was told: {share}, median error {median:.0%}, {mean:+.0%} on average")
    return near >= NEAR


def _is_small(most: dict[str, list[int]], before: dict[str, int], after: dict[str, int]) -> bool:
    for name, used in most.items():
        print(f"{name}: {before[name] >> 20} MB before, {max(used) >> 20} at most, {after[name] >> 20} after")
    return all(max(used) <= before[name] + MAY_GROW_BYTES for name, used in most.items())


def _has_few_files(before: dict[str, int], after: dict[str, int]) -> bool:
    print("open files:", ", ".join(f"{name} {number} before, {after[name]} after" for name, number in before.items()))
    return all(after[name] <= number + MAY_OPEN for name, number in before.items())


def _has_few_keys(made: int, jobs: int) -> bool:
    """Return whether only the records of jobs and the keys that belong to them are kept."""
    print(f"keys in Redis: {made / jobs:.2f} for each job")
    return made <= KEYS_PER_JOB * jobs + KEYS_BESIDES


def _ms(seconds: list[float], percent: int) -> int:
    return round(1000 * statistics.quantiles(seconds, n=100)[percent - 1])


def overload(rig: Rig, seconds: float) -> list[str]:
    """Overload the rig for a while; return the violated guarantees."""
    per_s = capacity(rig)
    print(f"converts {per_s:.1f} photos per second; sending {TIMES * per_s:.0f} for {seconds:g} s", flush=True)
    before = usage_of(rig)
    flood = Flood(rig, TIMES * per_s)
    flood.run(seconds)
    broken = judge(rig, flood.seen, before)
    per_s_after = capacity(rig)
    print(f"converts {per_s_after:.1f} photos per second afterwards")
    return broken if per_s_after > AFTERWARDS * per_s else [*broken, "as fast as before"]


def main() -> int:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sakuga-overload-") as folder:
        with Rig(Path(folder) / "pace") as rig:
            room = room_for(QUEUE_S, capacity(rig))
        with Rig(Path(folder) / "rig", environment=room) as rig:
            broken = overload(rig, arguments.seconds)
    print(f"broken: {', '.join(broken)}" if broken else "all guarantees hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
