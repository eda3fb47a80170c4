"""Reading the records of jobs: one, many, or a caller's page by page."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from shared import redis_keys
from shared.errors import InvalidValueError, UnknownJobError, UnreadableJobError
from shared.jobs.record import DAMAGED, Job, State, parse

if TYPE_CHECKING:
    from redis import Redis

MAX_AT_ONCE = 16  # jobs that may have been made in the same microsecond
_STATES = frozenset(json.dumps(state).encode() for state in State)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a caller's jobs, newest first; `next_cursor` is None on the last."""

    jobs: list[Job]
    next_cursor: str | None


class JobReader:
    """Read access to all job records in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Read from `redis`."""
        self._redis = redis

    def get(self, job_id: str) -> Job:
        """Read a record.

        Raises:
            UnknownJobError: there is none, or it is unreadable.
            NewerRecordError: a newer release wrote it; so does every other method that reads or changes a record.
        """
        return parse(fetch(self._redis, job_id))

    def find(self, job_id: str) -> Job | None:
        """Read a record, if there is one."""
        return self.get_many([job_id]).get(job_id)

    def get_many(self, ids: list[str]) -> dict[str, Job]:
        """Read records by id; missing or unreadable ones are left out.

        Raises:
            NewerRecordError: one of them is a newer release's; without it the answer would be wrong.
        """
        found: dict[str, Job] = {}
        for job_id, read in self._readings(ids).items():
            with suppress(UnknownJobError):
                found[job_id] = read()
        return found

    def _readings(self, ids: list[str]) -> dict[str, Callable[[], Job]]:
        """Fetch records in one round trip, or one by one if one of them makes the others unreadable."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hgetall(redis_keys.job_record(job_id))
                return {job_id: partial(parse, record) for job_id, record in zip(ids, pipe.execute(), strict=True)}
        except (ResponseError, UnicodeDecodeError):
            return {job_id: partial(self.get, job_id) for job_id in ids}

    def states(self, ids: list[str]) -> list[str | None]:
        """Read the states of jobs, whichever release wrote them; None where a record is missing or damaged."""
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                key = redis_keys.job_record(job_id)
                pipe.execute_command("HGET", key, "state", **{NEVER_DECODE: True})  # type: ignore[no-untyped-call]
            return [json.loads(found) if found in _STATES else None for found in pipe.execute(raise_on_error=False)]

    def page(self, caller: str, *, cursor: str | None, count: int) -> Page:
        """List a caller's jobs, newest first, `count` at a time, from where the page before ended.

        Raises:
            InvalidValueError: the cursor is none of ours.
        """
        index, newest = redis_keys.caller_jobs(caller), _place(cursor) if cursor else (math.inf, "")
        found = cast(
            "list[tuple[str, float]]",
            self._redis.zrevrangebyscore(index, newest[0], "-inf", start=0, num=count + MAX_AT_ONCE, withscores=True),
        )
        places = [(score, job_id) for job_id, score in found if not cursor or (score, job_id) < newest]
        page = places[:count]
        jobs = self.listed(index, [job_id for _, job_id in page])
        return Page(jobs, _cursor(*page[-1]) if len(places) > count else None)

    def listed(self, index: str, ids: list[str]) -> list[Job]:
        """Return the jobs of an index, and remove those that no longer exist from it."""
        found = self.get_many(ids)
        if gone := set(ids) - found.keys():
            self._redis.zrem(index, *gone)
        return list(found.values())


def fetch(redis: "Redis", job_id: str) -> dict[str, str]:
    """Return the hash of a job, empty if there is none.

    Raises:
        UnreadableJobError: it is not a hash, or not text.
    """
    try:
        return cast("dict[str, str]", redis.hgetall(redis_keys.job_record(job_id)))
    except UnicodeDecodeError as error:
        raise UnreadableJobError(DAMAGED) from error
    except ResponseError as error:
        if not str(error).startswith("WRONGTYPE"):
            raise
        raise UnreadableJobError(DAMAGED) from error


def _cursor(score: float, job_id: str) -> str:
    return f"{score!r}-{job_id}"


def _place(cursor: str) -> tuple[float, str]:
    score, _, job_id = cursor.partition("-")
    try:
        place = float(score), job_id
    except ValueError:
        place = math.nan, job_id
    if not math.isfinite(place[0]):
        raise InvalidValueError("cursor must be the next_cursor of the previous page.")
    return place
