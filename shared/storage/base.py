"""The interface of the store of photos and pictures. One contract and one test suite for all backends.

Keys are relative paths of letters, digits, `-`, `_`, `.` and `/`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from shared.errors import SakugaError, UnavailableError

PAGE = 100  # keys at a time
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


class MissingObjectError(SakugaError):
    """There is no object under this key, or no longer."""

    code = "missing_object"
    title = "The photo is no longer stored"
    status = 410


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """The metadata of an object."""

    bytes: int


class Store(Protocol):
    """The contract of a backend. Every method raises UnavailableError when the backend does not answer."""

    @property
    def public_origin(self) -> str | None:
        """Scheme and host of what `url` gives; None where it gives nothing."""
        ...

    def put(self, key: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        """Write an object atomically: a reader sees the old one or the new one, never a part."""
        ...

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """Write an object atomically unless it exists; return whether it was written.

        A backend that cannot do that atomically checks first. Two concurrent writers of a key may then both believe
        that they have written it, so callers hold a lock on it; a reader still never sees a part.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """Open an object for reading; raises MissingObjectError."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Describe an object, or None when there is none."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...

    def url(self, key: str, *, disposition: str, content_type: str) -> str | None:
        """Return a URL from which anyone may read the object for five minutes; None if the web server must serve it."""
        ...

    def check(self) -> None:
        """Raise UnavailableError unless the backend can take objects; a missing folder or bucket is made."""
        ...

    def keys(self, *, older_than_s: float) -> Iterator[list[str]]:
        """Yield the keys of all objects that were written longer ago than that, up to `PAGE` at a time."""
        ...

    def sweep(self) -> None:
        """Remove what crashed writers left behind."""
        ...


def checked(key: str) -> str:
    """Return a valid key; raise ValueError for any other."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a store key: {key!r}")
    return key


def rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def unavailable() -> UnavailableError:
    """Return the error for a backend that does not answer."""
    return UnavailableError("The store is not responding; please try again.", retry_after_s=5)
