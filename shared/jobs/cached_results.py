"""A cache of recent results, so that the same photo with the same options is converted once."""

import json
from typing import TYPE_CHECKING, cast

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import Job, ResultInfo
from shared.record_codec import record_fields

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline


class CachedResults(Observer):
    """The results by their keys, in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep them in `redis`."""
        self._redis = redis

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Cache the result of a job for as long as the job itself is kept."""
        job = change.after
        if job and change.ends and job.result:
            fields, cached = record_fields(job), redis_keys.cached_result(job.result_key)
            pipe.hset(cached, mapping={"result": fields["result"], "notes": fields["notes"]})
            pipe.expireat(cached, int(job.expires_at))

    def find(self, job: Job) -> tuple[ResultInfo, tuple[str, ...]] | None:
        """Return the cached result for the same photo and options, with its notes, if there is one."""
        found = cast("dict[str, str]", self._redis.hgetall(redis_keys.cached_result(job.result_key)))
        return (ResultInfo.model_validate_json(found["result"]), tuple(json.loads(found["notes"]))) if found else None
