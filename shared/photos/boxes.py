"""The boxes of ISO/IEC 14496-12, of which HEIF, AVIF and JPEG 2000 consist. No codec.

Whatever is wrong raises ValueError, EOFError or struct.error.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

_NEEDED: Final = {b"ftyp", b"meta", b"moov", b"mdat"}  # without a whole one of these nothing is to be seen
_MAX_BYTES: Final = 1 << 20  # of one table; those of a phone's photo in 60 tiles have 1 kB


class SeekableFile(Protocol):
    """A file that can be read from any position."""

    def seek(self, offset: int, /) -> object: ...

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a kind; what is in it lies between two places of the file."""

    kind: bytes
    start: int
    end: int


def boxes(file: SeekableFile, start: int, end: int) -> Iterator[Box]:
    """The boxes between two places; cameras may add something else behind the last."""
    while start + 8 <= end:
        length, kind = struct.unpack(">I4s", exactly(file, start, 8))
        body = start + 8
        if length == 1:
            (length,) = struct.unpack(">Q", exactly(file, body, 8))
            body += 8
        stop = start + length if length else end
        if not body <= stop <= end:
            if kind in _NEEDED:
                raise EOFError(f"{kind!r} is not whole")
            return
        yield Box(kind, body, stop)
        start = stop


def content_of(file: SeekableFile, box: Box, most: int | None = None) -> bytes:
    """Return what is in a box, or its first `most` bytes."""
    length = box.end - box.start
    if most is None and length > _MAX_BYTES:
        raise ValueError(f"{box.kind!r} is too long")
    return exactly(file, box.start, length if most is None else min(length, most))


def exactly(file: SeekableFile, place: int, length: int) -> bytes:
    """Read so many bytes."""
    file.seek(place)
    data = file.read(length)
    if len(data) < length:
        raise EOFError("it ends too early")
    return data
