"""Where photos and pictures are kept: what a folder and a bucket have in common. One contract, one test suite for both.

Keys are relative paths of letters, digits, `-`, `_`, `.` and `/`.
"""

import re
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from shared.errors import SakugaError, UnavailableError

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


class MissingObjectError(SakugaError):
    """There is nothing under this key (any more)."""

    code = "missing_object"
    title = "The photo is no longer stored"
    status = 410


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What the store knows of an object without reading it."""

    bytes: int


class Store(Protocol):
    """What a backend must do. Every method raises UnavailableError when the backend does not answer."""

    @property
    def public_origin(self) -> str | None:
        """Scheme and host of what `url` gives; None where it gives nothing."""
        ...

    def put(self, key: str, data: bytes | BinaryIO, *, content_type: str) -> None:
        """Write an object as one step: a reader sees the old one or the new one, never a part."""
        ...

    def put_new(self, key: str, data: bytes, *, content_type: str) -> bool:
        """Write an object unless there is one, as one step; returns whether it was written.

        A backend that cannot do that in one step looks first. Two who write under the same key may then both think that
        theirs stands, so callers hold a lock on it; a reader still never sees a part.
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
        """A URL that anyone may read the object from for five minutes, or None where the web must serve it."""
        ...

    def check(self) -> None:
        """Raise UnavailableError unless the backend can take objects; a missing folder or bucket is made."""
        ...

    def sweep(self) -> None:
        """Remove what writers that died left behind."""
        ...


def checked(key: str) -> str:
    """The key itself; raises ValueError where it is none."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a store key: {key!r}")
    return key


def rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


def unavailable() -> UnavailableError:
    """What to raise when the backend does not answer."""
    return UnavailableError("The store is not responding; please try again.", retry_after_s=5)
