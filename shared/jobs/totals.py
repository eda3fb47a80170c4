"""Counters since the beginning: jobs by final state, seconds by stage."""

from typing import TYPE_CHECKING, cast

from shared import redis_keys
from shared.jobs.observer import Change, Observer

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


class Totals(Observer):
    """The counters in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep them in `redis`."""
        self._redis = redis

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Count a job when it is created, and when it finishes."""
        if change.before is None:
            pipe.hincrby(redis_keys.TOTALS, "jobs_submitted", 1)
        if change.after and change.ends:
            pipe.hincrby(redis_keys.TOTALS, f"jobs_{change.after.state}", 1)
            for stage, seconds in (change.after.timings or {}).items():
                pipe.hincrbyfloat(redis_keys.TOTALS, f"seconds_{stage.removesuffix('_s')}", seconds)

    def read(self) -> dict[str, float]:
        """Return all counters by name."""
        found = cast("dict[str, str]", self._redis.hgetall(redis_keys.TOTALS))
        return {str(name): float(value) for name, value in found.items()}
