"""Uploading photos into an album, under safe names.

No file is ever written under a name from outside: names identify photos in their album, and in the archive that is
downloaded.
"""

from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final

from shared.albums.record import Album, Item
from shared.albums.walks import Action
from shared.conversion import Options
from shared.errors import (
    AlbumFullError,
    InvalidValueError,
    SakugaError,
    UnknownAlbumError,
    UnknownJobError,
)
from shared.files import stream_sha256
from shared.jobs.record import Job, Lane, State, error_info, new_id
from shared.photos.filenames import safe_name, with_number
from shared.services import Services
from shared.usecases.jobs import erase
from shared.usecases.submit import Order, submit
from shared.usecases.walks import walk_album

LOOK_AHEAD: Final = 100  # numbers of a name at a time
_REMEMBERED: Final = {413, 415, 422}  # a retry cannot help


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The outcome of one upload: a job, or the error."""

    name: str
    job: Job | None = None
    error: SakugaError | None = None

    def require_job(self) -> Job:
        """Return the job; raise the error if there is none."""
        if self.job is None:
            raise self.error or InvalidValueError("There is no photo.")
        return self.job


class _Series:
    """The numbers of one name: what was found under each so far, and the first unknown one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._number = 1
        self._found: dict[Hashable, list[str]] = {}

    def candidates(self, content: Hashable) -> Iterator[str]:
        """Yield the names where `content` was found, then unknown ones; asking for the next means that one is taken."""
        while True:
            while names := self._found.get(content):
                yield names[0]
                names.pop(0)
            yield with_number(self._name, self._number)

    def found(self, name: str, content: Hashable) -> None:
        """Remember what is under the first unknown name; of others it is known."""
        if name == with_number(self._name, self._number):
            self._found.setdefault(content, []).append(name)
            self._number += 1

    def ahead(self, count: int) -> list[str]:
        """Return the first `count` unknown names."""
        return [with_number(self._name, number) for number in range(self._number, self._number + count)]


class Numbering:
    """The content that one upload has found under numbered names, so that it tries none of them twice."""

    def __init__(self) -> None:
        self._photos: dict[str, _Series] = {}
        self._refusals: dict[str, _Series] = {}

    def photos(self, name: str) -> _Series:
        """Return the numbers of a name by the SHA-256 of the photos there."""
        return self._photos.setdefault(name, _Series(name))

    def refusals(self, name: str) -> _Series:
        """Return the numbers of a name by the reasons why there is no photo."""
        return self._refusals.setdefault(name, _Series(name))


def replace_photo(services: Services, album: Album, name: str, photo: BinaryIO) -> UploadResult:
    """Add one photo under `name` in place of any other; the same photo is added only once.

    One that has expired is added again. A photo that no retry can help is recorded with the reason.
    """
    item = Item(safe_name(name), new_id(), stream_sha256(photo))
    with services.albums.locked_name(album.id, item.name) as before:
        earlier = _job_of(services, before)
        if earlier and _content(earlier) == item.sha256:
            return UploadResult(item.name, earlier)
        return _accept(services, album, item, photo, before=before, earlier=earlier)


def add_photo(services: Services, album: Album, name: str, photo: BinaryIO, numbering: Numbering) -> UploadResult:
    """Add one photo under `name`, with a number if another photo has that name; otherwise like `replace_photo`."""
    sha256 = stream_sha256(photo)
    series = numbering.photos(safe_name(name))
    for wanted in series.candidates(sha256):
        with services.albums.locked_name(album.id, wanted) as before:
            earlier = _job_of(services, before)
            content = _content(earlier) if earlier else None
            if content == sha256:
                return UploadResult(wanted, earlier)
            if content is None:
                item = Item(wanted, new_id(), sha256)
                taken = _accept(services, album, item, photo, before=before, earlier=earlier)
                if taken.job:
                    series.found(wanted, sha256)
                return taken
            series.found(wanted, content)
        _look_ahead(services, album, series)
    raise AssertionError  # numbers do not end


def _look_ahead(services: Services, album: Album, series: _Series) -> None:
    """Skip taken numbers without locking each; a free one is checked again under its own lock."""
    while True:
        names = series.ahead(LOOK_AHEAD)
        jobs = {entry.item.name: entry.job for entry in services.albums.get_many(album.id, names)}
        for name in names:
            job = jobs.get(name)
            content = _content(job) if job else None
            if content is None:
                return
            series.found(name, content)


def _job_of(services: Services, item: Item | None) -> Job | None:
    return services.jobs.find(item.job_id) if item and item.job_id else None


def _content(job: Job) -> str | None:
    """Return the SHA-256 of a job's photo, which keeps its name taken until the job expires."""
    return None if job.state is State.EXPIRED else job.photo.sha256


def _accept(
    services: Services, album: Album, item: Item, photo: BinaryIO, *, before: Item | None, earlier: Job | None
) -> UploadResult:
    """Add a photo, and erase the one that was there."""
    taken = _add(services, album, item, before, photo)
    if earlier and (taken.job or is_final(taken.error)):
        erase(services, earlier.id)
    return taken


def _add(services: Services, album: Album, item: Item, before: Item | None, photo: BinaryIO) -> UploadResult:
    photo.seek(0)
    order = Order(
        style=album.style,
        options=Options(album.max_side, album.format, album.faces),
        caller=album.caller,
        lane=Lane.BULK,
        album=album.id,
        name=item.name,
        job_id=item.job_id,
        sha256=item.sha256,
        keep_photo=album.keep_photos,
    )
    pending = Item(item.name, item.job_id)  # written first: a crash in between leaves no job without a name
    try:
        require_room(services, album, is_new=before is None)
        services.albums.put(album, pending, before)
        job = submit(services, photo, order)
    except SakugaError as error:
        taken = _refused(services, album, item, error, before)
    else:
        services.albums.put(album, item, pending, expires_at=job.expires_at)
        taken = UploadResult(item.name, job)
    _require_there(services, album, item, before)
    return taken


def _require_there(services: Services, album: Album, item: Item, before: Item | None) -> None:
    """Leave nothing in an album that was erased during an upload: the deletion may not have seen the photo.

    Raises:
        UnknownAlbumError: it was erased.
    """
    if services.albums.exists(album.id):
        return
    for job_id in (item.job_id, before and before.job_id):
        if job_id:
            with suppress(UnknownJobError):
                erase(services, job_id)
    # With the others, which whoever erases it would no longer find, were this to go first.
    walk_album(services, album, Action.ERASE)
    raise UnknownAlbumError("The album was deleted.")


def _refused(services: Services, album: Album, item: Item, error: SakugaError, before: Item | None) -> UploadResult:
    """Record why a photo was rejected, with its digest, unless a retry may help."""
    pending = Item(item.name, item.job_id)
    if is_final(error):
        services.albums.put(album, Item(item.name, sha256=item.sha256, error=error_info(error)), pending)
    elif before:
        services.albums.put(album, before, pending)
    else:
        services.albums.drop(album.id, item.name)
    return UploadResult(item.name, error=error)


def require_room(services: Services, album: Album, *, is_new: bool = True) -> None:
    """Refuse a photo that the album or Redis has no room for; recording a rejection takes room like a photo."""
    if is_new:
        services.albums.require_room(album.id)
    services.admission.require_memory(album.caller)


def is_final(error: SakugaError | None) -> bool:
    """Return whether the photo itself is the cause, and not a full album or queue."""
    return error is not None and error.status in _REMEMBERED and not isinstance(error, AlbumFullError)
