"""The albums: many photos under names of their own, each with its job or the reason why it was rejected.

Jobs of albums run in the bulk lane. They are counted in their own transactions (`shared.albums.counts`), so an album's
counts are never behind.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from redis.exceptions import LockError

from shared import redis_keys
from shared.albums.counts import ALBUM_EVENTS_KEPT, REFUSED, counts_of, newest_of
from shared.albums.record import (
    NO_SUCH_ALBUM,
    Album,
    AlbumEvent,
    Entry,
    Item,
    ItemPage,
    digest_in,
    have_ended,
    item_of,
    value_of,
)
from shared.errors import AlbumFullError, UnavailableError, UnknownAlbumError
from shared.jobs.reader import JobReader
from shared.jobs.record import RECORD_GRACE_S, State
from shared.record_codec import record_fields, record_values
from shared.redis_clock import Clock
from shared.scheduling.room import ALBUM_BYTES, Room, refusal_size

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

LOCK_S = 60  # after which the lock of a process that died is free
ROOM = "room"  # among an album's counts: bytes of Redis that its photos without jobs take
CLOSED = "closed"  # a field of the record of an album that is being erased


class Albums:
    """All albums in one Redis."""

    def __init__(
        self, redis: "Redis", clock: Clock, jobs: JobReader, room: Room, *, max_photos: int, wait_s: float
    ) -> None:
        """Keep up to `max_photos` photos in an album; wait up to `wait_s` for a locked name."""
        self._redis = redis
        self._clock = clock
        self._jobs = jobs
        self._room = room
        self._max_photos = max_photos
        self._wait_s = wait_s

    def create(self, album: Album) -> Album:
        """Write a new record."""
        with self._redis.pipeline() as pipe:
            pipe.hset(redis_keys.album_record(album.id), mapping=record_fields(album))
            self._take(pipe, album, ALBUM_BYTES + len(f"{album.name}{album.webhook}".encode()))
            self._keep_until(pipe, album.id, album.expires_at)
            pipe.execute()
        return album

    def get(self, album_id: str) -> Album:
        """Read a record.

        Raises:
            UnknownAlbumError: there is none.
            NewerRecordError: it is a newer release's.
        """
        record = cast("dict[str, str]", self._redis.hgetall(redis_keys.album_record(album_id)))
        try:
            return Album.model_validate(record_values(record))
        except ValueError as error:  # it is not there, or damaged
            raise UnknownAlbumError(NO_SUCH_ALBUM) from error

    def rename(self, album: Album, name: str) -> Album:
        """Give it another name, and return its record.

        Raises:
            UnknownAlbumError: it has been deleted meanwhile.
        """
        key = redis_keys.album_record(album.id)

        def write(pipe: "Pipeline") -> bool:
            known, closed = cast("list[str | None]", pipe.hmget(key, ["id", CLOSED]))
            pipe.multi()
            if is_open := known is not None and closed is None:
                pipe.hset(key, "name", json.dumps(name))
            return is_open

        if not self._redis.transaction(write, key, value_from_callable=True):  # type: ignore[arg-type]  # redis-py's
            raise UnknownAlbumError(NO_SUCH_ALBUM)
        return album.model_copy(update={"name": name})

    def counts(self, album_id: str) -> dict[State, int]:
        """Return the number of photos in each state; rejected ones count as failed."""
        return counts_of(self._redis.hgetall(redis_keys.album_counts(album_id)))

    def counts_at(self, album_id: str) -> tuple[dict[State, int], str]:
        """Return the counts, and the last event that they include."""
        with self._redis.pipeline() as pipe:
            pipe.hgetall(redis_keys.album_counts(album_id))
            pipe.xrevrange(redis_keys.album_stream(album_id), count=1)
            found, newest = pipe.execute()
        return counts_of(found), newest_of(newest)

    def missing(self, album_id: str, digests: list[str]) -> list[str]:
        """Return the SHA-256 digests whose photos the album neither has nor has rejected."""
        wanted = set(digests)
        values = cast("dict[str, str]", self._redis.hgetall(redis_keys.album_items(album_id)))
        held = [item_of(name, value) for name, value in values.items() if digest_in(value) in wanted]
        jobs = self._jobs.get_many([item.job_id for item in held if item.job_id])
        live = {job.id for job in jobs.values() if job.state is not State.EXPIRED}
        known = {item.sha256 for item in held if item.error or item.job_id in live}
        return [digest for digest in digests if digest not in known]

    def require_room(self, album_id: str) -> None:
        """Refuse another photo when the album is full.

        Raises:
            AlbumFullError: it is.
        """
        if self._redis.hlen(redis_keys.album_items(album_id)) >= self._max_photos:
            raise AlbumFullError(f"An album takes {self._max_photos} photos; create another one.")

    @contextmanager
    def locked_name(self, album_id: str, name: str) -> Iterator[Item | None]:
        """Lock a name for putting a photo under it; yields the current item."""
        key = redis_keys.album_name_lock(album_id, name)
        lock = self._redis.lock(key, timeout=LOCK_S, blocking_timeout=self._wait_s)
        if not lock.acquire():
            raise UnavailableError("This photo name is locked by another request; please try again.", retry_after_s=5)
        try:
            yield next(iter(self._read(album_id, [name])), None)
        finally:
            with suppress(LockError):  # it expired during a slow upload
                lock.release()

    def exists(self, album_id: str) -> bool:
        """Return whether the album has not been erased and is not being erased."""
        # Whatever is put into an album writes into its record; only one that was created has an id.
        known, closed = cast("list[str | None]", self._redis.hmget(redis_keys.album_record(album_id), ["id", CLOSED]))
        return known is not None and closed is None

    def close(self, album_id: str) -> None:
        """Mark an album that is about to be erased. Its record goes last, so that erasing can be asked for again."""
        with self._redis.pipeline() as pipe:
            pipe.hset(redis_keys.album_record(album_id), CLOSED, "true")
            pipe.expire(redis_keys.album_record(album_id), RECORD_GRACE_S, nx=True)  # where it was gone already
            pipe.execute()

    def put(self, album: Album, item: Item, before: Item | None, *, expires_at: float | None = None) -> None:
        """Put `item` under its name in place of what was `before` there; the album lives as long as its photos."""
        refused = int(item.error is not None) - int(before is not None and before.error is not None)
        with self._redis.pipeline() as pipe:
            pipe.hset(redis_keys.album_items(album.id), item.name, value_of(item))
            pipe.zadd(redis_keys.album_order(album.id), {item.name: self._clock.now()}, nx=True)
            if item.error:
                stream = redis_keys.album_stream(album.id)
                pipe.xadd(stream, {"name": item.name, "state": State.FAILED}, maxlen=ALBUM_EVENTS_KEPT)
                pipe.sadd(redis_keys.ALBUMS_ENDED, album.id)
            if refused:
                pipe.hincrby(redis_keys.album_counts(album.id), REFUSED, refused)
                self._take(pipe, album, refused * refusal_size(item.name))
            if expires_at:
                pipe.hset(redis_keys.album_record(album.id), "expires_at", json.dumps(expires_at))
            self._keep_until(pipe, album.id, expires_at or album.expires_at, where_none=not expires_at)
            pipe.execute()

    def drop(self, album_id: str, name: str) -> None:
        """Free a name whose photo did not arrive."""
        with self._redis.pipeline() as pipe:
            pipe.hdel(redis_keys.album_items(album_id), name)
            pipe.zrem(redis_keys.album_order(album_id), name)
            pipe.execute()

    def remove_item(self, album_id: str, name: str, job_id: str) -> None:
        """Free a name whose job was erased, unless another photo has it now."""

        def remove(pipe: "Pipeline") -> None:
            found = cast("str | None", pipe.hget(redis_keys.album_items(album_id), name))
            pipe.multi()
            if found is not None and item_of(name, found).job_id == job_id:
                pipe.hdel(redis_keys.album_items(album_id), name)
                pipe.zrem(redis_keys.album_order(album_id), name)

        self._redis.transaction(remove, redis_keys.album_items(album_id))

    def unnotified(self, count: int) -> list[str]:
        """Return up to `count` albums in which a photo has finished since `mark_notified`."""
        found = cast("list[str]", self._redis.srandmember(redis_keys.ALBUMS_ENDED, count))
        return [str(album_id) for album_id in found]

    def mark_notified(self, album_id: str, last_event: str) -> None:
        """Record that the webhook was notified of everything up to `last_event`, where there was anything to tell.

        An album with later events stays listed, so that the end of its last photo is notified with that event, and only
        once.
        """

        def remove(pipe: "Pipeline") -> None:
            is_all = newest_of(pipe.xrevrange(redis_keys.album_stream(album_id), count=1)) == last_event
            pipe.multi()
            if is_all:
                pipe.srem(redis_keys.ALBUMS_ENDED, album_id)

        self._redis.transaction(remove, redis_keys.album_stream(album_id))

    def page(self, album_id: str, *, cursor: int, count: int) -> ItemPage:
        """List the photos of an album, `count` at a time, from position `cursor`."""
        names = cast("list[str]", self._redis.zrange(redis_keys.album_order(album_id), cursor, cursor + count))
        entries = list(self.get_many(album_id, names[:count]))
        return ItemPage(entries, cursor + count if len(names) > count else None)

    def entries(self, album_id: str) -> Iterator[Entry]:
        """Yield every photo in the order they were added, read a hundred at a time."""
        cursor: int | None = 0
        while cursor is not None:
            page = self.page(album_id, cursor=cursor, count=100)
            yield from page.entries
            cursor = page.next_cursor

    def size(self, album_id: str) -> int:
        """Return the number of photos."""
        return self._redis.zcard(redis_keys.album_order(album_id))

    def names(self, album_id: str) -> list[str]:
        """Return the names of all photos in the order they were added."""
        return cast("list[str]", self._redis.zrange(redis_keys.album_order(album_id), 0, -1))

    def get_many(self, album_id: str, names: list[str]) -> Iterator[Entry]:
        """Return the photos with these names; missing ones are left out."""
        items = self._read(album_id, names)
        jobs = self._jobs.get_many([item.job_id for item in items if item.job_id])
        entries = (Entry(item, jobs.get(item.job_id or "")) for item in items)
        return (entry for entry in entries if entry.job or not entry.item.is_pending)

    def unfinished(self, album_id: str) -> int:
        """Return the number of photos that have not finished."""
        counts = self.counts(album_id)
        return counts[State.QUEUED] + counts[State.RUNNING]

    def has_ended(self, album_id: str) -> bool:
        """Return whether all photos have finished."""
        return have_ended(self.counts(album_id))

    def events(self, album_id: str, *, after: str, wait_s: float) -> list[AlbumEvent]:
        """Return the events after `after`; wait up to `wait_s` for the first if there is none yet."""
        answer = self._redis.xread({redis_keys.album_stream(album_id): after}, block=max(1, int(wait_s * 1000)))
        found = cast("list[tuple[str, list[tuple[str, dict[str, str]]]]]", answer or [])
        return [
            AlbumEvent(event_id, fields["name"], State(fields["state"]) if fields["state"] else None)
            for _, entries in found
            for event_id, fields in entries
        ]

    def last_event(self, album_id: str) -> str:
        """Return the id of the newest event, from which to listen for later ones."""
        return newest_of(self._redis.xrevrange(redis_keys.album_stream(album_id), count=1))

    def erase(self, album_id: str) -> None:
        """Delete the album, whose jobs have been erased before."""
        charged = self._redis.hmget(redis_keys.album_record(album_id), ["caller", "created_at"])
        caller, created_at = cast("list[str | None]", charged)
        size = int(self._redis.hget(redis_keys.album_counts(album_id), ROOM) or 0)
        with self._redis.pipeline() as pipe:
            pipe.delete(*_keys(album_id), redis_keys.album_turn(album_id))
            if caller and created_at:
                self._room.release(pipe, json.loads(caller), size, at=json.loads(created_at))
            pipe.execute()

    def _take(self, pipe: "Pipeline", album: Album, size: int) -> None:
        """Count memory that the album itself takes, and among its counts what is given back when it is erased."""
        pipe.hincrby(redis_keys.album_counts(album.id), ROOM, size)
        count = self._room.charge if size > 0 else self._room.release
        count(pipe, album.caller, abs(size), at=album.created_at)

    def _read(self, album_id: str, names: list[str]) -> list[Item]:
        values = cast("list[str | None]", self._redis.hmget(redis_keys.album_items(album_id), names)) if names else []
        return [item_of(name, value) for name, value in zip(names, values, strict=True) if value is not None]

    def _keep_until(self, pipe: "Pipeline", album_id: str, expires_at: float, *, where_none: bool = False) -> None:
        for key in _keys(album_id):  # a key that was just made has no end yet, which counts as the longest
            pipe.expireat(key, int(expires_at) + RECORD_GRACE_S, nx=where_none)


def _keys(album_id: str) -> tuple[str, ...]:
    return (
        redis_keys.album_record(album_id),
        redis_keys.album_items(album_id),
        redis_keys.album_order(album_id),
        redis_keys.album_counts(album_id),
        redis_keys.album_stream(album_id),
    )
