"""Browser sessions, begun with an API key: event streams in a browser cannot send the key in a header.

A session belongs to the key that began it, and ends with it. Redis stores digests of both. A key has a limited number
of sessions.
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
    """Begin a session of the key with this digest; return the token for the browser."""
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
    """Return the digest of the key that began a session, if the session exists."""
    return cast("str | None", redis.get(_record(session)))


def end_session(redis: "Redis", session: str) -> None:
    """End a session."""
    record = _record(session)
    if key_digest := cast("str | None", redis.getdel(record)):
        redis.zrem(redis_keys.key_sessions(key_digest), record)


def _record(session: str) -> str:
    return redis_keys.session(digest_of(session))
