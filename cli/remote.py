"""A client of the HTTP API that retries.

It waits when the server asks for that (503 and 429 with `Retry-After`), and reconnects after a connection is lost, both
within limits. All requests are idempotent: an album's photos by their names, a job by its Idempotency-Key.
"""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from cli.answers import MissingPhotos, RemoteAlbum, RemoteJob, RemoteLimits, RemotePage, RemotePhoto
from cli.proxies import ProxiedTransport, proxy_for
from shared.albums.walks import Action
from shared.errors import CanceledError, DamagedPhotoError, InvalidValueError, SakugaError
from shared.jobs.record import ENDED, ErrorInfo

DELAYS_S: Final = (0.5, 1, 2, 4, 8, 15, 30)  # between retries after lost connections
MAX_WAIT_S: Final = 30  # at a time, whatever the server says: it may recover sooner
BUSY_RETRY_S: Final = 1800  # for one request to a busy server
HOLD_S: Final = 5  # how long the server holds a request for a job, and Ctrl-C may have to wait
CANCEL_S: Final = 2  # timeout after Ctrl-C
POLL_S: Final = 1.0  # where the server cannot hold the request
WALK_POLL_S: Final = 1.0  # while the server does something with all photos of a large album
WALK_STALL_S: Final = 300  # without progress; a worker that takes over from a dead one begins within a minute
TIMEOUT: Final = httpx.Timeout(30, connect=10, pool=None)
DIGESTS_AT_ONCE: Final = 10_000
_BUSY: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
_PROXY_LOST_IT: Final = {HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}

Fields = Mapping[str, str | int]
"""The options of photos: `max_side`, `format`, and `style` and `faces` unless they are the server's defaults."""


class RefusedError(SakugaError):
    """The server refused the request; `problem` is why."""

    def __init__(self, http_status: int, problem: ErrorInfo) -> None:
        super().__init__(problem.detail)
        self.http_status = http_status
        self.problem = problem


class ServerUnreachableError(SakugaError):
    """The server cannot be reached."""


class StalledError(SakugaError):
    """The server does not do what it said it would."""


M = TypeVar("M", bound=BaseModel)


