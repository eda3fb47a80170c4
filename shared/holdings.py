"""Which jobs hold which objects of the store, so that an object two jobs share goes only with the last of them.

Photos and results are named by their content, so the same photo sent twice is one object; erasing one job must not take
the other's picture away. Every holding lapses at a time written down before the object is: what a process leaves behind
when it dies between two steps is found by its holding. Imported by `web`, `worker` and `shared.services`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import LockError

from shared.errors import UnavailableError
from shared.store import Store

if TYPE_CHECKING:
    from redis import Redis

    from shared.jobs import Job

LAPSES = "sakuga:holdings"  # every holding, as "job key", by when it lapses
LOCK_S = 120  # longer than the store's own time-outs, so a holder cannot outlive its lock
WAIT_S = 20


class Holdings:
    """Counts the holders of every object in Redis."""

    def __init__(self, redis: "Redis", store: Store) -> None:
        """Count in `redis` what lies in `store`."""
        self._redis = redis
        self._store = store

    @contextmanager
    def holding(self, key: str, job: "Job") -> Iterator[None]:
        """Make `job` a holder of `key` while the block writes the object; a block that fails gives it back."""
        with self._locked(key):
            with self._redis.pipeline() as pipe:
                pipe.sadd(_holders(key), job.id)
                pipe.zadd(LAPSES, {f"{job.id} {key}": job.expires_at})
                pipe.execute()
            try:
                yield
            except BaseException:
                self._give_back(key, job.id)
                raise

    def release(self, key: str, job_id: str) -> None:
        """Let go of an object; the last holder deletes it."""
        with self._locked(key):
            self._give_back(key, job_id)

    def release_lapsed(self, count: int) -> int:
        """Let go of up to `count` holdings whose time has passed; returns how many there were."""
        lapsed = [str(entry) for entry in self._redis.zrangebyscore(LAPSES, 0, time.time(), start=0, num=count)]
        for entry in lapsed:
            job_id, key = entry.split(" ", 1)
            self.release(key, job_id)
        return len(lapsed)

    def _give_back(self, key: str, job_id: str) -> None:
        """The object goes before the note that it is there: one who dies in between leaves a holding that lapses."""
        if not set(self._redis.smembers(_holders(key))) - {job_id}:
            self._store.delete(key)
        with self._redis.pipeline() as pipe:
            pipe.srem(_holders(key), job_id)
            pipe.zrem(LAPSES, f"{job_id} {key}")
            pipe.execute()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """One writer or deleter of an object at a time: else a delete could follow the next holder's write."""
        try:
            with self._redis.lock(f"sakuga:lock:{key}", timeout=LOCK_S, blocking_timeout=WAIT_S):
                yield
        except LockError as error:
            raise UnavailableError("This photo is being handled elsewhere; try again.", retry_after_s=5) from error


def _holders(key: str) -> str:
    return f"sakuga:holders:{key}"
