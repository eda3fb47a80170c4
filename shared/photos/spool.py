"""Bytes of unknown length on their way in: in memory while they are few, then on disk."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

import structlog

from shared.errors import UnavailableError
from shared.photos.formats import too_many_bytes

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SPOOL_BYTES: Final = 1 << 20  # more go to a temporary file
RETRY_S: Final = 30  # where there is no room, other uploads must end first
_BLOCK: Final = 1 << 16

log = structlog.get_logger()


class ByteSource(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        ...


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """A temporary file, in memory until it exceeds a size.

    Its methods close it and raise UnavailableError where the disk of temporary files has no room, or cannot be used.
    """

    def write(self, data: "ReadableBuffer") -> int:
        with self._closed_without_room():
            return super().write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._closed_without_room():  # what was written last may reach the disk only now
            return super().seek(offset, whence)

    def close(self) -> None:
        with suppress(OSError):  # likewise; nobody reads it any more
            super().close()

    @contextmanager
    def _closed_without_room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            log.error("cannot write to the folder of temporary files", error=str(error))  # noqa: TRY400
            raise UnavailableError(
                "The service has no room for uploads at the moment; please try again later.", retry_after_s=RETRY_S
            ) from error


def spooled(source: ByteSource, limit: int) -> BinaryIO:
    """Read `source` to its end into a file, which the caller closes.

    Raises:
        PhotoTooLargeError: it has more than `limit` bytes.
    """
    spool = cast("BinaryIO", Spool(SPOOL_BYTES))
    try:
        _copy(source, spool, limit)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def _copy(source: ByteSource, spool: BinaryIO, limit: int) -> None:
    while block := source.read(_BLOCK):
        spool.write(block)
        if spool.tell() > limit:
            raise too_many_bytes(limit)
