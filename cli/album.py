"""`sakuga album`: a folder of photos, converted by a server while the rest is being sent.

Photos are known by their content: each is sent once, whatever it is called and however often the command is run.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from cli.album_sync import AlbumSync, Failures, photos_of, unreadable
from cli.answers import RemoteAlbum, RemoteLimits, RemotePhoto
from cli.bars import Bars
from cli.ledger import Ledger, open_ledger
from cli.outcomes import print_problem, renamed
from cli.photos import Found, find
from cli.pictures import Place, Task, digest_of, make_folder, write
from cli.remote import Fields, RefusedError, Remote
from cli.submit import require_sendable
from cli.words import counted
from shared.albums.walks import Action
from shared.errors import InvalidValueError, SakugaError
from shared.jobs.record import State, error_info
from shared.photos.formats import Format, Limits

FAILURES: Final = "failures.json"


def convert_album(
    folder: Path, place: Place, fields: Fields, remote: Remote, console: Console, *, replace: bool, keep_photos: bool
) -> int:
    """Convert a folder of photos, or resume an earlier run; return the exit code.

    Raises:
        SakugaError: there is no server, there are no photos, or the output folder cannot be used.
        OSError: the output folder cannot be created or written to.
    """
    try:
        limits = remote.limits()  # says at once that no server is there, however much there is to look through
        found = _found(folder, place.folder)
        ledger = open_ledger(place.folder, folder)
        ledger.choose(remote.url, fields, replace=replace, keep_photos=keep_photos)
        make_folder(place.folder)
        return _convert_album(folder, found, ledger, place.extension, remote, limits, console)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Stopped. {remote.url} keeps converting the photos it has. Run the same command again to upload the rest "
            "and download the pictures."
        ) from None


def redraw_album(earlier: Ledger, output: Path, style: str, remote: Remote, console: Console) -> int:
    """Draw the photos of an earlier album in another style, or resume that; return the exit code.

    Photos that the server has lost are uploaded again.

    Raises:
        SakugaError, OSError: as `convert_album`.
    """
    photos, fields = Path(earlier.photos), earlier.fields | {"style": style}
    ledger = open_ledger(output, photos)
    ledger.choose(remote.url, fields, replace=False, keep_photos=True)
    if not ledger.albums:
        ledger.redraws = list(earlier.albums)
    make_folder(output)
    ledger.save()
    place = Place(output, Format(str(fields["format"])))
    return convert_album(photos, place, fields, remote, console, replace=False, keep_photos=True)


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
    failures: Failures = {path: unreadable(what) for path, what in found.obstacles.items()}
    copies = _by_content(tasks, limits.of_photo, failures, console)
    waiting = {digest: some for digest, some in copies.items() if not _are_there(some, ledger.done.get(digest))}
    albums = _albums(remote, ledger, folder.resolve().name)
    with Bars(console, total=photos_of(copies), done=photos_of(copies) - photos_of(waiting)) as bars:
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
                failures[task.photo.path] = unreadable(error.strerror or str(error))
    return copies


def _albums(remote: Remote, ledger: Ledger, name: str) -> Iterator[RemoteAlbum]:
    """Yield the albums of earlier runs that the server still has, with their failures retried; then new ones."""
    for known in list(ledger.albums):
        if album := _unless_gone(partial(_again, remote, known)):
            yield album
        else:
            ledger.albums.remove(known)
    while ledger.redraws:
        source = ledger.redraws.pop(0)
        if album := _unless_gone(partial(remote.redraw, source, str(ledger.fields["style"]))):
            ledger.albums.append(album.id)
            ledger.save()
            yield remote.walked(album, Action.REDRAW)
    while True:
        album = remote.start_album(name, ledger.fields, keep_photos=ledger.keep_photos)
        ledger.albums.append(album.id)
        yield album


def _again(remote: Remote, album_id: str) -> RemoteAlbum | None:
    album = remote.walked(remote.album(album_id), Action.REDRAW)
    if Action.ERASE in album.pending:
        return None
    is_stopped = album.pending or album.counts[State.FAILED] + album.counts[State.CANCELED]
    return remote.retry(album.id) if is_stopped else album


def _unless_gone(album: Callable[[], RemoteAlbum | None]) -> RemoteAlbum | None:
    """Return an album, or None if the server does not have it, or its photos, any more."""
    try:
        return album()
    except RefusedError as error:
        if error.http_status not in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            raise
        return None


def _that_fit(waiting: dict[str, list[Task]], held: list[RemotePhoto], most: int) -> dict[str, list[Task]]:
    """Return the photos that an album of at most `most` photos has or can take; the rest goes into another."""
    known = {photo.sha256 for photo in held}
    inside = {digest: tasks for digest, tasks in waiting.items() if digest in known}
    outside = ((digest, tasks) for digest, tasks in waiting.items() if digest not in known)
    return inside | dict(islice(outside, max(0, most - len(held))))


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
