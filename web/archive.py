"""The pictures of an album as one ZIP archive, streamed as it is made: with one picture at a time in memory."""

import errno
import json
import time
from collections.abc import Iterator
from typing import Final
from zipfile import ZIP_DEFLATED

import structlog
from zipstream import ZipStream

from shared.albums.record import Album, Entry
from shared.errors import UnavailableError
from shared.jobs.events import READ_BLOCK_S
from shared.jobs.record import ENDED, State
from shared.photos.filenames import UniqueNames, picture_name
from shared.services import Services
from shared.storage.base import MissingObjectError
from web.held_requests import Slot

FAILURES: Final = "failures.json"
STORE_RETRY_S: Final = 60  # while the store is down; on failure a client would have to download all pictures again
STORE_PAUSE_S: Final = 1

log = structlog.get_logger()


class BrokenOffError(Exception):
    """The server shuts down, or the album was erased: the archive is cut off, so that it is seen to be incomplete."""


def archive_of(services: Services, slot: Slot, album: Album) -> Iterator[bytes]:
    """Yield the archive: the pictures that are done, the rest as they finish, and the reasons of failures.

    Whatever ends it early is raised: the server then resets the connection, so that the archive is seen to be
    incomplete.
    """
    packing = _Packing(services, slot)
    after = services.albums.last_event(album.id)
    yield from packing.add_all(services.albums.entries(album.id))
    while services.albums.unfinished(album.id):
        _require_wanted(slot)
        events = services.albums.events(album.id, after=after, wait_s=READ_BLOCK_S)
        after = events[-1].id if events else after
        names = list(dict.fromkeys(event.name for event in events if event.state in ENDED))
        yield from packing.add_all(services.albums.get_many(album.id, names))
    yield from packing.add_all(services.albums.entries(album.id))  # in case an event was missed
    if not services.albums.exists(album.id):
        raise BrokenOffError
    yield from packing.close()


def _require_wanted(slot: Slot) -> None:
    """Stop an archive that is no longer wanted; a plain return would end it as if it were complete.

    Raises:
        BrokenPipeError: the client has disconnected, as a write to it would have shown.
        BrokenOffError: the server shuts down.
    """
    if slot.is_abandoned():
        raise BrokenPipeError(errno.EPIPE, "The client disconnected.")
    if not slot.pool.is_open():
        raise BrokenOffError


class _Packing:
    """The archive so far."""

    def __init__(self, services: Services, slot: Slot) -> None:
        self._services = services
        self._slot = slot
        # Not squeezed, since pictures are; but readers that go from the front find no end of an entry that is "stored".
        self._zipped = ZipStream(compress_type=ZIP_DEFLATED, compress_level=0)
        self._done: set[str] = set()
        self._names = UniqueNames(FAILURES)
        self._failures: dict[str, dict[str, str]] = {}

    def add_all(self, entries: Iterator[Entry]) -> Iterator[bytes]:
        for entry in entries:
            name, job = entry.item.name, entry.job
            if name in self._done or (job and not job.ended):
                continue
            self._done.add(name)
            if job and job.result:
                yield from self._add(name, job.result_key, job.format.extension)
            else:
                self._failures[name] = _reason(entry)

    def close(self) -> Iterator[bytes]:
        if self._failures:
            self._zipped.add(json.dumps(self._failures, indent=1, ensure_ascii=False).encode(), FAILURES)
        yield from self._zipped.finalize()

    def _add(self, name: str, key: str, extension: str) -> Iterator[bytes]:
        try:
            picture = self._read(key)
        except MissingObjectError as error:
            self._failures[name] = {"code": error.code, "title": error.title, "detail": error.detail}
            return
        self._zipped.add(picture, self._names.allocate(picture_name(name, extension)))
        yield from self._zipped.all_files()

    def _read(self, key: str) -> bytes:
        """Read a picture, retrying for `STORE_RETRY_S` while the store does not respond.

        Raises:
            MissingObjectError: there is none.
            UnavailableError: it could not be read completely.
        """
        give_up_at = time.monotonic() + STORE_RETRY_S
        while True:
            try:
                with self._services.store.open(key) as file:
                    return file.read()
            except (UnavailableError, OSError) as error:
                if time.monotonic() >= give_up_at:
                    raise
                log.warning("failed to read a picture for an archive; retrying", error=str(error))
            _require_wanted(self._slot)
            time.sleep(STORE_PAUSE_S)


def _reason(entry: Entry) -> dict[str, str]:
    error = entry.item.error or (entry.job.error if entry.job else None)
    if error:
        return error.model_dump()
    if entry.job and entry.job.state is State.CANCELED:
        return {"code": "canceled", "title": "The photo was canceled", "detail": "Retry the album to convert it."}
    return {"code": "expired", "title": "The picture has expired", "detail": "Send the photo again."}
