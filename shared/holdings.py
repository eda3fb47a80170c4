"""Which jobs hold which objects of the store, so that an object two jobs share goes only with the last of them.

Photos and results are named by their content, so the same photo sent twice is one object; erasing one job must not take
the other's picture away. Imported by `web`, `worker` and `shared.services`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import LockError

from shared.errors import UnavailableError
from shared.store import Store

if TYPE_CHECKING:
    from redis import Redis

LOCK_S = 120  # longer than the store's own time-outs, so a holder cannot outlive its lock
WAIT_S = 20


class Holdings:
    """Counts the holders of every object in Redis."""

    def __init__(self, redis: "Redis", store: Store) -> None:
        """Count in `redis` what lies in `store`."""
        self._redis = redis
        self._store = store

    @contextmanager
    def holding(self, key: str, job_id: str) -> Iterator[None]:
        """Make `job_id` a holder of `key` while the block writes the object; a block that fails gives it back."""
        with self._locked(key):
            self._redis.sadd(_holders(key), job_id)
            try:
                yield
            except BaseException:
                self._give_back(key, job_id)
                raise

    def release(self, key: str, job_id: str) -> None:
        """Let go of an object; the last holder deletes it."""
        with self._locked(key):
            self._give_back(key, job_id)

    def _give_back(self, key: str, job_id: str) -> None:
        self._redis.srem(_holders(key), job_id)
        if not self._redis.exists(_holders(key)):
            self._store.delete(key)

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
