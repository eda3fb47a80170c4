"""Counts the photos of albums anew, where the counts say that some have not ended and their records say otherwise."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from shared import redis_keys
from shared.albums.counts import counts_of, newest_of
from shared.albums.record import item_of
from shared.jobs.reader import JobReader
from shared.jobs.record import State
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

STILL_S = 600  # how long nothing has happened in an album whose photos are counted anew


def reconcile(redis: "Redis", clock: Clock, jobs: JobReader) -> int:
    """Count anew wherever that may be needed; returns how many albums were wrong."""
    return sum(recount(redis, clock, jobs, album_id) for album_id in unsettled(redis))


def recount(redis: "Redis", clock: Clock, jobs: JobReader, album_id: str) -> bool:
    """Count the photos of an album anew that have not come to their end; returns whether that was wrong.

    Only of an album in which nothing has happened for a while: else photos come and go meanwhile. What is counted
    and has no record that says so has expired.
    """
    counted, stream = redis_keys.album_counts(album_id), redis_keys.album_stream(album_id)

    def write(pipe: "Pipeline") -> bool:
        counts, last = counts_of(pipe.hgetall(counted)), newest_of(pipe.xrevrange(stream, count=1))
        is_still = int(last.split("-")[0]) / 1000 < clock.now() - STILL_S
        found = _job_states(redis, jobs, album_id) if is_still else counts
        waits, runs = found[State.QUEUED], found[State.RUNNING]
        pipe.multi()
        if (waits, runs) == (counts[State.QUEUED], counts[State.RUNNING]):
            return False
        pipe.hset(counted, mapping={State.QUEUED: waits, State.RUNNING: runs})
        gone = counts[State.QUEUED] + counts[State.RUNNING] - waits - runs
        pipe.hincrby(counted, State.EXPIRED, max(0, gone))
        pipe.sadd(redis_keys.ALBUMS_ENDED, album_id)
        return True

    # redis-py's annotation overlooks value_from_callable
    return bool(redis.transaction(write, counted, stream, value_from_callable=True))  # type: ignore[arg-type]


def unsettled(redis: "Redis") -> Iterator[str]:
    """The albums that have photos that have not come to their end, by their counts; those may be wrong."""
    for key in redis.scan_iter(match=redis_keys.album_counts("*"), count=1000):
        counts = counts_of(redis.hgetall(str(key)))
        if counts[State.QUEUED] + counts[State.RUNNING]:
            yield str(key).split(":")[2]


def _job_states(redis: "Redis", jobs: JobReader, album_id: str) -> Counter[str | None]:
    values = cast("list[str]", redis.hvals(redis_keys.album_items(album_id)))
    items = (item_of("", value) for value in values)
    return Counter(jobs.states([item.job_id for item in items if item.job_id]))
