"""Who calls, and whether they may: a key in the header, or a session that a browser began with one."""

from typing import Final

from flask import Response, current_app, g, request

from shared.callers.api_keys import PUBLIC, ApiKeys, Caller
from shared.errors import ForbiddenError, UnauthorizedError
from shared.services import Services
from web.context import services
from web.openapi import Access, Operation
from web.sessions import COOKIE, key_of_session

OPEN_VIEWS: Final = {"static", "page.index", "page.sign_in", "page.sign_out", "service.openapi", "service.docs"}
UNWATCHED: Final = {"static", "service.livez", "service.readyz"}  # answered whoever asks, and whatever is away


def identify() -> None:
    """Find out who sent this request, before anything else of it is looked at."""
    g.caller = None
    if request.endpoint not in UNWATCHED and not g.is_queue_away:
        g.caller = _caller(services()) if services().api_keys.are_required else PUBLIC


def require_access() -> None:
    """Refuse whoever may not do this; a view that says nothing of who may is for callers alone.

    Raises:
        UnauthorizedError: nobody said who calls, or with a key that is none.
        ForbiddenError: the caller lacks the scope for it.
    """
    if request.endpoint is None or request.endpoint in OPEN_VIEWS:
        return
    view: object = current_app.view_functions[request.endpoint]
    operation: Operation | None = getattr(view, "operation", None)
    access = operation.access if operation else Access.CALLER
    if access is Access.ANYBODY:
        return
    caller = require_caller()
    if access.scope and access.scope not in caller.scopes:
        raise ForbiddenError(f"This key lacks the scope `{access.scope}`; ask the operator of this service to add it.")


def require_caller() -> Caller:
    """Who calls.

    Raises:
        UnauthorizedError: that is not known.
    """
    if (caller := known_caller()) is None:
        raise UnauthorizedError(
            "Invalid or revoked API key."
            if _bearer()
            else "Send your API key as `Authorization: Bearer …`; the operator of this service issues keys."
        )
    return caller


def known_caller() -> Caller | None:
    """Who calls, if that is known."""
    caller: Caller | None = g.get("caller")
    return caller


def ask_for_key(response: Response) -> None:
    """Say in a refusal what would have been right (RFC 6750)."""
    error = ', error="invalid_token"' if _bearer() else ""
    response.headers["WWW-Authenticate"] = f'Bearer realm="sakuga"{error}'


def _caller(services: Services) -> Caller | None:
    if key := _bearer():
        found = services.api_keys.find(key)
        return found[0] if found else None
    return _of_session(services.api_keys, services, request.cookies.get(COOKIE))


def _of_session(keys: ApiKeys, services: Services, session: str | None) -> Caller | None:
    """Whose session it is, for as long as the key is good that it was begun with."""
    digest = key_of_session(services.redis, session) if session else None
    return keys.find_digest(digest) if digest else None


def _bearer() -> str:
    """The key of the header; other schemes are those of proxies in front, and none of ours."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
