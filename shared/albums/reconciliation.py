"""Recounts the photos of albums whose counts say, unlike the records, that some have not finished."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, cast

from shared import redis_keys
from shared.albums.counts import counts_of, newest_of
from shared.albums.record import item_of
from shared.jobs.reader import JobReader
from shared.jobs.record import State
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

PAGE: Final = 1000  # keys of Redis, few of which are an album's
STILL_S = 600  # an album is recounted only if nothing has happened in it for this long


def reconcile(redis: "Redis", clock: Clock, jobs: JobReader) -> Iterator[int]:
    """Recount every album that may need it, one per step; yield how many were wrong."""
    cursor = None
    while cursor != 0:
        cursor, keys = redis.scan(cursor or 0, match=redis_keys.album_counts("*"), count=PAGE)
        for album_id in unsettled(redis, map(str, keys)):
            yield int(recount(redis, clock, jobs, album_id))
        yield 0


def recount(redis: "Redis", clock: Clock, jobs: JobReader, album_id: str) -> bool:
    """Recount the unfinished photos of an album; return whether the count was wrong.

    Only in an album in which nothing has happened for a while: otherwise photos come and go meanwhile. A photo that is
    counted without a record to show for it has expired.
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


def unsettled(redis: "Redis", keys: Iterable[str]) -> Iterator[str]:
    """Yield the albums with unfinished photos according to these counts, which may be wrong."""
    for key in keys:
        counts = counts_of(redis.hgetall(key))
        if counts[State.QUEUED] + counts[State.RUNNING]:
            yield key.split(":")[2]


def _job_states(redis: "Redis", jobs: JobReader, album_id: str) -> Counter[str | None]:
    values = cast("list[str]", redis.hvals(redis_keys.album_items(album_id)))
    items = (item_of("", value) for value in values)
    return Counter(jobs.states([item.job_id for item in items if item.job_id]))
