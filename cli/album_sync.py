"""Keeping a folder and an album on a server in step: photos are uploaded while pictures are downloaded."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePath
from threading import Lock
from typing import Final

from cli.answers import RemoteAlbum, RemotePhoto
from cli.bars import Bars
from cli.ledger import Ledger
from cli.outcomes import print_problem
from cli.pictures import Task, digest_of, safe_path, write
from cli.remote import RefusedError, Remote
from cli.submit import reason
from shared.errors import DamagedPhotoError, QuotaExceededError
from shared.jobs.record import ENDED, ErrorInfo, State, error_info
from shared.photos.filenames import with_ending

AT_ONCE: Final = 4  # concurrent uploads, and as many downloads
LOOK_S: Final = 1.0

Copies = Mapping[str, list[Task]]
"""Tasks by the digest of their photo; photos of the same content are one to the server."""
Failures = dict[Path, ErrorInfo]


class AlbumSync:
    """Uploads photos and downloads pictures until all have finished."""

    def __init__(
        self,
        remote: Remote,
        album_id: str,
        copies: Copies,
        held: list[RemotePhoto],
        ledger: Ledger,
        failures: Failures,
        bars: Bars,
    ) -> None:
        """Sync `copies` with an album of `held`; record success in `ledger` and failure in `failures`."""
        self._remote = remote
        self._album_id = album_id
        self._copies = copies
        self._held = held
        self._ledger = ledger
        self._failures = failures
        self._bars = bars
        self._name_lock = Lock()  # two pictures that want a number do not get the same; holds the ledger still
        self._pending = set(copies)
        self._missing: set[str] = set()  # what the album lacked when this began
        self._unsent: set[str] = set()
        self._used_up: ErrorInfo | None = None  # the caller's quota: nothing more is sent
        self._cursor = 0  # before it, all photos of the album have ended and been looked at
        self._senders = ThreadPoolExecutor(AT_ONCE)
        self._fetchers = ThreadPoolExecutor(AT_ONCE)

    def run(self) -> None:
        """Upload what is missing and download what is done.

        Raises:
            SakugaError: the server, or the album, is no longer there.
        """
        try:
            self._follow(self._send_missing())
        except BaseException:
            self._remote.stop()
            raise
        finally:
            for pool in (self._senders, self._fetchers):
                pool.shutdown(cancel_futures=True)
        for digest in list(self._pending):
            self._fail(digest, _lost())

    def _send_missing(self) -> list[Future[None]]:
        held = [one for one in self._held if one.sha256 in self._copies]
        missing = self._remote.missing(self._album_id, list(self._copies))
        missing |= {one.sha256 for one in held if one.sha256 and one.must_be_sent_again}
        self._missing, self._unsent = missing, set(missing)
        wanted = {digest: some[0].photo.name.as_posix() for digest, some in self._copies.items() if digest in missing}
        names = upload_names(wanted, {one.name: one.sha256 for one in held})
        return [self._senders.submit(self._send, digest, name) for digest, name in names.items()]

    def _send(self, digest: str, name: str) -> None:
        path = self._copies[digest][0].photo.path
        try:
            photo = path.read_bytes()
            if self._used_up:
                self._fail(digest, self._used_up)
            elif hashlib.sha256(photo).hexdigest() != digest:
                self._fail(digest, _changed())
            else:
                self._remote.put_photo(self._album_id, name, photo)
        except RefusedError as error:
            self._used_up = error.problem if error.problem.code == QuotaExceededError.code else self._used_up
            self._fail(digest, error.problem)
        except OSError as error:
            self._fail(digest, unreadable(error.strerror or str(error)))
        self._unsent.discard(digest)

    def _follow(self, sending: list[Future[None]]) -> None:
        before = self._bars.done
        while True:
            sent = [future for future in sending if future.done()]
            for future in sent:
                future.result()  # raises why nothing more can be sent
            album = self._remote.album(self._album_id)
            all_sent = len(sent) == len(sending)
            self._fetch_ended(everything=all_sent and not album.unfinished)
            done = {digest: some for digest, some in self._copies.items() if digest not in self._pending}
            self._bars.show_sent(len(sent), len(sending))
            self._bars.show_done(before + photos_of(done), _left(album))
            if all_sent and not (self._pending and album.unfinished):
                return
            self._remote.pause(LOOK_S)

    def _fetch_ended(self, *, everything: bool) -> None:
        """Download what is done, reading no further than the work has progressed, unless `everything`."""
        cursor: int | None = 0 if everything else self._cursor
        behind = True
        while cursor is not None:
            page = self._remote.photos(self._album_id, cursor)
            ended = [one for one in page.photos if one.state in ENDED]
            self._settle(ended)
            cursor = page.next_cursor
            behind = behind and len(ended) == len(page.photos)
            if behind and cursor is not None:
                self._cursor = cursor
            if not ended and not everything:
                return

    def _settle(self, ended: list[RemotePhoto]) -> None:
        awaited = self._pending - self._unsent
        news = {one.sha256: one for one in ended if one.sha256 in awaited and not self._was_sent_again(one)}
        for _ in self._fetchers.map(self._fetch, news, news.values()):
            pass  # raises what one of them did

    def _was_sent_again(self, photo: RemotePhoto) -> bool:
        """Return whether this is a photo that was sent again; under another name, the album lists both."""
        return photo.must_be_sent_again and photo.sha256 in self._missing

    def _fetch(self, digest: str, photo: RemotePhoto) -> None:
        job = photo.job
        if photo.state is not State.SUCCEEDED or job is None or job.result is None:
            self._fail(digest, reason(photo.state, photo.error))
            return
        try:
            with self._name_lock:
                places = [self._ledger.place(task.photo, job.result.sha256) for task in self._copies[digest]]
            absent = [place for place in places if digest_of(place) != job.result.sha256]
            picture = self._remote.picture(job) if absent else b""
            for place in absent:
                write(place, picture)
        except RefusedError as error:
            self._fail(digest, error.problem)
        except DamagedPhotoError as error:
            self._fail(digest, error_info(error))
        except OSError as error:
            self._fail(digest, unreadable(error.strerror or str(error)))
        else:
            with self._name_lock:
                self._ledger.done[digest] = job.result.sha256
            self._pending.discard(digest)
            for note in job.notes:
                print_problem(self._bars.console, self._copies[digest][0].photo.path, note, colour="yellow")

    def _fail(self, digest: str, error: ErrorInfo) -> None:
        self._failures.update({task.photo.path: error for task in self._copies[digest]})
        self._pending.discard(digest)


def upload_names(wanted: Mapping[str, str], held: Mapping[str, str | None]) -> dict[str, str]:
    """Return unique names for photos in the album, by digest; `held` are the digests there, by name.

    Names differ here that are the same once they are safe everywhere, like `a:b.jpg` and `a?b.jpg`.
    """
    taken = dict(held)
    names: dict[str, str] = {}
    for digest, raw in wanted.items():
        name = safe_path(PurePath(raw)).as_posix()
        if taken.get(name, digest) != digest:
            name = with_ending(name, f"-{digest[:8]}")
        taken[name], names[digest] = digest, name
    return names


def photos_of(copies: Copies) -> int:
    """Return how many photos there are, copies included."""
    return sum(map(len, copies.values()))


def _left(album: RemoteAlbum) -> str:
    if not album.unfinished:
        return ""
    if album.eta_s is None:
        return "no worker running"
    minutes, seconds = divmod(round(album.eta_s), 60)
    return f"{minutes} min left" if minutes else f"{seconds} s left"


def unreadable(why: str) -> ErrorInfo:
    """Return the error for a file of which the system said `why`."""
    return ErrorInfo(code="unreadable", title="The file cannot be read or written", detail=why)


def _changed() -> ErrorInfo:
    detail = "It changed before it was uploaded; run the command again."
    return ErrorInfo(code="changed", title="The photo has changed", detail=detail)


def _lost() -> ErrorInfo:
    return ErrorInfo(
        code="lost",
        title="The photo is no longer in the album",
        detail="The album no longer has it; run the command again.",
    )
