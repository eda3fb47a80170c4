"""Who sends a lost message again: one of all nodes, and nobody else until it was heard of."""

from typing import TYPE_CHECKING

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import State

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

RESEND_S = 300  # how long a message that was sent again is given to be heard of


class ResendLocks(Observer):
    """A lock for each message that was sent again, in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep them in `redis`."""
        self._redis = redis

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """A job that is claimed was heard of."""
        before, after = change.before, change.after
        if before and after and after.state is State.RUNNING and after.claim != before.claim:
            pipe.delete(redis_keys.resent(after.id))

    def acquire(self, job_id: str) -> bool:
        """Whether the asker is the one to send a lost job's message again; nobody else may for a while."""
        return bool(self._redis.set(redis_keys.resent(job_id), "1", nx=True, ex=RESEND_S))

    def release(self, job_id: str) -> None:
        """The message that was sent again has come, or could not be sent: if it is lost again, anybody may send it."""
        self._redis.delete(redis_keys.resent(job_id))
