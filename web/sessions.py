"""Sessions: how a browser calls with a key that it was shown once, since its event streams can send no header.

A session knows which key began it, and ends with it. Redis holds digests of both. A key has a few sessions at a time.
"""

import secrets
from typing import TYPE_CHECKING, Final, cast

from shared import redis_keys
from shared.callers.api_keys import digest_of
from shared.redis_clock import Clock

if TYPE_CHECKING:
    from redis import Redis

COOKIE: Final = "sakuga_session"
SESSION_S: Final = 30 * 24 * 3600
SESSIONS: Final = 20  # of a key; beyond, the oldest ends


def begin_session(redis: "Redis", clock: Clock, key_digest: str) -> str:
    """Begin a session of the key with this digest; what is returned is the browser's to keep."""
    session = secrets.token_urlsafe(32)
    record, begun = _record(session), redis_keys.key_sessions(key_digest)
    with redis.pipeline() as pipe:
        pipe.set(record, key_digest, ex=SESSION_S)
        pipe.zadd(begun, {record: clock.now()})
        pipe.expire(begun, SESSION_S)
        pipe.zrange(begun, 0, -SESSIONS - 1)
        *_, too_many = cast("tuple[object, object, object, list[str]]", pipe.execute())
    if too_many:
        redis.delete(*too_many)
        redis.zrem(begun, *too_many)
    return session


def key_of_session(redis: "Redis", session: str) -> str | None:
    """The digest of the key that began a session, if that goes on."""
    return cast("str | None", redis.get(_record(session)))


def end_session(redis: "Redis", session: str) -> None:
    """Let a session open nothing any more."""
    record = _record(session)
    if key_digest := cast("str | None", redis.getdel(record)):
        redis.zrem(redis_keys.key_sessions(key_digest), record)


def _record(session: str) -> str:
    return redis_keys.session(digest_of(session))
