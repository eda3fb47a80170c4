"""A workload: photos sent over HTTP while faults are injected, and the outcome of every accepted one."""

import hashlib
import itertools
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import BytesIO
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
from PIL import Image

from shared.callers.api_keys import PUBLIC_ID
from tests.chaos.rig import AnyRig
from tests.conftest import wait_until

SIDE = 320
PIXELS = SIDE * SIDE * 3 // 4
PAUSE_S = 0.1  # between photos: how many a fault affects must not depend on the speed of this machine
AHEAD = 6  # queued photos, so that every node is always converting
SEND_LIMIT_S = 240
ENDED = {"succeeded", "failed", "canceled", "expired"}
MAX_JOBS = 10_000  # sent to one rig in all


@dataclass
class Outcome:
    """The outcomes of the photos of one run, counted from outside."""

    accepted: int = 0
    succeeded: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # by code
    lost: int = 0  # unknown, or not in a terminal state
    twice: int = 0  # two jobs for one photo, more than one end, or a picture other than the recorded one
    again: int = 0  # more than one attempt
    recovery_s: float = 0  # from the fault until everything accepted before it had ended


class Workload:
    """Sends photos until told to finish, a few ahead of the workers, retrying each until it is accepted."""

    def __init__(self, rig: AnyRig, least: int, *, seed: int = 0) -> None:
        """Prepare photos, different for every seed; at least `least` are sent, however soon it is told to finish."""
        self._rig = rig
        self._least = least
        self._seed = seed
        self.accepted: list[str] = []
        self._before = self._listed()
        self._told_to_finish = threading.Event()
        self.problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop sending."""
        self._least = 0
        self._told_to_finish.set()
        self._thread.join(SEND_LIMIT_S)

    def send(self, photo: bytes, **fields: str | int) -> str:
        """Send one photo, retrying with the same key until it is accepted; return the job's id.

        Raises:
            TimeoutError: it is not.
        """
        headers = {"Idempotency-Key": uuid4().hex}
        deadline = time.monotonic() + SEND_LIMIT_S
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(
                    f"{self._rig.url}/api/v1/jobs", files={"photo": photo}, data=fields, headers=headers, timeout=30
                )
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 202:
                self.accepted.append(str(answer.json()["id"]))
                return self.accepted[-1]
            if answer.status_code != 503:
                raise AssertionError(f"{answer.status_code}: {answer.text}")
            time.sleep(0.2)
        raise TimeoutError(f"no photo is accepted for {SEND_LIMIT_S} s")

    def finish(self, limit_s: float, *, since: float) -> Outcome:
        """Wait until all photos have been sent and have ended; count outcomes, and time the recovery from `since`."""
        self._told_to_finish.set()
        self._thread.join(SEND_LIMIT_S)
        if self.problem:
            raise self.problem
        jobs = self._wait_for_ends(limit_s)
        outcome = Outcome(accepted=len(self.accepted))
        for job_id in self.accepted:
            self._count_one(job_id, jobs.get(job_id), outcome)
        outcome.twice += len(self._listed() - self._before - set(self.accepted))
        owed = [job for job in jobs.values() if job["finished_at"] and seconds_of(job["created_at"]) <= since]
        outcome.recovery_s = max((0.0, *(seconds_of(job["finished_at"]) - since for job in owed)))
        return outcome

    def _listed(self) -> set[str]:
        """Return every job that the owner sees: a photo whose first response was lost must not be listed twice.

        The total of submitted jobs would not do: it includes those that were withdrawn because the queue refused them.
        """
        return {job.id for job in self._rig.services.jobs.page(PUBLIC_ID, cursor=None, count=MAX_JOBS).jobs}

    def _run(self) -> None:
        try:
            for number in itertools.count():
                while self._waiting() >= AHEAD:
                    time.sleep(0.02)
                if number >= self._least and self._told_to_finish.is_set():
                    return
                self.send(photo_of(self._seed * 100_000 + number))
                time.sleep(PAUSE_S)
        except BaseException as error:  # noqa: BLE001  told by `finish`
            self.problem = error

    def _waiting(self) -> int:
        """Return how many photos are queued, or 0 while that is unknown."""
        try:
            answer = httpx.get(f"{self._rig.url}/api/v1/stats", timeout=10)
        except httpx.TransportError:
            return 0
        return sum(lane["jobs"] for lane in answer.json()["lanes"].values()) if answer.status_code == 200 else 0

    def _wait_for_ends(self, limit_s: float) -> dict[str, dict[str, Any]]:
        jobs: dict[str, dict[str, Any]] = {}

        def all_ended() -> bool:
            for job_id in self.accepted:
                if job_id not in jobs or jobs[job_id]["state"] not in ENDED:
                    try:
                        job = self._job(job_id)
                    except httpx.TransportError:
                        return False
                    jobs.update({job_id: job} if job else {})
            return all(job_id in jobs and jobs[job_id]["state"] in ENDED for job_id in self.accepted)

        with suppress(TimeoutError):  # these are lost
            wait_until(all_ended, "every photo has its end", limit_s)
        return jobs

    def _job(self, job_id: str) -> dict[str, Any] | None:
        answer = httpx.get(f"{self._rig.url}/api/v1/jobs/{job_id}", timeout=10)
        return dict(answer.json()) if answer.status_code == 200 else None

    def _count_one(self, job_id: str, job: dict[str, Any] | None, outcome: Outcome) -> None:
        if job is None or job["state"] not in ENDED:
            outcome.lost += 1
            return
        outcome.again += job["attempts"] > 1
        ended_twice = (
            sum(event.kind == "done" for event in self._rig.services.events.read(job_id, after="0", wait_s=0)) > 1
        )
        if job["state"] != "succeeded":
            code = job["error"]["code"] if job["error"] else job["state"]
            outcome.failed[code] = outcome.failed.get(code, 0) + 1
            outcome.twice += ended_twice
            return
        picture = httpx.get(f"{self._rig.url}{job['links']['result']}", timeout=30, follow_redirects=True).content
        outcome.succeeded += 1
        outcome.twice += ended_twice or hashlib.sha256(picture).hexdigest() != job["result"]["sha256"]


def photo_of(seed: int, width: int = SIDE) -> bytes:
    """Return a photo, different for every seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).resize((width, SIDE * 3 // 4), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def seconds_of(time_told: str) -> float:
    """Return a time of the API as seconds since the epoch."""
    return datetime.fromisoformat(time_told).timestamp()
