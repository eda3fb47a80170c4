"""Safe reading of untrusted ZIP archives: nothing is unpacked that could be a bomb or a link.

This is the only module that uses private parts of `zipfile`.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from shared.errors import ArchiveError, DamagedPhotoError
from shared.photos.filenames import is_archive_name
from shared.photos.formats import too_many_bytes
from shared.photos.spool import SPOOL_BYTES, spooled
from shared.usecases.entry_names import entry_names

MAX_ENTRIES: Final = 20_000  # of the archives of one request, whatever they are
MAX_RATIO: Final = 200  # of unpacked to packed bytes; photos hardly shrink, bombs do
MAX_DIRECTORY_BYTES: Final = 16 << 20
_ENTRY: Final = b"PK\1\2"  # how each entry of the directory begins
_LARGE_END_BYTES: Final = 76  # of the records that an archive in the format ZIP64 has behind its directory
_LOCAL_HEADER_BYTES: Final = 30  # without the name
_DOS_FOLDER: Final = 0x10
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
    ValueError,  # of places before the beginning
)


@dataclass(slots=True)
class Allowance:
    """The room that is left for the archives of one request, all of them together."""

    unpacked_bytes: int
    entries: int = MAX_ENTRIES
    directory_bytes: int = MAX_DIRECTORY_BYTES


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file in an archive: its name, and its entry."""

    name: str
    entry: zipfile.ZipInfo
    is_overlapping: bool


def open_archive(archive: BinaryIO, allowance: Allowance) -> zipfile.ZipFile:
    """Open a ZIP archive.

    Raises:
        ArchiveError: it is not a ZIP archive, or has too many entries.
    """
    try:
        _require_small_directory(archive, allowance)
        opened = zipfile.ZipFile(archive)
    except UnicodeDecodeError as error:
        raise ArchiveError("A name in this archive is marked as UTF-8 but is not; create the archive again.") from error
    except _UNREADABLE as error:
        raise ArchiveError("This is not a ZIP archive, or the upload was incomplete.") from error
    allowance.entries -= len(opened.infolist())
    if allowance.entries < 0:
        raise _too_many_entries()
    return opened


def _require_small_directory(archive: BinaryIO, allowance: Allowance) -> None:
    """Refuse an archive with too many entries before an object is made of each, whatever number it claims.

    Raises:
        ArchiveError: it has.
    """
    if not (end := zipfile._EndRecData(archive)):  # type: ignore[attr-defined]  # noqa: SLF001
        return
    size, behind = end[zipfile._ECD_SIZE], end[zipfile._ECD_LOCATION]  # type: ignore[attr-defined]  # noqa: SLF001
    allowance.directory_bytes -= size
    if allowance.directory_bytes < 0:
        raise _too_many_entries()
    start = max(0, behind - size - _LARGE_END_BYTES)
    archive.seek(start)
    if archive.read(behind - start).count(_ENTRY) > allowance.entries:
        raise _too_many_entries()


def _too_many_entries() -> ArchiveError:
    return ArchiveError(f"The archives of one upload may have at most {MAX_ENTRIES} entries; send fewer at a time.")


def files_in(archive: zipfile.ZipFile) -> Iterator[ArchivedFile]:
    """Yield the files of an archive under their own names, which may have either slash between their parts."""
    entries = archive.infolist()
    overlapping = _overlapping(entries, archive.start_dir)
    for entry, name in zip(entries, entry_names(entries), strict=True):
        if not _is_folder(entry, name):
            yield ArchivedFile(name, entry, id(entry) in overlapping)


def _is_folder(entry: zipfile.ZipInfo, name: str) -> bool:
    is_marked = stat.S_ISDIR(entry.external_attr >> 16) or entry.external_attr & _DOS_FOLDER
    return entry.file_size == 0 and (name.endswith(("/", "\\")) or bool(is_marked))


def _overlapping(entries: list[zipfile.ZipInfo], end: int) -> set[int]:
    """Return the ids of entries that reach into the next: a way to make a bomb of few bytes."""
    found = set()
    for entry in sorted(entries, key=lambda entry: entry.header_offset, reverse=True):
        if entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size > end:
            found.add(id(entry))
        end = min(end, entry.header_offset)
    return found


def unpack(archive: zipfile.ZipFile, file: ArchivedFile, max_bytes: int, allowance: Allowance) -> BinaryIO:
    """Unpack a file of at most `max_bytes`, whatever size its header claims.

    Raises:
        SakugaError: why it cannot be accepted as a photo.
    """
    _require_harmless(file, max_bytes, allowance)
    allowance.unpacked_bytes -= file.entry.file_size  # no more is unpacked, and a damaged one costs as much
    try:
        with archive.open(file.entry) as packed:
            return spooled(packed, max_bytes)
    except _UNREADABLE as error:
        raise DamagedPhotoError("It is damaged, or compressed with an unsupported method.") from error


def _require_harmless(file: ArchivedFile, max_bytes: int, allowance: Allowance) -> None:
    entry = file.entry
    kind = stat.S_IFMT(entry.external_attr >> 16)  # none where it was made on a system without
    is_bomb = entry.file_size > MAX_RATIO * max(1, entry.compress_size) and entry.file_size > SPOOL_BYTES
    faults = {
        "It is an archive inside an archive; unpack it, or send it on its own.": is_archive_name(file.name),
        "It is encrypted; create the archive without a password.": entry.flag_bits & 0x1,
        "It is a symbolic link, not a photo.": kind == stat.S_IFLNK,
        "It is not a regular file.": kind not in {0, stat.S_IFREG, stat.S_IFLNK},
        "Unsupported compression; use deflate.": entry.compress_type not in _PACKINGS,
        "Its data overlaps that of another file; create the archive again.": file.is_overlapping,
    }
    for reason, is_so in faults.items():
        if is_so:
            raise ArchiveError(reason)
    if entry.file_size > max_bytes:
        raise too_many_bytes(max_bytes)
    if is_bomb:
        raise ArchiveError("It unpacks to far more data than a photo would.")
    if entry.file_size > allowance.unpacked_bytes:
        raise ArchiveError("The archives of this upload unpack to too much data; send the rest in another one.")
