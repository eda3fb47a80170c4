"""Reference counting of stored objects: an object that jobs share is deleted with the last of them.

Photos and results are named by their content, so the same photo sent twice is one object; erasing one job must not take
the other's picture away. Every reference is written before its object, with the time at which it expires: what a
process leaves behind when it dies between two steps is found by its reference.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import LockError
from redis.lock import Lock

from shared import redis_keys
from shared.errors import UnavailableError
from shared.redis_clock import Clock
from shared.storage.base import Store

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

LOCK_S = 60  # after which the lock of a process that died is free; longer than any one call of the store
WAIT_S = 65  # for a lock: longer than it lasts, so that a crash elsewhere costs no attempt
TRY_AGAIN_S = 60
_OURS = re.compile(r"[0-9a-z]+/(photos|results)/[0-9a-f]{64}(\.[a-z]+)?")  # whatever else an operator keeps there

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reference:
    """A referrer's reference to an object."""

    key: str
    referrer: str

    @property
    def entry(self) -> str:
        return f"{self.referrer} {self.key}"


def expire_at(pipe: "Pipeline", reference: Reference, until: float) -> None:
    """Change the time (epoch seconds) at which a reference expires, inside the caller's transaction."""
    pipe.zadd(redis_keys.REFERENCES, {reference.entry: until}, xx=True)


def expire_now(pipe: "Pipeline", *references: Reference) -> None:
    """Let references expire now, inside the caller's transaction; the next `release_expired` releases them."""
    for reference in references:
        expire_at(pipe, reference, 0)


class References:
    """The references to all objects, counted in one Redis."""

    def __init__(self, redis: "Redis", clock: Clock, store: Store, *, wait_s: float = WAIT_S) -> None:
        """Count references in `redis` to objects in `store`; wait up to `wait_s` for a locked object."""
        self._redis = redis
        self._clock = clock
        self._store = store
        self._wait_s = wait_s

    @contextmanager
    def acquire(
        self, reference: Reference, *, until: float, is_committed: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Reference an object until a time (epoch seconds) and lock it while the block writes it.

        The reference is released if the block fails. It may fail after it has committed (the answer was lost, the time
        ran out): then `is_committed` returns true, and the object stays.
        """
        with self._locked(reference.key) as lock:
            with self._redis.pipeline() as pipe:
                pipe.sadd(redis_keys.referrers(reference.key), reference.referrer)
                pipe.zadd(redis_keys.REFERENCES, {reference.entry: until})
                pipe.execute()
            try:
                yield
            except BaseException:
                if not is_committed():
                    with suppress(UnavailableError):  # the reference expires; the first error is the one to raise
                        self._release(reference, lock)
                raise

    def release(self, reference: Reference) -> None:
        """Release a reference; the last one deletes the object."""
        with self._locked(reference.key) as lock:
            self._release(reference, lock)

    def release_expired(self) -> None:
        """Release the references that have expired; if the store is unavailable, they are retried later."""
        while expired := self._redis.zrangebyscore(redis_keys.REFERENCES, 0, self._clock.now(), start=0, num=100):
            for entry in map(str, expired):
                referrer, key = entry.split(" ", 1)
                try:
                    self.release(Reference(key, referrer))
                except UnavailableError as error:
                    log.warning("failed to release an object; will retry", error=error.detail)
                    self._redis.zadd(redis_keys.REFERENCES, {entry: self._clock.now() + TRY_AGAIN_S}, xx=True)

    def delete_orphans(self, *, older_than_s: float) -> Iterator[int]:
        """Delete the objects that nothing refers to, a page per step; yield how many each step deleted.

        There are some after the queue's data was lost. They must be older than anything is kept, for they could belong
        to a queue that is about to be restored.
        """
        for keys in self._store.keys(older_than_s=older_than_s):
            yield sum(self._delete_orphan(key) for key in keys if _OURS.fullmatch(key))

    def _delete_orphan(self, key: str) -> bool:
        if self._redis.exists(redis_keys.referrers(key)):
            return False
        with self._locked(key) as lock:
            if self._redis.exists(redis_keys.referrers(key)):
                return False
            _renew(lock)
            self._store.delete(key)
        log.warning("deleted an object that nothing refers to", key=key)
        return True

    def _release(self, reference: Reference, lock: Lock) -> None:
        """Delete the object before its reference: a crash in between leaves a reference that expires."""
        others = set(self._redis.smembers(redis_keys.referrers(reference.key))) - {reference.referrer}
        _renew(lock)
        if not others:
            self._store.delete(reference.key)
        with self._redis.pipeline() as pipe:
            pipe.srem(redis_keys.referrers(reference.key), reference.referrer)
            pipe.zrem(redis_keys.REFERENCES, reference.entry)
            pipe.execute()

    @contextmanager
    def _locked(self, key: str) -> Iterator[Lock]:
        """Serialise writers and deleters of an object: otherwise a delete could follow the next referrer's write."""
        lock = self._redis.lock(redis_keys.object_lock(key), timeout=LOCK_S, blocking_timeout=self._wait_s)
        if not lock.acquire():
            raise UnavailableError("This photo is locked by another request; please try again.", retry_after_s=5)
        try:
            yield lock
        finally:
            with suppress(LockError):  # it expired during a slow write, and the object is written
                lock.release()


def _renew(lock: Lock) -> None:
    """Renew a lock right before a delete, which then has all of its time.

    A block may have written for longer than the lock lasts. Then another may have locked the object by now, and have
    written what would be deleted: so nothing is touched, and the reference expires or is released on a retry.

    Raises:
        UnavailableError: the lock has been lost.
    """
    try:
        lock.reacquire()
    except LockError as error:
        raise UnavailableError("The lock on this photo was lost; please try again.", retry_after_s=5) from error
