"""`sakuga submit`: photos as jobs of a server. Imported by `cli.main`."""

import hashlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.outcomes import Outcome, complain, conclude, follow
from cli.photos import find
from cli.pictures import Task, make_folder, plan, write
from cli.remote import Fields, Remote, UnreachableError
from shared import images
from shared.errors import SakugaError
from shared.images import Limits
from shared.jobs import ErrorInfo, State

AT_ONCE: Final = 8  # photos on their way; more keep no worker busier, and each takes a thread of the server


def submit_all(
    paths: tuple[Path, ...], folder: Path, fields: Fields, extension: str, remote: Remote, console: Console
) -> list[Path]:
    """Have every photo converted by a server, one bad photo never stopping the others; returns those that failed.

    Raises:
        SakugaError: there is no server, or a picture would overwrite its photo.
        OSError: the folder cannot be made.
    """
    found = find(paths, output=folder)
    for path, obstacle in found.obstacles.items():
        complain(console, path, obstacle)
    failed = list(found.obstacles)
    tasks = plan(found.photos, folder, extension)
    if tasks:
        limits = remote.limits().of_photo
        make_folder(folder)
        with closing(_submit_each(tasks, fields, limits, remote)) as outcomes:
            failed += follow(outcomes, len(tasks), "Converting", console)
    conclude(found, tasks, failed, folder, console)
    return failed


def _submit_each(
    tasks: list[Task], fields: Fields, limits: Limits, remote: Remote
) -> Generator[tuple[Task, Outcome], None, None]:
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        asked = {pool.submit(_submit, task, fields, limits, remote): task for task in tasks}
        for future in as_completed(asked):
            yield asked[future], future.result()
    finally:
        remote.stop()
        pool.shutdown(cancel_futures=True)


def _submit(task: Task, fields: Fields, limits: Limits, remote: Remote) -> Outcome:
    try:
        require_sendable(task.photo.path, limits)
        job = remote.ended(remote.start_job(task.photo.path.read_bytes(), fields))
        if job.state is not State.SUCCEEDED:
            return Outcome(reason(job.state, job.error).detail)
        write(task.picture, remote.picture(job))
    except UnreachableError:
        raise  # it is no better for the others
    except SakugaError as error:
        return Outcome(error.detail)
    except OSError as error:
        return Outcome(error.strerror or str(error))
    return Outcome(notes=job.notes)


def require_sendable(path: Path, limits: Limits) -> str:
    """Judge a photo by its header as the server would, so that what it refuses is not sent; returns its SHA-256.

    Raises:
        SakugaError: why it would be refused.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        images.inspect(file, limits)
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(state: State, error: ErrorInfo | None) -> ErrorInfo:
    """Why a photo that has come to its end has no picture."""
    if error:
        return error
    what = "was canceled" if state is State.CANCELED else "was kept for a while, and has been removed"
    return ErrorInfo(code=state.value, title="There is no picture", detail=f"It {what}; run the command again.")
