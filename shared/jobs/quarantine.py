"""Jobs with too many failed attempts: they may be what kills workers, so they are kept for the operator to inspect."""

from typing import TYPE_CHECKING, cast

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.reader import JobReader
from shared.jobs.record import Job

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


class Quarantine(Observer):
    """The list of them in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep it in `redis`."""
        self._redis = redis
        self._jobs = JobReader(redis)

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """List a job that ran out of attempts; remove it when it is retried, expires or is erased."""
        was = change.before is not None and change.before.is_quarantined
        if change.after and change.after.is_quarantined and not was:
            pipe.zadd(redis_keys.QUARANTINE, {change.after.id: change.after.finished_at or 0})
        elif was and not (change.after and change.after.is_quarantined):
            pipe.zrem(redis_keys.QUARANTINE, change.job.id)

    def lost(self, pipe: "Pipeline", job_id: str) -> None:
        """Remove the job."""
        pipe.zrem(redis_keys.QUARANTINE, job_id)

    def jobs(self) -> list[Job]:
        """Return the quarantined jobs, the oldest first."""
        index = redis_keys.QUARANTINE
        return self._jobs.listed(index, cast("list[str]", self._redis.zrange(index, 0, -1)))
