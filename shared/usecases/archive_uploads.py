"""Uploading the photos of ZIP archives into an album: every file is accepted, rejected or skipped, with the reason."""

import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import BinaryIO

from shared.albums.record import Album, Item
from shared.errors import (
    AlbumFullError,
    ArchiveError,
    QueueFullError,
    SakugaError,
    UnknownAlbumError,
    UnreadPhotoError,
)
from shared.jobs.record import error_info
from shared.photos.filenames import is_archive_name, is_clutter, is_photo_name, safe_name
from shared.photos.inspection import inspect
from shared.services import Services
from shared.usecases.archives import Allowance, ArchivedFile, files_in, open_archive, unpack
from shared.usecases.uploads import Numbering, UploadResult, add_photo, is_final, require_room


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file of an archive that counts neither as a photo nor as a failure, and why."""

    name: str
    code: str  # of an error, or HIDDEN
    detail: str


HIDDEN = "hidden"


class ArchiveUpload:
    """The archives of one request, which share its allowance."""

    def __init__(self, services: Services, album: Album, numbering: Numbering) -> None:
        self._services = services
        self._album = album
        self._numbering = numbering
        self._allowance = Allowance(services.settings.max_album_upload_bytes)
        # Why nothing more is taken; to ask again for each of thousands would cost more.
        self._full: SakugaError | None = None

    def add(self, archive: BinaryIO) -> Iterator[UploadResult | Skipped]:
        """Add every photo of a ZIP archive, one after the other.

        As in a folder, files that are neither photos nor named like one are skipped; those only named like one are
        rejected.

        Raises:
            ArchiveError: it is not a ZIP archive, is too large, or contains no photos.
            UnknownAlbumError: the album was deleted.
        """
        is_empty = True
        with open_archive(archive, self._allowance) as opened:
            for file in files_in(opened):
                outcome = self._add(opened, file)
                is_empty = is_empty and isinstance(outcome, Skipped)
                yield outcome
        if is_empty:
            raise ArchiveError("This archive contains no photos.")

    def _add(self, opened: zipfile.ZipFile, file: ArchivedFile) -> UploadResult | Skipped:
        name = safe_name(file.name, otherwise="photo")
        if is_clutter(file.name):
            return Skipped(name, HIDDEN, "It is hidden, or kept beside photos by a system or a program.")
        try:
            return self._add_photo(opened, file, name)
        except UnknownAlbumError:
            raise  # it was erased meanwhile: the others cannot be added either
        except SakugaError as error:
            if not is_final(error):
                return UploadResult(name, error=error)  # it may be taken the next time
            if not (_is_expected(name) or isinstance(error, UnreadPhotoError)):
                return Skipped(name, error.code, error.detail)
            return self._refuse(name, error)

    def _add_photo(self, opened: zipfile.ZipFile, file: ArchivedFile, name: str) -> UploadResult:
        with closing(unpack(opened, file, self._services.settings.max_upload_bytes, self._allowance)) as photo:
            if not is_photo_name(name):
                inspect(photo, self._services.limits)
                photo.seek(0)
            if self._full and not self._is_taken(name):
                return UploadResult(name, error=self._full)
            taken = add_photo(self._services, self._album, name, photo, self._numbering)
            self._full = taken.error if isinstance(taken.error, AlbumFullError) else self._full
            return taken

    def _is_taken(self, name: str) -> bool:
        """Return whether the album has a photo of this name, which may be the same."""
        return any(True for _ in self._services.albums.get_many(self._album.id, [name]))

    def _refuse(self, name: str, error: SakugaError) -> UploadResult:
        """Record why a file is not a photo, under its name or, if that is taken, a number."""
        if self._full:
            return UploadResult(name, error=self._full)
        item = Item(name, error=error_info(error))
        series = self._numbering.refusals(name)
        for wanted in series.candidates(item.error):
            with self._services.albums.locked_name(self._album.id, wanted) as before:
                if before and before.error == item.error:
                    return UploadResult(wanted, error=error)
                if before:
                    series.found(wanted, before.error)
                    continue
                try:
                    require_room(self._services, self._album)
                except (AlbumFullError, QueueFullError) as full:
                    self._full = full
                    return UploadResult(wanted, error=full)
                self._services.albums.put(self._album, replace(item, name=wanted), None)
                series.found(wanted, item.error)
                return UploadResult(wanted, error=error)
        raise AssertionError  # numbers do not end


def _is_expected(name: str) -> bool:
    """Return whether a file's name promises photos."""
    return is_photo_name(name) or is_archive_name(name)
