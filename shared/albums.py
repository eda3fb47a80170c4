"""The album: many photos under names of their own, and what became of each.

An album knows its photos by name; each is a job of the bulk lane, or the reason why it was refused. What the jobs do is
counted in their own transactions (`shared.jobs`), so an album's counts are never behind. Imported by everyone.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, ConfigDict
from redis.exceptions import LockError

from shared import clock
from shared.errors import AlbumFullError, UnavailableError, UnknownAlbumError
from shared.images import Format
from shared.jobs import (
    ALBUM_EVENTS_KEPT,
    ALBUMS_ENDED,
    RECORD_GRACE_S,
    ErrorInfo,
    Job,
    Jobs,
    State,
    album_counts,
    album_stream,
    record_fields,
    record_values,
)

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

STILL_S = 600  # how long nothing has happened in an album whose photos are counted anew
LOCK_S = 60  # of one who died holding it
NO_SUCH_ALBUM = "No such album; it may have expired or been deleted."
CLOSED = "closed"  # a field of the record of an album that is being erased
REFUSED = "refused"  # among an album's counts: photos that never became jobs


class Album(BaseModel):
    """The record. Times are seconds since the epoch, UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    caller: str
    name: str | None
    style: str
    max_side: int
    format: Format
    created_at: float
    expires_at: float  # moves with every photo that is added
    webhook: str | None = None  # who is told when all its photos have come to their end
    secret: str | None = None  # what that is signed with


@dataclass(frozen=True, slots=True)
class Item:
    """One photo of an album: its job, or why it was refused."""

    name: str
    job_id: str | None = None
    sha256: str | None = None
    error: ErrorInfo | None = None

    @property
    def is_coming(self) -> bool:
        """Whether its photo is being taken in: what it is named for may not be there yet."""
        return self.error is None and self.sha256 is None


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo of an album with its job as it is now; the job is None where the photo was refused or has expired."""

    item: Item
    job: Job | None


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some entries of an album, in the order they came; `next_cursor` is None on the last page."""

    entries: list[Entry]
    next_cursor: int | None


@dataclass(frozen=True, slots=True)
class AlbumEvent:
    """A photo has come into a state; into none when it was erased."""

    id: str
    name: str
    state: State | None


