"""Safe reading of untrusted ZIP archives: nothing is unpacked that could be a bomb or a link.

This is the only module that uses private parts of `zipfile`.
"""

import stat
import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from shared.errors import ArchiveError, DamagedPhotoError
from shared.photos.formats import too_many_bytes
from shared.photos.spool import SPOOL_BYTES, spooled

MAX_ENTRIES: Final = 20_000  # of an archive, whatever they are
MAX_RATIO: Final = 200  # of unpacked to packed bytes; photos hardly shrink, bombs do
MAX_DIRECTORY_BYTES: Final = 16 << 20
# Of the others zipfile unpacks in one go whatever 64 KiB hold: 1,300 bytes of bzip2 took 3.4 GB.
_PACKINGS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,  # of an unknown way of packing, too
    ValueError,  # of names in no script, and of places before the beginning
)


def open_archive(archive: BinaryIO) -> zipfile.ZipFile:
    """Open a ZIP archive.

    Raises:
        ArchiveError: it is not a ZIP archive, or has too many entries.
    """
    try:
        end = zipfile._EndRecData(archive)  # type: ignore[attr-defined]  # noqa: SLF001  before all entries are read
        if end and end[zipfile._ECD_SIZE] > MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]  # noqa: SLF001
            raise ArchiveError(f"An archive may have at most {MAX_ENTRIES} entries.")
        opened = zipfile.ZipFile(archive)
    except _UNREADABLE as error:
        raise ArchiveError("This is not a ZIP archive, or the upload was incomplete.") from error
    if len(opened.infolist()) > MAX_ENTRIES:
        raise ArchiveError(f"An archive may have at most {MAX_ENTRIES} entries.")
    return opened


def name_in(entry: zipfile.ZipInfo) -> str:
    """Return the name of an entry; without the UTF-8 flag it may still be UTF-8, or code page 437 from old tools."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.orig_filename.encode("cp437").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        return entry.filename


def unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most_bytes: int) -> BinaryIO:
    """Unpack an entry, whatever size its header claims.

    Raises:
        SakugaError: why it cannot be accepted as a photo.
    """
    _require_harmless(entry, most_bytes)
    try:
        with archive.open(entry) as packed:
            return spooled(packed, most_bytes)
    except _UNREADABLE as error:
        raise DamagedPhotoError("It is damaged, or compressed with an unsupported method.") from error


def _require_harmless(entry: zipfile.ZipInfo, most_bytes: int) -> None:
    if entry.flag_bits & 0x1:
        raise ArchiveError("It is encrypted; create the archive without a password.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ArchiveError("It is a symbolic link, not a photo.")
    if entry.compress_type not in _PACKINGS:
        raise ArchiveError("Unsupported compression; use deflate.")
    if entry.file_size > most_bytes:
        raise too_many_bytes(most_bytes)
    if entry.file_size > MAX_RATIO * max(1, entry.compress_size) and entry.file_size > SPOOL_BYTES:
        raise ArchiveError("It unpacks to far more data than a photo would.")
