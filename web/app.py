"""The Flask application: its factory, the translation of errors into responses, and the common headers."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from ipaddress import ip_address
from urllib.parse import urlsplit

import structlog
from flask import Flask, Response, current_app, g, request
from redis.exceptions import RedisError
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    RequestEntityTooLarge,
)
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wsgi import LimitedStream

from shared.errors import (
    BadRequestError,
    CrossSiteError,
    MethodNotAllowedError,
    SakugaError,
    TooManyRequestsError,
    UnauthorizedError,
    UnknownRouteError,
)
from shared.photos.formats import too_many_bytes
from shared.services import Services
from shared.settings import WEB_THREADS, Settings
from web import albums, jobs, metrics, page, previews, system
from web.access import ask_for_key, identify, known_caller, payer, require_access
from web.context import client_socket
from web.forms import SpoolingRequest
from web.held_requests import SlotPool
from web.openapi import Schema
from web.openapi_document import document
from web.rates import Rates, add_rate_headers
from web.readiness import Check, queue_check, queue_is_away, require_queue
from web.schemas import Problem, answer
from web.webhooks import WEBHOOKS

FORM_BYTES = 64 << 10  # what a multipart body needs besides the photo
MAX_FORM_PARTS = 16
LOCAL_DOMAINS = (".local", ".internal", ".home.arpa", ".localhost")

log = structlog.get_logger()


def create_app(
    services: Services, *, is_serving: Callable[[], bool] = lambda: True, malformed: type[Exception] | None = None
) -> Flask:
    """Build the application around `services`; held requests end when `is_serving` turns false.

    `malformed` is what the server raises where the application reads a malformed body.

    Raises:
        SettingsError: the key file cannot be used.
    """
    services.api_keys.require()
    app = Flask("web")
    app.request_class = SpoolingRequest
    if proxies := services.settings.trusted_proxies:
        # Every proxy appends the address of its client; the nearest one passes the scheme on.
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=1, x_host=0)  # type: ignore[method-assign]
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_upload_bytes + FORM_BYTES
    app.config["MAX_FORM_PARTS"] = MAX_FORM_PARTS
    app.extensions["sakuga"] = services
    app.extensions["sakuga-slots"] = SlotPool(WEB_THREADS // 2, is_serving)
    app.extensions["sakuga-rates"] = Rates(services)
    app.extensions["sakuga-store-check"] = Check(services.store.check)
    app.extensions["sakuga-queue-check"] = queue_check(services.settings)
    app.extensions["sakuga-writes-check"] = queue_check(services.settings, writes=True)
    app.extensions["sakuga-metrics"] = metrics.install(app, services)
    for blueprint in (jobs.blueprint, previews.blueprint, albums.blueprint, system.blueprint, page.blueprint):
        app.register_blueprint(blueprint)
    _add_hooks(app, services)
    app.register_error_handler(SakugaError, _problem)
    if malformed:
        app.register_error_handler(malformed, _refuse_body)
    app.register_error_handler(Exception, lambda error: _answered(error, services))
    app.extensions["sakuga-openapi"] = cache(lambda: _document(app))  # built when it is first read
    return app


def _document(app: Flask) -> Schema:
    return document(
        app,
        title="Sakuga",
        version=version("sakuga"),
        description="Photos in, anime pictures out. Errors are application/problem+json with a stable `code`. "
        "Where the operator requires API keys, send one with every request: `Authorization: Bearer <key>`.",
        webhooks=WEBHOOKS,
    )


def _add_hooks(app: Flask, services: Services) -> None:
    """Add what happens before each request, in this order, and after it, in the reverse order."""
    threads = SlotPool(WEB_THREADS)
    app.before_request(_refusing_foreign_names(services.settings))
    app.before_request(_refuse_cross_site)
    app.before_request(require_queue)
    app.before_request(identify)
    app.before_request(lambda: _take_thread(threads))
    app.teardown_request(lambda _: _return_thread(threads))
    app.before_request(app.extensions["sakuga-rates"].count)
    app.before_request(require_access)
    app.after_request(add_rate_headers)
    app.after_request(_securing(services.store.public_origin))
    app.after_request(_explained)  # the last is the first: it answers anew


def _refusing_foreign_names(settings: Settings) -> Callable[[], None]:
    """Answer only to the host names that the settings allow: a foreign name may point at this machine."""
    known = settings.host_names

    def refuse() -> None:
        host = urlsplit(f"//{request.host}").hostname or ""
        if known is None or host in known or (settings.takes_local_names and _is_local(host)):
            return
        raise BadRequestError("Unrecognised Host header; the operator can allow it with SAKUGA_TRUSTED_HOSTS.")

    return refuse


def _is_local(host: str) -> bool:
    """Return whether a host is an IP address, or a name that nobody can register: no foreign page has one of these."""
    with suppress(ValueError):
        return bool(ip_address(host))
    return "." not in host or host.endswith(LOCAL_DOMAINS)


def _refuse_cross_site() -> None:
    """Refuse changes that another web site makes through a visitor's browser. Other clients are not affected.

    A page that hides its origin, with `Origin: null`, counts as another site.
    """
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    if request.headers.get("Sec-Fetch-Site") == "cross-site" or _origin() not in {None, request.host}:
        raise CrossSiteError("Pages on other web sites may not use this service.")


def _take_thread(threads: SlotPool) -> None:
    """Charge the thread that serves this request to its sender.

    Raises:
        TooManyRequestsError: the sender occupies as many as are left for all others.
    """
    holder = payer() if known_caller() else None
    if holder and not threads.acquire(holder):
        raise TooManyRequestsError("Too many of your requests are being served; send fewer at a time.", retry_after_s=1)
    g.thread_holder = holder


def _return_thread(threads: SlotPool) -> None:
    if holder := g.pop("thread_holder", None):
        threads.release(holder)


def _answered(error: Exception, services: Services) -> Response:
    response = _problem(_translated(error, services))
    if isinstance(error, HTTPException):  # of which some have more to say, as Allow or Content-Range
        response.headers.extend(header for header in error.get_headers() if header[0] != "Content-Type")
    return response


def _origin() -> str | None:
    """Return the host of the page that sent this: empty if the page hides it, None without a page."""
    origin = request.headers.get("Origin")
    try:
        return None if origin is None else urlsplit(origin).netloc
    except ValueError as error:
        raise BadRequestError("The Origin header must be a valid origin.") from error


def _translated(error: Exception, services: Services) -> SakugaError:
    match error:
        case ClientDisconnected() | ConnectionError() if refusal := _refusal_of_client():
            return refusal
        case ClientDisconnected():
            return BadRequestError("The request ended before its body was complete.")
        case HTTPException():
            return _refused_by_flask(error, services)
        case RedisError():
            log.warning("Redis is not responding", error=str(error))
            return queue_is_away()
        case _:
            log.error("unhandled exception", path=request.path, exc_info=error)
            return SakugaError("Internal error; the cause is in the log of the service.")


def _refusal_of_client() -> SakugaError | None:
    """Return why the client of this request was cut off, if it was."""
    client = client_socket()
    return client.problem if client is not None else None


def _refuse_body(_: Exception) -> Response:
    """Let the connection end with this answer: where the next request would begin is unknown."""
    problem = BadRequestError("The body is malformed: its chunks do not follow RFC 9112.")
    if (client := client_socket()) is not None:
        client.problem = problem
    return _problem(problem)


def _refused_by_flask(error: HTTPException, services: Services) -> SakugaError:
    match error:
        case RequestEntityTooLarge():
            limit = request.max_content_length or 0
            if not _is_longer_than(limit):
                parts = f"at most {request.max_form_parts}"
                return BadRequestError(f"The form has too many parts ({parts} are allowed), or one that is too long.")
            is_usual = limit == current_app.config["MAX_CONTENT_LENGTH"]
            return too_many_bytes(services.settings.max_upload_bytes if is_usual else limit)
        case NotFound():
            return UnknownRouteError("There is nothing at this address; /docs lists the API.")
        case MethodNotAllowed():
            allowed = ", ".join(sorted(error.valid_methods or ()))
            return MethodNotAllowedError(f"{request.method} is not allowed here; use {allowed}.")
        case _:
            return _HttpError(error)


def _is_longer_than(limit: int) -> bool:
    """Return whether the body of this request is; without a `Content-Length`, as much of it as has been read."""
    if request.content_length is not None:
        return request.content_length > limit
    return isinstance(request.stream, LimitedStream) and request.stream.tell() >= limit


class _HttpError(SakugaError):
    """An error of Flask itself without one of our own, such as a body that is not a form."""

    def __init__(self, error: HTTPException) -> None:
        super().__init__(error.description or "")
        self.http_status = error.code or 500
        self.phrase = HTTPStatus(self.http_status).phrase


def _problem(error: SakugaError) -> Response:
    status, title, code = error.status, error.title, error.code
    if isinstance(error, _HttpError):
        status, title, code = error.http_status, error.phrase, error.phrase.lower().replace(" ", "_")
    kind = "about:blank" if isinstance(error, _HttpError) else f"/docs#{code}"
    body = Problem(type=kind, title=title, status=status, detail=error.detail, code=code, instance=request.path)
    response = answer(body, status, "application/problem+json")
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, UnauthorizedError):
        ask_for_key(response)
    return response


def _explained(response: Response) -> Response:
    """Replace the body where a precondition fails: werkzeug leaves the one of the successful response."""
    if response.status_code != HTTPStatus.PRECONDITION_FAILED:
        return response
    response.close()
    return _problem(_HttpError(PreconditionFailed()))


def _securing(picture_origin: str | None) -> Callable[[Response], Response]:
    """Allow the page nothing but its own files, and pictures from the store's public origin."""
    pictures = f"'self' blob: data: {picture_origin or ''}".strip()
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )

    def secure(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", policy)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        # With "no-referrer" browsers would send the page's own forms with `Origin: null`.
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response

    return secure