class Remote:
    """One server. Its methods are thread-safe, and raise CanceledError after `stop`."""

    def __init__(self, url: str, *, key: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        """Use the server at `url`, the only one that receives `key`: servers that it redirects to do not.

        Raises:
            InvalidValueError: `url` is not a valid server URL.
        """
        self.url = url.rstrip("/")
        self._stopped = threading.Event()
        try:
            parsed = httpx.URL(self.url)
            if parsed.scheme not in {"http", "https"} or not parsed.host:
                raise _no_address(url)
            self._client = httpx.Client(
                base_url=parsed,
                headers={"Authorization": f"Bearer {key}"} if key else None,
                transport=transport or ProxiedTransport(),
                timeout=TIMEOUT,
                follow_redirects=True,
            )
        except httpx.InvalidURL as error:
            raise _no_address(url) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def stop(self) -> None:
        """Stop all waiting in other threads."""
        self._stopped.set()

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            CanceledError: `stop` was called meanwhile.
        """
        if self._stopped.wait(seconds):
            raise CanceledError("Stopped.")

    def limits(self) -> RemoteLimits:
        """Fetch the server's limits; a good first request, since it fails at once without a server."""
        return _parsed(RemoteLimits, self._request("GET", "/api/v1/limits", delays=()))

    def start_job(self, photo: bytes, fields: Fields) -> RemoteJob:
        headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/octet-stream"}
        answer = self._request("POST", "/api/v1/jobs", params=fields, content=photo, headers=headers)
        return _parsed(RemoteJob, answer)

    def ended(self, job: RemoteJob) -> RemoteJob:
        """Wait until a job has finished, and return it."""
        while job.state not in ENDED:
            answer = self._request("GET", job.links["self"], headers={"Prefer": f"wait={HOLD_S}"})
            job = _parsed(RemoteJob, answer)
            if job.state not in ENDED and "Preference-Applied" not in answer.headers:
                self.pause(POLL_S)
        return job

    def cancel(self, job: RemoteJob) -> bool:
        """Cancel a job with a single attempt; return whether the server was reached."""
        try:
            self._client.post(job.links["cancel"], timeout=CANCEL_S)
        except httpx.RequestError:
            return False
        return True

    def picture(self, job: RemoteJob) -> bytes:
        """Download the picture of a job that has succeeded.

        Raises:
            DamagedPhotoError: the data does not match its digest.
        """
        data = self._request("GET", job.links["result"]).content
        if job.result and hashlib.sha256(data).hexdigest() != job.result.sha256:
            raise DamagedPhotoError("The picture was damaged in transit; try again.")
        return data

    def start_album(self, name: str, fields: Fields, *, keep_photos: bool) -> RemoteAlbum:
        album = {"name": name[:200], **fields} | ({"keep_photos": True} if keep_photos else {})
        return _parsed(RemoteAlbum, self._request("POST", "/api/v1/albums", json=album))

    def redraw(self, album_id: str, style: str) -> RemoteAlbum:
        """Start an album of another one's photos, which the server adds by itself."""
        return _parsed(RemoteAlbum, self._request("POST", f"/api/v1/albums/{album_id}/redraw", json={"style": style}))

    def album(self, album_id: str) -> RemoteAlbum:
        return _parsed(RemoteAlbum, self._request("GET", f"/api/v1/albums/{album_id}"))

    def retry(self, album_id: str) -> RemoteAlbum:
        """Retry the photos that failed or were canceled, and wait until all of them are queued, as `walked` does."""
        album = _parsed(RemoteAlbum, self._request("POST", f"/api/v1/albums/{album_id}/retry"))
        return self.walked(album, Action.RETRY)

    def walked(self, album: RemoteAlbum, action: Action) -> RemoteAlbum:
        """Wait until the server has done something with all photos of an album, if it is to.

        Raises:
            StalledError: nothing of that happens, as if no worker were running.
        """
        waited = 0.0
        while action in album.pending:
            if waited >= WALK_STALL_S:
                raise _stalled(self.url, action)
            self.pause(WALK_POLL_S)
            before, album = album, self.album(album.id)
            waited = waited + WALK_POLL_S if album.counts == before.counts else 0.0
        return album

    def missing(self, album_id: str, digests: list[str]) -> set[str]:
        """Return the digests of the photos that the album does not have."""
        found: set[str] = set()
        for start in range(0, len(digests), DIGESTS_AT_ONCE):
            batch = {"sha256": digests[start : start + DIGESTS_AT_ONCE]}
            answer = self._request("POST", f"/api/v1/albums/{album_id}/check", json=batch)
            found.update(_parsed(MissingPhotos, answer).missing)
        return found

    def put_photo(self, album_id: str, name: str, photo: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        path = f"/api/v1/albums/{album_id}/photos/{quote(name)}"
        self._request("PUT", path, content=photo, headers=headers)

    def photos(self, album_id: str, cursor: int) -> RemotePage:
        """Fetch a page of an album's photos, from position `cursor`."""
        return _parsed(RemotePage, self._request("GET", f"/api/v1/albums/{album_id}/photos", params={"cursor": cursor}))

    def all_photos(self, album_id: str) -> Iterator[RemotePhoto]:
        """Yield every photo of an album, a page at a time."""
        cursor: int | None = 0
        while cursor is not None:
            page = self.photos(album_id, cursor)
            yield from page.photos
            cursor = page.next_cursor

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Fields | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        json: object = None,
        delays: tuple[float, ...] = DELAYS_S,
    ) -> httpx.Response:
        """Send a request until there is a response.

        Raises:
            RefusedError: the server refused it.
            ServerUnreachableError: there is no response after the last of `delays`.
        """
        request = self._client.build_request(
            method, path, params=dict(params) if params else None, headers=headers, content=content, json=json
        )
        left, waited = iter(delays), 0.0
        while True:
            answer = self._answer(request)
            if isinstance(answer, httpx.Response) and answer.status_code not in _BUSY:
                return _accepted(answer)
            if isinstance(answer, httpx.Response):
                delay = _retry_after_s(answer)
                waited += delay
                if waited > BUSY_RETRY_S or _is_for_another_day(answer):
                    return _accepted(answer)
            elif (delay := next(left, -1)) < 0:
                raise answer
            self.pause(delay)

    def _answer(self, request: httpx.Request) -> httpx.Response | ServerUnreachableError:
        """Return the server's response, or why there is none."""
        if self._stopped.is_set():
            raise CanceledError("Stopped.")
        try:
            answer = self._client.send(request)
        except httpx.TimeoutException:
            return ServerUnreachableError(f"{self.url} is not responding.")
        except httpx.RequestError as error:
            through = " through the proxy in the environment" if proxy_for(request.url) else ""
            return ServerUnreachableError(
                f"{self.url} cannot be reached{through} ({error}); is Sakuga running there? "
                "Use --server or SAKUGA_SERVER to choose another server."
            )
        if answer.status_code in _PROXY_LOST_IT:
            return ServerUnreachableError(f"{self.url} is a proxy whose server is not responding.")
        return answer


def _stalled(url: str, action: Action) -> StalledError:
    what = "drawing the photos again" if action is Action.REDRAW else "retrying the photos that failed"
    return StalledError(
        f"{url} has made no progress for {WALK_STALL_S // 60} minutes in {what}. Its workers do that when the queue "
        "has room: check that one is running (`sakuga up` and `sakuga worker` start them), then run the same command "
        "again to resume."
    )


def _no_address(url: str) -> InvalidValueError:
    return InvalidValueError(f"{url!r} is not a valid server URL, such as http://127.0.0.1:8000.")


def _retry_after_s(answer: httpx.Response) -> float:
    said = answer.headers.get("Retry-After", "")
    return min(max(1, int(said)), MAX_WAIT_S) if said.isdecimal() else POLL_S


def _is_for_another_day(answer: httpx.Response) -> bool:
    """Return whether waiting is pointless: a quota, unlike a queue, is exhausted until the time given."""
    said = answer.headers.get("Retry-After", "")
    is_ours = answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
    return is_ours and said.isdecimal() and int(said) > BUSY_RETRY_S


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        problem = ErrorInfo.model_validate_json(answer.content)
    except ValidationError:
        what = f"{answer.request.url.host} answered {answer.status_code} {answer.reason_phrase}."
        problem = ErrorInfo(code="refused", title="The server refused the request", detail=what)
    if answer.status_code == HTTPStatus.UNAUTHORIZED and "Authorization" not in answer.request.headers:
        where = "This server requires an API key; set SAKUGA_API_KEY, or pass a file with --key-file."
        problem = problem.model_copy(update={"detail": where})
    raise RefusedError(answer.status_code, problem)


def _parsed(model: type[M], answer: httpx.Response) -> M:
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as error:
        raise ServerUnreachableError(
            f"{answer.request.url.host} did not answer like this version of Sakuga."
        ) from error
