"""Safe reading of untrusted ZIP archives: nothing is unpacked that could be a bomb or a link.

This is the only module that uses private parts of `zipfile`.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import SEEK_END
from typing import BinaryIO, Final

from shared.errors import ArchiveError, DamagedPhotoError
from shared.photos.filenames import is_archive_name
from shared.photos.formats import too_many_bytes
from shared.photos.spool import SPOOL_BYTES, spooled
from shared.usecases.entry_names import entry_names

MAX_ENTRIES: Final = 20_000  # of the archives of one request, whatever they are
MAX_RATIO: Final = 200  # of unpacked to packed bytes; photos hardly shrink, bombs do
MAX_DIRECTORY_BYTES: Final = 16 << 20
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
    """What the archives of one request may still hold, all of them together."""

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
        end = zipfile._EndRecData(archive)  # type: ignore[attr-defined]  # noqa: SLF001  before all entries are read
        allowance.directory_bytes -= end[zipfile._ECD_SIZE] if end else 0  # type: ignore[attr-defined]  # noqa: SLF001
        if allowance.directory_bytes < 0:
            raise _too_many_entries()
        opened = zipfile.ZipFile(archive)
    except UnicodeDecodeError as error:
        raise ArchiveError("A name in this archive is marked as UTF-8 but is not; create the archive again.") from error
    except _UNREADABLE as error:
        raise ArchiveError("This is not a ZIP archive, or the upload was incomplete.") from error
    allowance.entries -= len(opened.infolist())
    if allowance.entries < 0:
        raise _too_many_entries()
    return opened


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


def unpack(archive: zipfile.ZipFile, file: ArchivedFile, most_bytes: int, allowance: Allowance) -> BinaryIO:
    """Unpack a file of at most `most_bytes`, whatever size its header claims.

    Raises:
        SakugaError: why it cannot be accepted as a photo.
    """
    _require_harmless(file, most_bytes, allowance)
    try:
        with archive.open(file.entry) as packed:
            photo = spooled(packed, most_bytes)
    except _UNREADABLE as error:
        raise DamagedPhotoError("It is damaged, or compressed with an unsupported method.") from error
    allowance.unpacked_bytes -= photo.seek(0, SEEK_END)
    photo.seek(0)
    return photo


def _require_harmless(file: ArchivedFile, most_bytes: int, allowance: Allowance) -> None:
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
    if entry.file_size > most_bytes:
        raise too_many_bytes(most_bytes)
    if is_bomb:
        raise ArchiveError("It unpacks to far more data than a photo would.")
    if entry.file_size > allowance.unpacked_bytes:
        raise ArchiveError("The archives of this upload unpack to too much data; send the rest in another one.")
