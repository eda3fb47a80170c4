"""Downloading a file, resumed where an earlier attempt ended. The caller must verify the content."""

import fcntl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from time import sleep
from typing import BinaryIO, Final

import httpx

from cli.proxies import ProxiedTransport, proxy_for
from shared.errors import InvalidValueError, SakugaError

DELAYS_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)  # between attempts that receive nothing
TIMEOUT: Final = httpx.Timeout(30, connect=10)
MAX_BYTES: Final = 64 << 20

Show = Callable[[int, int | None], None]
"""Called with the bytes that are there, and how many there will be if the server says so."""


class DownloadError(SakugaError):
    """The file cannot be downloaded, or not now."""


def download(url: str, path: Path, show: Show) -> None:
    """Download `url` to `path`, or what is missing there, through the proxy that the environment has for it.

    A connection that is lost is made again as long as anything arrives; without any at first, it fails at once.

    Raises:
        DownloadError: why there is no file yet; what has arrived is kept for the next call.
        InvalidValueError: the URL, or the proxy, is none that can be used.
    """
    with path.open("ab") as file, _client() as client:
        _lock(file)
        left: Iterator[float] = iter(())
        while True:
            before = file.tell()
            try:
                return _receive(client, url, file, show)
            except httpx.InvalidURL as error:
                raise InvalidValueError(f"{url!r} is not a valid URL.") from error
            except httpx.HTTPError as error:
                if file.tell() > before:
                    left = iter(DELAYS_S)
                if (delay := next(left, None)) is None:
                    raise _given_up(url, error) from error
            sleep(delay)


def _client() -> httpx.Client:
    headers = {"Accept-Encoding": "identity"}  # else a part would be one of the compressed file
    return httpx.Client(transport=ProxiedTransport(), timeout=TIMEOUT, follow_redirects=True, headers=headers)


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DownloadError("Another process is downloading this file already.") from error


def _receive(client: httpx.Client, url: str, file: BinaryIO, show: Show) -> None:
    start = file.tell()
    with client.stream("GET", url, headers={"Range": f"bytes={start}-"} if start else None) as answer:
        if start and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        answer.raise_for_status()
        if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            file.truncate(0)  # the server sends all of it
            start = file.seek(0)
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        for piece in answer.iter_bytes():
            file.write(piece)
            show(file.tell(), total)
            if file.tell() > MAX_BYTES:
                file.truncate(0)
                raise DownloadError(f"{url} has more than {MAX_BYTES >> 20} MB, so it is not a file of weights.")


def _given_up(url: str, error: httpx.HTTPError) -> DownloadError:
    host = error.request.url.host
    if isinstance(error, httpx.HTTPStatusError):
        why = f"{host} answered {error.response.status_code} {error.response.reason_phrase}"
    elif isinstance(error, httpx.TimeoutException):
        why = f"{host} is not responding"
    else:
        through = " through the proxy in the environment" if proxy_for(error.request.url) else ""
        why = f"{host} cannot be reached{through} ({error})"
    return DownloadError(
        f"{why}. Run the same command again to continue, or download {url} elsewhere and pass the file with --from."
    )
