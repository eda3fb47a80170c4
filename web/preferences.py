"""The preferences of a client: to wait for a job (RFC 7240), and the picture itself to the job (RFC 9110)."""

import re
from collections.abc import Sequence
from typing import Final

from flask import request

from shared.errors import NotAcceptableError
from shared.photos.formats import Format

MAX_WAIT_S: Final = 30
_JOB: Final = "application/json"
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)
_RESPOND_ASYNC: Final = re.compile(r"(?:^|[,;\s])respond-async\s*(?:$|[,;])", re.IGNORECASE)


def preferred_wait_s() -> int | None:
    """Return for how many seconds the client prefers to wait, at most `MAX_WAIT_S`; None if it does not say."""
    preferences = request.headers.get("Prefer", "")
    if wait := _WAIT.search(preferences):
        return min(int(wait[1]), MAX_WAIT_S)
    return 0 if _RESPOND_ASYNC.search(preferences) else None


def preferred_picture(formats: Sequence[Format]) -> Format | None:
    """Return the format in which the client prefers the picture to its job; None if it does not.

    `formats` are possible; among those that the client likes best, the first is taken.

    Raises:
        NotAcceptableError: it asks for pictures, but neither for one of these nor for JSON.
    """
    accept = request.accept_mimetypes
    best = max(formats, key=lambda one: accept.quality(one.content_type))
    if accept.quality(best.content_type) > accept.quality(_JOB):
        return best
    if not accept.quality(_JOB) and any(quality for kind, quality in accept if kind.startswith("image/")):
        kinds = ", ".join(one.content_type for one in formats)
        raise NotAcceptableError(f"Accept must include one of: {kinds}, {_JOB}.")
    return None
