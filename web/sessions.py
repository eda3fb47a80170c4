"""Sessions: how a browser calls with a key that it was shown once, since its event streams can send no header.

A session knows which key began it, and ends with it. Redis holds digests of both. Imported by `web.access`, the page
and `web.openapi`.
"""

import secrets
from typing import TYPE_CHECKING, Final, cast

from shared.keys import digest_of

if TYPE_CHECKING:
    from redis import Redis

COOKIE: Final = "sakuga_session"
SESSION_S: Final = 30 * 24 * 3600


def begin_session(redis: "Redis", key_digest: str) -> str:
    """Begin a session of the key with this digest; what is returned is the browser's to keep."""
    session = secrets.token_urlsafe(32)
    redis.set(_record(session), key_digest, ex=SESSION_S)
    return session


def key_of_session(redis: "Redis", session: str) -> str | None:
    """The digest of the key that began a session, if that goes on."""
    return cast("str | None", redis.get(_record(session)))


def end_session(redis: "Redis", session: str) -> None:
    """Let a session open nothing any more."""
    redis.delete(_record(session))


def _record(session: str) -> str:
    return f"sakuga:session:{digest_of(session)}"
