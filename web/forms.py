"""The files of a multipart form, all in one temporary file: however many there are, a request opens no more."""

import io
from functools import cached_property
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from flask import Request

from shared.photos.spool import Spool

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

SPOOLED_BYTES: Final = 64 << 10  # of all files together in memory; more go to disk


class SpoolingRequest(Request):
    """Keeps all but small forms on disk: an upload of many photos takes no memory, and a single open file."""

    @cached_property
    def _spool(self) -> BinaryIO:
        return cast("BinaryIO", Spool(SPOOLED_BYTES))

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return FormFile(self._spool)

    def close(self) -> None:
        """Close the form's files; Flask does so at the end of the request."""
        super().close()
        if "_spool" in vars(self):
            self._spool.close()


class FormFile(io.RawIOBase, BinaryIO):
    """One file of a form: a part of the spool. It can be written until the next one begins."""

    def __init__(self, spool: BinaryIO) -> None:
        """Begin at the end of `spool`."""
        self._spool = spool
        self._start = spool.seek(0, io.SEEK_END)
        self._size = self._place = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a place of this file and return it.

        Raises:
            ValueError: it is before the beginning.
        """
        place = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence] + offset
        if place < 0:
            raise ValueError(f"negative seek position {place}")
        self._place = place
        return place

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read as many bytes as there are and `buffer` takes."""
        into = memoryview(buffer).cast("B")
        self._spool.seek(self._start + self._place)
        data = self._spool.read(max(0, min(len(into), self._size - self._place)))
        into[: len(data)] = data
        self._place += len(data)
        return len(data)

    def write(self, data: "ReadableBuffer", /) -> int:
        """Append `data`, wherever this file was read."""
        self._spool.seek(self._start + self._size)
        count = self._spool.write(data)
        self._size += count
        self._place = self._size
        return count
