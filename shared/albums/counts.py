"""How many photos of an album are in which state, and its stream of events: kept as its jobs change."""

from typing import TYPE_CHECKING

from shared import redis_clock, redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import ENDED, RECORD_GRACE_S

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

ALBUM_EVENTS_KEPT = 1000


class AlbumCounts(Observer):
    """The counts and streams of all albums in one Redis."""

    def __init__(self, redis: "Redis") -> None:
        """Keep them in `redis`."""
        self._redis = redis

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Count a photo in its new state, and tell those who listen to its album."""
        job = change.job
        if job.album is None or not change.moves:
            return
        counts, stream = redis_keys.album_counts(job.album), redis_keys.album_stream(job.album)
        if change.before:
            pipe.hincrby(counts, change.before.state, -1)
        if change.after:
            pipe.hincrby(counts, change.after.state, 1)
        state = change.after.state if change.after else ""
        pipe.xadd(stream, {"name": job.name or "", "state": state}, maxlen=ALBUM_EVENTS_KEPT)
        until = int(max(redis_clock.now(self._redis), job.expires_at)) + RECORD_GRACE_S
        for key in (counts, stream):  # the album itself may be gone already
            pipe.expireat(key, until, nx=True)
        if change.after is None or change.after.state in ENDED:
            pipe.sadd(redis_keys.ALBUMS_ENDED, job.album)
