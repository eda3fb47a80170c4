"""Which jobs hold which objects of the store, so that an object two jobs share goes only with the last of them.

Photos and results are named by their content, so the same photo sent twice is one object; erasing one job must not take
the other's picture away. Every reference is written before its object, with the time at which it expires: what a
process leaves behind when it dies between two steps is found by its reference.
"""

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

LOCK_S = 60  # of one who died holding it; longer than any one call of the store takes
WAIT_S = 65  # for a lock: so that one death is waited out and costs no attempt
TRY_AGAIN_S = 60

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reference:
    """Whose claim on which object."""

    key: str
    referrer: str

    @property
    def entry(self) -> str:
        return f"{self.referrer} {self.key}"


def expire_at(pipe: "Pipeline", reference: Reference, until: float) -> None:
    """Inside the caller's transaction: an object is needed until another time (epoch seconds) than was thought."""
    pipe.zadd(redis_keys.REFERENCES, {reference.entry: until}, xx=True)


def expire_now(pipe: "Pipeline", *references: Reference) -> None:
    """Inside the caller's transaction: nobody needs these any more; whoever tidies next lets them go."""
    for reference in references:
        expire_at(pipe, reference, 0)


class References:
    """Counts the holders of every object in Redis."""

    def __init__(self, redis: "Redis", clock: Clock, store: Store, *, wait_s: float = WAIT_S) -> None:
        """Count in `redis` what lies in `store`; wait up to `wait_s` for an object that is in other hands."""
        self._redis = redis
        self._clock = clock
        self._store = store
        self._wait_s = wait_s

    @contextmanager
    def acquire(
        self, reference: Reference, *, until: float, is_committed: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Hold an object until a time (epoch seconds) while the block writes it; a block that fails gives it back.

        A block may fail after it has committed (the answer was lost, the time ran out): then `is_committed` returns
        true, and the object stays.
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
                    with suppress(UnavailableError):  # the reference expires; what went wrong first is to be told
                        self._release(reference, lock)
                raise

    def release(self, reference: Reference) -> None:
        """Let go of an object; the last referrer deletes it."""
        with self._locked(reference.key) as lock:
            self._release(reference, lock)

    def release_expired(self) -> None:
        """Let go of the references whose time has passed; those of objects that cannot be reached are tried again."""
        while expired := self._redis.zrangebyscore(redis_keys.REFERENCES, 0, self._clock.now(), start=0, num=100):
            for entry in map(str, expired):
                referrer, key = entry.split(" ", 1)
                try:
                    self.release(Reference(key, referrer))
                except UnavailableError as error:
                    log.warning("failed to release an object; will retry", error=error.detail)
                    self._redis.zadd(redis_keys.REFERENCES, {entry: self._clock.now() + TRY_AGAIN_S}, xx=True)

    def _release(self, reference: Reference, lock: Lock) -> None:
        """The object goes before the note that it is there: one who dies in between leaves a reference that expires."""
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
        """One writer or deleter of an object at a time: else a delete could follow the next referrer's write."""
        lock = self._redis.lock(redis_keys.object_lock(key), timeout=LOCK_S, blocking_timeout=self._wait_s)
        if not lock.acquire():
            raise UnavailableError("This photo is locked by another request; please try again.", retry_after_s=5)
        try:
            yield lock
        finally:
            with suppress(LockError):  # it ran out in a slow write, and what was written stands
                lock.release()


def _renew(lock: Lock) -> None:
    """Begin the time of a lock anew, right before a delete, which then has all of it.

    A block may have written for longer than the lock lasts. Then another may hold the object by now, and have put it
    where the delete would find it: so nothing is touched, and the reference expires or is let go of in another try.

    Raises:
        UnavailableError: the lock is no longer ours.
    """
    try:
        lock.reacquire()
    except LockError as error:
        raise UnavailableError("The lock on this photo was lost; please try again.", retry_after_s=5) from error
