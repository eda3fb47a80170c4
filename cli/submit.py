"""`sakuga submit`: photos as jobs of a server."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich.console import Console

from cli.answers import RemoteJob
from cli.outcomes import Outcome, conclude, follow, print_problem
from cli.photos import find
from cli.pictures import Place, Task, make_folder, plan_tasks, write
from cli.remote import Fields, Remote, ServerUnreachableError
from shared.errors import SakugaError
from shared.files import stream_sha256
from shared.jobs.record import ErrorInfo, State
from shared.photos.formats import Limits
from shared.photos.inspection import inspect

AT_ONCE: Final = 8  # photos on their way; more keep no worker busier, and each takes a thread of the server


def submit_all(paths: tuple[Path, ...], place: Place, fields: Fields, remote: Remote, console: Console) -> list[Path]:
    """Have every photo converted by a server, one bad photo never stopping the others; returns those that failed.

    Raises:
        SakugaError: there is no server, or a picture would overwrite its photo.
        OSError: the folder cannot be made.
    """
    found = find(paths, output=place.folder)
    for path, obstacle in found.obstacles.items():
        print_problem(console, path, obstacle)
    failed = list(found.obstacles)
    tasks = plan_tasks(place.named(found.photos), place.folder, place.extension)
    if tasks:
        limits = remote.limits().of_photo
        make_folder(place.folder)
        outcomes = _submit_each(tasks, fields, limits, remote)
        failed += follow(outcomes, len(tasks), place.path, "Converting", console)
    conclude(found, tasks, failed, place.path, console)
    return failed


def _submit_each(
    tasks: list[Task], fields: Fields, limits: Limits, remote: Remote
) -> Generator[tuple[Task, Outcome], None, None]:
    """Yield what became of each; jobs that nobody waits for any more are canceled."""
    pool, at_work = ThreadPoolExecutor(AT_ONCE), AtWork(remote)
    try:
        asked = {pool.submit(_submit, task, fields, limits, at_work): task for task in tasks}
        for future in as_completed(asked):
            yield asked[future], future.result()
    finally:
        remote.stop()
        at_work.cancel()  # lets those go that wait for them
        pool.shutdown(cancel_futures=True)
        at_work.cancel()  # what was on its way meanwhile


class AtWork:
    """The jobs that have been started and have not ended, as far as this command knows."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._jobs: dict[str, RemoteJob] = {}

    def finish(self, photo: bytes, fields: Fields) -> RemoteJob:
        """Start a job and wait for its end."""
        job = self.remote.start_job(photo, fields)
        self._jobs[job.id] = job
        ended = self.remote.ended(job)
        self._jobs.pop(job.id, None)
        return ended

    def cancel(self) -> None:
        """Cancel them, unless the server is away."""
        with suppress(KeyError):  # there are no more
            while self.remote.cancel(self._jobs.popitem()[1]):
                pass


def _submit(task: Task, fields: Fields, limits: Limits, at_work: AtWork) -> Outcome:
    try:
        require_sendable(task.photo.path, limits)
        job = at_work.finish(task.photo.path.read_bytes(), fields)
        if job.state is not State.SUCCEEDED:
            return Outcome(reason(job.state, job.error).detail)
        write(task.picture, at_work.remote.picture(job))
    except ServerUnreachableError:
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
        inspect(file, limits)
        file.seek(0)
        return stream_sha256(file)


def reason(state: State, error: ErrorInfo | None) -> ErrorInfo:
    """Return why a finished photo has no picture."""
    if error:
        return error
    what = "was canceled" if state is State.CANCELED else "has expired"
    return ErrorInfo(code=state.value, title="No picture", detail=f"It {what}; run the command again.")
