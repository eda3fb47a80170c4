"""`sakuga album`: a folder of photos, converted by a server while the rest is being sent.

Photos are known by their content: each is sent once, whatever it is called and however often the command is run.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from itertools import islice
from pathlib import Path, PurePath
from threading import Lock
from typing import Final

from rich.console import Console
from rich.markup import escape

from cli.bars import Bars
from cli.ledger import Ledger, open_ledger
from cli.outcomes import print_problem, renamed
from cli.photos import Found, find
from cli.pictures import Task, digest_of, make_folder, safe_path, write
from cli.remote import Fields, RefusedError, Remote, RemoteAlbum, RemoteLimits, RemotePhoto
from cli.submit import reason, require_sendable
from cli.words import counted
from shared.albums.walks import Action
from shared.errors import DamagedPhotoError, InvalidValueError, QuotaExceededError, SakugaError
from shared.jobs.record import ENDED, ErrorInfo, State, error_info
from shared.photos.filenames import with_ending
from shared.photos.formats import Limits

AT_ONCE: Final = 4  # concurrent uploads, and as many downloads
LOOK_S: Final = 1.0
FAILURES: Final = "failures.json"

Copies = Mapping[str, list[Task]]
"""Tasks by the digest of their photo; photos of the same content are one to the server."""
Failures = dict[Path, ErrorInfo]


def convert_album(
    folder: Path, output: Path, fields: Fields, extension: str, remote: Remote, console: Console, *, replace: bool
) -> int:
    """Convert a folder of photos, or resume an earlier run; return the exit code.

    Raises:
        SakugaError: there is no server, there are no photos, or the output folder cannot be used.
        OSError: the output folder cannot be created or written to.
    """
    try:
        limits = remote.limits()  # says at once that no server is there, however much there is to look through
        found = _found(folder, output)
        ledger = open_ledger(output, folder)
        ledger.choose(remote.url, fields, replace=replace)
        make_folder(output)
        return _convert_album(folder, found, ledger, extension, remote, limits, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped. {remote.url} keeps converting the photos it has. Run the same command again to upload the rest "
            "and download the pictures."
        ) from None


def _found(folder: Path, output: Path) -> Found:
    found = find([folder], output=output)
    if not found.photos:
        reasons = "; ".join(f"{path}: {why}" for path, why in found.obstacles.items())
        raise InvalidValueError(f"{reasons}{found.remark}.")
    return found


def _convert_album(
    folder: Path,
    found: Found,
    ledger: Ledger,
    extension: str,
    remote: Remote,
    limits: RemoteLimits,
    console: Console,
) -> int:
    tasks = ledger.plan(found.photos, extension)
    failures: Failures = {path: _unreadable(what) for path, what in found.obstacles.items()}
    copies = _by_content(tasks, limits.of_photo, failures, console)
    waiting = {digest: some for digest, some in copies.items() if not _are_there(some, ledger.done.get(digest))}
    albums = _albums(remote, ledger, folder.resolve().name)
    with Bars(console, total=_photos_of(copies), done=_photos_of(copies) - _photos_of(waiting)) as bars:
        while waiting:
            album = next(albums)
            ledger.save()
            held = list(remote.all_photos(album.id))
            some = _that_fit(waiting, held, limits.max_album_photos)
            try:
                AlbumSync(remote, album.id, some, held, ledger, failures, bars).run()
            finally:
                ledger.save()
            waiting = {digest: tasks for digest, tasks in waiting.items() if digest not in some}
    _report(ledger.tasks(found.photos), failures, folder, ledger.folder, found.remark, console)
    return 1 if failures else 0


def _by_content(tasks: list[Task], limits: Limits, failures: Failures, console: Console) -> dict[str, list[Task]]:
    """Read every photo, and leave out those that the server would reject."""
    copies: dict[str, list[Task]] = {}
    with console.status("") as status:
        for number, task in enumerate(tasks, 1):
            status.update(f"Reading photos: {number} of {len(tasks)}")
            try:
                copies.setdefault(require_sendable(task.photo.path, limits), []).append(task)
            except SakugaError as error:
                failures[task.photo.path] = error_info(error)
            except OSError as error:
                failures[task.photo.path] = _unreadable(error.strerror or str(error))
    return copies


def _albums(remote: Remote, ledger: Ledger, name: str) -> Iterator[RemoteAlbum]:
    """Yield the albums of earlier runs that the server still has, with their failures retried; then new ones."""
    for known in list(ledger.albums):
        if album := _again(remote, known):
            yield album
        else:
            ledger.albums.remove(known)
    while True:
        album = remote.start_album(name, ledger.fields)
        ledger.albums.append(album.id)
        yield album


def _again(remote: Remote, album_id: str) -> RemoteAlbum | None:
    try:
        album = remote.album(album_id)
        if Action.ERASE in album.pending:
            return None
        is_stopped = album.pending or album.counts[State.FAILED] + album.counts[State.CANCELED]
        return remote.retry(album.id) if is_stopped else album
    except RefusedError as error:
        if error.http_status != HTTPStatus.NOT_FOUND:
            raise
        return None


def _that_fit(waiting: dict[str, list[Task]], held: list[RemotePhoto], most: int) -> dict[str, list[Task]]:
    """Return the photos that an album of at most `most` photos has or can take; the rest goes into another."""
    known = {photo.sha256 for photo in held}
    inside = {digest: tasks for digest, tasks in waiting.items() if digest in known}
    outside = ((digest, tasks) for digest, tasks in waiting.items() if digest not in known)
    return inside | dict(islice(outside, max(0, most - len(held))))


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
        missing |= {one.sha256 for one in held if one.sha256 and one.state is State.EXPIRED}
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
            self._fail(digest, _unreadable(error.strerror or str(error)))
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
            self._bars.show_done(before + _photos_of(done), _left(album))
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
        """Return whether this is an expired photo that was sent again; under another name, the album lists both."""
        return photo.state is State.EXPIRED and photo.sha256 in self._missing

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
            self._fail(digest, _unreadable(error.strerror or str(error)))
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


def _report(tasks: list[Task], failures: Failures, folder: Path, output: Path, remark: str, console: Console) -> None:
    """Print a summary and the failures, which are also written to a file beside the pictures."""
    for path, error in failures.items():
        print_problem(console, path, error.detail)
    file = output / FAILURES
    if failures:
        reasons = {path.relative_to(folder).as_posix(): error.model_dump() for path, error in failures.items()}
        write(file, json.dumps(reasons, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace"))
        remark = f"; {len(failures)} failed, see {file}{remark}"
    else:
        file.unlink(missing_ok=True)
    good = [task for task in tasks if task.photo.path not in failures]
    remark = f"{renamed(good)}{remark}"
    console.print(f"{len(good)} of {counted(len(tasks), 'picture', 'pictures')} in {escape(f'{output}{remark}')}")


def _are_there(tasks: list[Task], digest: str | None) -> bool:
    return digest is not None and all(digest_of(task.picture) == digest for task in tasks)


def _photos_of(copies: Copies) -> int:
    return sum(map(len, copies.values()))


def _left(album: RemoteAlbum) -> str:
    if not album.unfinished:
        return ""
    if album.eta_s is None:
        return "no worker running"
    minutes, seconds = divmod(round(album.eta_s), 60)
    return f"{minutes} min left" if minutes else f"{seconds} s left"


def _unreadable(why: str) -> ErrorInfo:
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