class Albums:
    """All albums in one Redis."""

    def __init__(self, redis: "Redis", jobs: Jobs, *, max_photos: int, wait_s: float) -> None:
        """Hold up to `max_photos` photos in an album; wait up to `wait_s` for a name that is in other hands."""
        self._redis = redis
        self._jobs = jobs
        self._max_photos = max_photos
        self._wait_s = wait_s

    def create(self, album: Album) -> Album:
        """Write a new record."""
        with self._redis.pipeline() as pipe:
            pipe.hset(_record(album.id), mapping=record_fields(album))
            self._keep_until(pipe, album.id, album.expires_at)
            pipe.execute()
        return album

    def get(self, album_id: str) -> Album:
        """Read a record.

        Raises:
            UnknownAlbumError: there is none.
            NewerRecordError: it is a newer release's.
        """
        record = cast("dict[str, str]", self._redis.hgetall(_record(album_id)))
        try:
            return Album.model_validate(record_values(record))
        except ValueError as error:  # it is not there, or damaged
            raise UnknownAlbumError(NO_SUCH_ALBUM) from error

    def counts(self, album_id: str) -> dict[State, int]:
        """How many photos are in which state; those that were refused have failed."""
        return _counts(self._redis.hgetall(album_counts(album_id)))

    def counts_at(self, album_id: str) -> tuple[dict[State, int], str]:
        """The counts, and the event after which they were so."""
        with self._redis.pipeline() as pipe:
            pipe.hgetall(album_counts(album_id))
            pipe.xrevrange(album_stream(album_id), count=1)
            found, newest = pipe.execute()
        return _counts(found), _newest(newest)

    def missing(self, album_id: str, digests: list[str]) -> list[str]:
        """Which of these SHA-256 digests are of no photo that the album has, or has refused."""
        wanted = set(digests)
        values = cast("dict[str, str]", self._redis.hgetall(_items(album_id)))
        held = [item for name, value in values.items() if (item := _item(name, value)).sha256 in wanted]
        jobs = self._jobs.get_many([item.job_id for item in held if item.job_id])
        live = {job.id for job in jobs.values() if job.state is not State.EXPIRED}
        known = {item.sha256 for item in held if item.error or item.job_id in live}
        return [digest for digest in digests if digest not in known]

    def require_room(self, album_id: str) -> None:
        """Refuse another photo when the album is full.

        Raises:
            AlbumFullError: it is.
        """
        if self._redis.hlen(_items(album_id)) >= self._max_photos:
            raise AlbumFullError(f"An album takes {self._max_photos} photos; create another one.")

    @contextmanager
    def naming(self, album_id: str, name: str) -> Iterator[Item | None]:
        """Be the only one who puts a photo under this name; yields what is there."""
        lock = self._redis.lock(f"sakuga:lock:album:{album_id}:{name}", timeout=LOCK_S, blocking_timeout=self._wait_s)
        if not lock.acquire():
            raise UnavailableError("This photo name is locked by another request; please try again.", retry_after_s=5)
        try:
            yield self._item(album_id, name)
        finally:
            with suppress(LockError):  # it ran out in a slow upload
                lock.release()

    def is_there(self, album_id: str) -> bool:
        """Whether the album has not been erased, nor is about to be."""
        # Whatever is put into an album writes into its record; only one that was created has an id.
        known, closed = cast("list[str | None]", self._redis.hmget(_record(album_id), ["id", CLOSED]))
        return known is not None and closed is None

    def close(self, album_id: str) -> None:
        """Mark an album that is about to be erased. Its record goes last, so that erasing can be asked for again."""
        with self._redis.pipeline() as pipe:
            pipe.hset(_record(album_id), CLOSED, "true")
            pipe.expire(_record(album_id), RECORD_GRACE_S, nx=True)  # where it was gone already
            pipe.execute()

    def put(self, album: Album, item: Item, before: Item | None, *, expires_at: float | None = None) -> None:
        """Put `item` under its name in place of what was `before` there; the album lives as long as its photos."""
        refused = int(item.error is not None) - int(before is not None and before.error is not None)
        with self._redis.pipeline() as pipe:
            pipe.hset(_items(album.id), item.name, _value(item))
            pipe.zadd(_order(album.id), {item.name: clock.now(self._redis)}, nx=True)
            if item.error:
                pipe.xadd(album_stream(album.id), {"name": item.name, "state": State.FAILED}, maxlen=ALBUM_EVENTS_KEPT)
                pipe.sadd(ALBUMS_ENDED, album.id)
            pipe.hincrby(album_counts(album.id), REFUSED, refused)
            if expires_at:
                pipe.hset(_record(album.id), "expires_at", json.dumps(expires_at))
            self._keep_until(pipe, album.id, expires_at or album.expires_at, where_none=not expires_at)
            pipe.execute()

    def drop(self, album_id: str, name: str) -> None:
        """Free a name whose photo did not come after all."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(_items(album_id), name)
            pipe.zrem(_order(album_id), name)
            pipe.execute()

    def forget(self, album_id: str, name: str, job_id: str) -> None:
        """Free a name whose job was erased, unless another photo has taken its place."""

        def remove(pipe: "Pipeline") -> None:
            found = cast("str | None", pipe.hget(_items(album_id), name))
            pipe.multi()
            if found is not None and _item(name, found).job_id == job_id:
                pipe.hdel(_items(album_id), name)
                pipe.zrem(_order(album_id), name)

        self._redis.transaction(remove, _items(album_id))

    def perhaps_ended(self, count: int) -> list[str]:
        """Name up to `count` albums of which a photo has come to its end since `seen_ended`."""
        return [str(album_id) for album_id in cast("list[str]", self._redis.srandmember(ALBUMS_ENDED, count))]

    def seen_ended(self, album_id: str, last_event: str) -> None:
        """Somebody who knew of everything up to `last_event` has told whom it concerns.

        An album to which more has happened stays named: that its last photo came to its end is told with that event,
        and only once.
        """

        def remove(pipe: "Pipeline") -> None:
            is_all = _newest(pipe.xrevrange(album_stream(album_id), count=1)) == last_event
            pipe.multi()
            if is_all:
                pipe.srem(ALBUMS_ENDED, album_id)

        self._redis.transaction(remove, album_stream(album_id))

    def page(self, album_id: str, *, cursor: int, count: int) -> ItemPage:
        """List the photos of an album, `count` at a time, from the place `cursor`."""
        names = cast("list[str]", self._redis.zrange(_order(album_id), cursor, cursor + count))
        entries = list(self.some(album_id, names[:count]))
        return ItemPage(entries, cursor + count if len(names) > count else None)

    def entries(self, album_id: str) -> Iterator[Entry]:
        """Every photo, in the order they came, read a hundred at a time."""
        cursor: int | None = 0
        while cursor is not None:
            page = self.page(album_id, cursor=cursor, count=100)
            yield from page.entries
            cursor = page.next_cursor

    def names(self, album_id: str) -> list[str]:
        """The names of all photos, in the order they came."""
        return cast("list[str]", self._redis.zrange(_order(album_id), 0, -1))

    def some(self, album_id: str, names: list[str]) -> Iterator[Entry]:
        """The photos of these names, as far as they are there."""
        items = self._read(album_id, names)
        jobs = self._jobs.get_many([item.job_id for item in items if item.job_id])
        entries = (Entry(item, jobs.get(item.job_id or "")) for item in items)
        return (entry for entry in entries if entry.job or not entry.item.is_coming)

    def unfinished(self, album_id: str) -> int:
        """How many photos have not come to their end."""
        counts = self.counts(album_id)
        return counts[State.QUEUED] + counts[State.RUNNING]

    def has_ended(self, album_id: str) -> bool:
        """Whether all photos have come to their end."""
        return have_ended(self.counts(album_id))

    def events(self, album_id: str, *, after: str, wait_s: float) -> list[AlbumEvent]:
        """The events after the one named `after`; waits up to `wait_s` for the first if there is none yet."""
        answer = self._redis.xread({album_stream(album_id): after}, block=max(1, int(wait_s * 1000)))
        found = cast("list[tuple[str, list[tuple[str, dict[str, str]]]]]", answer or [])
        return [
            AlbumEvent(event_id, fields["name"], State(fields["state"]) if fields["state"] else None)
            for _, entries in found
            for event_id, fields in entries
        ]

    def last_event(self, album_id: str) -> str:
        """The id of the newest event, to listen from now on."""
        return _newest(self._redis.xrevrange(album_stream(album_id), count=1))

    def erase(self, album_id: str) -> None:
        """Forget the album; its jobs are erased before."""
        self._redis.delete(*_keys(album_id))

    def unsettled(self) -> Iterator[str]:
        """The albums that have photos that have not come to their end, by their counts; those may be wrong."""
        for key in self._redis.scan_iter(match=album_counts("*"), count=1000):
            album_id = str(key).split(":")[2]
            if self.unfinished(album_id):
                yield album_id

    def recount(self, album_id: str) -> bool:
        """Count the photos anew that have not come to their end; returns whether that was wrong.

        Only of an album in which nothing has happened for a while: else photos come and go meanwhile. What is counted
        and has no record that says so has expired.
        """

        def write(pipe: "Pipeline") -> bool:
            counts, last = _counts(pipe.hgetall(album_counts(album_id))), _newest(pipe.xrevrange(stream, count=1))
            is_still = int(last.split("-")[0]) / 1000 < clock.now(self._redis) - STILL_S
            found = self._job_states(album_id) if is_still else counts
            waits, runs = found[State.QUEUED], found[State.RUNNING]
            pipe.multi()
            if (waits, runs) == (counts[State.QUEUED], counts[State.RUNNING]):
                return False
            pipe.hset(album_counts(album_id), mapping={State.QUEUED: waits, State.RUNNING: runs})
            gone = counts[State.QUEUED] + counts[State.RUNNING] - waits - runs
            pipe.hincrby(album_counts(album_id), State.EXPIRED, max(0, gone))
            pipe.sadd(ALBUMS_ENDED, album_id)
            return True

        stream = album_stream(album_id)
        # redis-py's annotation overlooks value_from_callable
        return bool(self._redis.transaction(write, album_counts(album_id), stream, value_from_callable=True))  # type: ignore[arg-type]

    def _job_states(self, album_id: str) -> Counter[str | None]:
        items = (_item("", value) for value in cast("list[str]", self._redis.hvals(_items(album_id))))
        return Counter(self._jobs.states([item.job_id for item in items if item.job_id]))

    def _read(self, album_id: str, names: list[str]) -> list[Item]:
        values = cast("list[str | None]", self._redis.hmget(_items(album_id), names)) if names else []
        return [_item(name, value) for name, value in zip(names, values, strict=True) if value is not None]

    def _item(self, album_id: str, name: str) -> Item | None:
        found = cast("str | None", self._redis.hget(_items(album_id), name))
        return None if found is None else _item(name, found)

    def _keep_until(self, pipe: "Pipeline", album_id: str, expires_at: float, *, where_none: bool = False) -> None:
        for key in _keys(album_id):  # a key that was just made has no end yet, which counts as the longest
            pipe.expireat(key, int(expires_at) + RECORD_GRACE_S, nx=where_none)


def have_ended(counts: Mapping[State, int]) -> bool:
    """Whether photos of these counts have come to their end, which those that are yet to come have not."""
    return any(counts.values()) and not counts[State.QUEUED] + counts[State.RUNNING]


def _counts(found: object) -> dict[State, int]:
    numbers = cast("dict[str, str]", found)
    counts = {state: max(0, int(numbers.get(state, 0))) for state in State}
    counts[State.FAILED] += int(numbers.get(REFUSED, 0))
    return counts


def _newest(found: object) -> str:
    events = cast("list[tuple[str, object]]", found)
    return events[0][0] if events else "0-0"


def _keys(album_id: str) -> tuple[str, ...]:
    return (
        _record(album_id),
        _items(album_id),
        _order(album_id),
        album_counts(album_id),
        album_stream(album_id),
    )


def _value(item: Item) -> str:
    error = item.error.model_dump() if item.error else None
    return json.dumps({"job_id": item.job_id, "sha256": item.sha256, "error": error})


def _item(name: str, value: str) -> Item:
    found = json.loads(value)
    error = ErrorInfo.model_validate(found["error"]) if found["error"] else None
    return Item(name, found["job_id"], found["sha256"], error)


def _record(album_id: str) -> str:
    return f"sakuga:album:{album_id}"


def _items(album_id: str) -> str:
    return f"sakuga:album:{album_id}:items"


def _order(album_id: str) -> str:
    return f"sakuga:album:{album_id}:order"
