"""The number of photos of an album in each state, and its event stream, updated as its jobs change."""

from typing import TYPE_CHECKING, cast

from shared import redis_keys
from shared.jobs.observer import Change, Observer
from shared.jobs.record import ENDED, RECORD_GRACE_S, State
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis.client import Pipeline

ALBUM_EVENTS_KEPT = 1000
REFUSED = "refused"  # among an album's counts: photos that never became jobs


class AlbumCounts(Observer):
    """The counts and streams of all albums in one Redis."""

    def __init__(self, clock: Clock) -> None:
        """Keep them for as long as their jobs, by `clock`."""
        self._clock = clock

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        """Count a photo in its new state, and add an event to the stream of its album."""
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
        until = int(max(self._clock.now(), job.expires_at)) + RECORD_GRACE_S
        for key in (counts, stream):  # the album itself may be gone already
            pipe.expireat(key, until, nx=True)
        if change.after is None or change.after.state in ENDED:
            pipe.sadd(redis_keys.ALBUMS_ENDED, job.album)


def counts_of(found: object) -> dict[State, int]:
    """Return the counts of a hash by state; rejected photos count as failed."""
    numbers = cast("dict[str, str]", found)
    counts = {state: max(0, int(numbers.get(state, 0))) for state in State}
    counts[State.FAILED] += int(numbers.get(REFUSED, 0))
    return counts


def newest_of(found: object) -> str:
    """Return the id of the last event that XREVRANGE found in a stream."""
    events = cast("list[tuple[str, object]]", found)
    return events[0][0] if events else "0-0"
