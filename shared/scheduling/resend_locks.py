"""Locks for resending lost messages: only one node resends each, until it arrives."""

from typing import TYPE_CHECKING

from shared import redis_keys
from shared.jobs.observer import Change, Observer

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

RESEND_S = 300  # for a resent message to arrive


class ResendLocks(Observer):
    """The locks of all messages that were resent, in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep them in `redis`."""
        self._redis = redis

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Release the lock of a job that is claimed."""
        if change.claims:
            pipe.delete(redis_keys.resent(change.job.id))

    def acquire(self, job_id: str) -> bool:
        """Try to lock the resending of a job's message for a while; return whether that succeeded."""
        return bool(self._redis.set(redis_keys.resent(job_id), "1", nx=True, ex=RESEND_S))

    def release(self, job_id: str) -> None:
        """Unlock it: the message has arrived, or could not be sent, and may be resent if it is lost again."""
        self._redis.delete(redis_keys.resent(job_id))
