"""Files that are read with limits, or that are made of parts of another file. No codec."""

import io
import math
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from shared.errors import DamagedPhotoError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# Twelve times the chunks of a 32 MiB PNG in libpng's usual 8 KiB; millions of empty ones would take a minute to open.
_MAX_HEADER_READS: Final = 50_000
# What codecs raise on hostile bytes besides OSError; MemoryError is a header that lies about its own tables.
CODEC_ERRORS: Final = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, EOFError,
    RuntimeError, MemoryError, AssertionError, struct.error, zlib.error,
)  # fmt: skip

Part = tuple[int, int] | bytes
"""The content between two places of a file, or bytes that are not in it."""


class HeaderReader:
    """A file with limits on how much may be read, until they are lifted.

    Opening costs Python time and memory for every part a header has, and Pillow has no limit of its own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._reads_left: float = _MAX_HEADER_READS
        self.bytes_left = math.inf
        self._checkpoint: Callable[[], None] | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if self._checkpoint:
            self._checkpoint()
        data = self.file.read(size)
        self._reads_left -= 1
        self.bytes_left -= len(data)
        if min(self._reads_left, self.bytes_left) < 0:
            raise DamagedPhotoError("The photo's header is damaged: it is too long.")
        return data

    def read_at(self, place: int, size: int) -> bytes:
        """Read exactly `size` bytes.

        Raises:
            EOFError: the file ends before that.
        """
        self.seek(place)
        data = self.read(size)
        if len(data) < size:
            raise EOFError("it ends too early")
        return data

    def lift_limits(self, checkpoint: Callable[[], None] | None = None) -> None:
        """Let the pixels be read, in as many pieces as they have; `checkpoint` is called before each."""
        self._reads_left = self.bytes_left = math.inf
        self._checkpoint = checkpoint


class Excerpt(io.RawIOBase):
    """A file made of parts of another, without a copy: what a photo carries and nobody needs is left out."""

    def __init__(self, file: BinaryIO, parts: Sequence[Part]) -> None:
        """Put `parts` one behind the other; they lie within `file`."""
        super().__init__()
        self._file = file
        self._parts = _joined(parts)
        lengths = [len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self._parts]
        self._starts = list(accumulate(lengths, initial=0))
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("there is nothing before the beginning")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read from one part; `read` of the buffered file goes on to the next."""
        if self._place >= self._starts[-1]:
            return 0
        number = bisect_right(self._starts, self._place) - 1
        part, inside = self._parts[number], self._place - self._starts[number]
        view = memoryview(buffer).cast("B")
        size = min(len(view), self._starts[number + 1] - self._place)
        if isinstance(part, bytes):
            data = part[inside : inside + size]
        else:
            self._file.seek(part[0] + inside)
            data = self._file.read(size)
        view[: len(data)] = data
        self._place += len(data)
        return len(data)


def excerpt(file: BinaryIO, parts: Sequence[Part]) -> BinaryIO:
    """Return a file that reads as `parts` of another, one behind the other."""
    return cast("BinaryIO", io.BufferedReader(Excerpt(file, parts), 1 << 16))


def patched(file: BinaryIO, patches: Mapping[int, bytes], size: int) -> BinaryIO:
    """Return a file of `size` bytes as another that has these bytes at these places."""
    place, parts = 0, list[Part]()
    for start, data in sorted(patches.items()):
        parts += [(place, start), data]
        place = start + len(data)
    return excerpt(file, [*parts, (place, size)])


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Join parts that follow each other, and leave out empty ones."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else b""
        if isinstance(part, tuple) and isinstance(last, tuple) and last[1] == part[0]:
            joined[-1] = (last[0], part[1])
        elif isinstance(part, bytes) and isinstance(last, bytes) and joined:
            joined[-1] = last + part
        elif part and not (isinstance(part, tuple) and part[0] >= part[1]):
            joined.append(part)
    return joined
