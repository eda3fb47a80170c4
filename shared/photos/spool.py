"""Bytes of unknown length on their way in: in memory while they are few, then on disk."""

import tempfile
from typing import BinaryIO, Final, Protocol, cast

from shared.photos.formats import too_many_bytes

SPOOL_BYTES: Final = 1 << 20  # more go to a temporary file
_BLOCK: Final = 1 << 16


class ByteSource(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        ...


def spooled(source: ByteSource, limit: int) -> BinaryIO:
    """Read `source` to its end into a file, which the caller closes.

    Raises:
        PhotoTooLargeError: it has more than `limit` bytes.
    """
    spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115
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
