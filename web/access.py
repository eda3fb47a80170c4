"""Authentication and authorisation: by an API key in the header, or by a session that a browser began with one."""

from ipaddress import IPv6Address, ip_address
from typing import Final

from flask import Response, current_app, g, request

from shared.callers.api_keys import PUBLIC, ApiKeys, Caller, Scope
from shared.errors import ForbiddenError, UnauthorizedError
from shared.hosts import is_loopback
from shared.services import Services
from web.context import services
from web.openapi import Access, Operation
from web.sessions import COOKIE, key_of_session

OPEN_VIEWS: Final = {"static", "page.index", "page.sign_in", "page.sign_out", "service.openapi", "service.docs"}
_SHARED_BITS: Final = 64  # of an IPv6 address: one subscriber has a whole network
UNWATCHED: Final = {"static", "service.livez", "service.readyz"}  # answered for anyone, whatever is down


def identify() -> None:
    """Identify the caller of this request, before anything else of it is processed."""
    g.caller = None
    if request.endpoint not in UNWATCHED and not g.is_queue_away:
        g.caller = _caller(services()) if services().api_keys.are_required else PUBLIC


def require_access() -> None:
    """Refuse a request without permission; a view without an operation requires a caller.

    Raises:
        UnauthorizedError: the key is missing or invalid.
        ForbiddenError: the caller lacks the scope for it.
    """
    if request.endpoint is None or request.endpoint in OPEN_VIEWS:
        return
    view: object = current_app.view_functions[request.endpoint]
    operation: Operation | None = getattr(view, "operation", None)
    access = operation.access if operation else Access.CALLER
    if access is Access.ANYBODY:
        return
    require_caller()
    if access.scope:
        require_scope(access.scope)


def require_scope(scope: Scope) -> None:
    """Refuse a caller that lacks a scope.

    Raises:
        UnauthorizedError: there is no caller.
        ForbiddenError: the caller lacks it.
    """
    if scope not in require_caller().scopes:
        raise ForbiddenError(f"This key lacks the scope `{scope}`; ask the operator of this service to add it.")


def require_caller() -> Caller:
    """Return the caller.

    Raises:
        UnauthorizedError: there is none.
    """
    if (caller := known_caller()) is None:
        raise UnauthorizedError(
            "Invalid or revoked API key."
            if _bearer()
            else "Send your API key as `Authorization: Bearer …`; the operator of this service issues keys."
        )
    return caller


def known_caller() -> Caller | None:
    """Return the caller, if there is one."""
    caller: Caller | None = g.get("caller")
    return caller


def sender() -> str:
    """Return who sent this request: the caller or, where callers are not told apart, the network it came from."""
    caller = known_caller()
    return caller.id if caller and caller is not PUBLIC else _network(request.remote_addr)


def payer() -> str | None:
    """Return to whose share of the web server this request is charged; None if it came from this machine itself.

    Without keys that is its only user, or a proxy that does not say whom it serves.
    """
    return None if known_caller() is PUBLIC and is_loopback(request.remote_addr or "") else sender()


def ask_for_key(response: Response) -> None:
    """Add the WWW-Authenticate header (RFC 6750)."""
    error = ', error="invalid_token"' if _bearer() else ""
    response.headers["WWW-Authenticate"] = f'Bearer realm="sakuga"{error}'


def _caller(services: Services) -> Caller | None:
    if key := _bearer():
        found = services.api_keys.find(key)
        return found[0] if found else None
    return _of_session(services.api_keys, services, request.cookies.get(COOKIE))


def _of_session(keys: ApiKeys, services: Services, session: str | None) -> Caller | None:
    """Return the caller of a session, as long as the key that began it is valid."""
    digest = key_of_session(services.redis, session) if session else None
    return keys.find_digest(digest) if digest else None


def _bearer() -> str:
    """Return the key of the header; other schemes belong to proxies in front of the service."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _network(address: str | None) -> str:
    """Return what identifies a sender without a key: its IPv4 address, or its IPv6 network."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, IPv6Address) and found.ipv4_mapped:  # by a server that listens on both
        found = found.ipv4_mapped
    return f"{int(found) >> _SHARED_BITS:x}" if isinstance(found, IPv6Address) else str(found)
