"""Converting photos locally: in this process, or in several with an engine each.

Processes are spawned and not forked, since the progress bar runs in a thread. Each receives one photo after the other
over a pipe, and exits when the pipe closes, however the command ended.
"""

import multiprocessing
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Final

from cli.outcomes import Outcome
from cli.pictures import Task, write
from shared import pipeline
from shared.conversion import Options
from shared.drawing import Engine
from shared.errors import SakugaError
from shared.photos.formats import Limits
from shared.settings import Settings
from shared.styles import installed_styles
from shared.telemetry import configure_logs
from worker.capacity import available_cores, available_memory, limit_threads
from worker.process_memory import share_one_arena
from worker.tuning_profile import Capacity, plan_capacity

WORTH_IT: Final = 8  # photos for every process; with fewer of a phone's, starting it takes longer than it saves
STOP_LIMIT_S: Final = 10


LOST: Final = Outcome("The process converting it was killed, most likely for lack of memory.")


def convert_each(
    tasks: Sequence[Task], options: Options, settings: Settings
) -> Generator[tuple[Task, Outcome], None, None]:
    """Convert every photo with all that this machine has; yield each outcome as it is known.

    Raises:
        SakugaError: no engine can draw here.
    """
    capacity = capacity_for(len(tasks), settings)
    if capacity.processes > 1:
        yield from _convert_apart(tasks, options, settings, capacity)
        return
    engine = _engine(settings, capacity)
    for task in tasks:
        yield task, _convert(task, options, settings, engine)


def capacity_for(photos: int, settings: Settings) -> Capacity:
    """Return as many processes as a worker would have here, if there are photos for them; else one with all cores."""
    node = plan_capacity(settings)
    processes = min(node.processes, photos // WORTH_IT)
    if processes > 1:
        threads = node.threads if processes == node.processes else max(1, available_cores() // processes)
        return Capacity(processes, settings.threads or threads, node.memory * node.processes // processes)
    return Capacity(1, settings.threads or available_cores(), available_memory())


def _engine(settings: Settings, capacity: Capacity) -> Engine:
    from worker.model_loader import loader_for

    styles = installed_styles(settings.data_dir)
    loader = loader_for(settings, styles, threads=capacity.threads, memory=capacity.memory)
    return loader.engine(styles.full_name(settings.style))


def _convert(task: Task, options: Options, settings: Settings, engine: Engine) -> Outcome:
    limits = Limits(settings.max_upload_bytes, settings.max_megapixels)
    try:
        with task.photo.path.open("rb") as file:
            picture = pipeline.convert(file, options, engine, limits)
        write(task.picture, picture.data)
    except SakugaError as error:
        return Outcome(error.detail)
    except OSError as error:
        return Outcome(error.strerror or str(error))
    return Outcome(notes=picture.notes)


def _convert_apart(
    tasks: Sequence[Task], options: Options, settings: Settings, capacity: Capacity
) -> Generator[tuple[Task, Outcome], None, None]:
    waiting = iter(tasks)
    at_work: dict[object, tuple[Process, Task]] = {}
    try:
        for task in islice(waiting, capacity.processes):
            process = Process(options, settings, capacity)
            process.give(task)
            at_work[process.connection] = process, task
        while at_work:
            for connection in wait([process.connection for process, _ in at_work.values()]):
                process, task = at_work.pop(connection)
                outcome = process.outcome()
                if following := next(waiting, None):
                    process = Process(options, settings, capacity) if outcome is LOST else process
                    process.give(following)
                    at_work[process.connection] = process, following
                else:
                    process.stop()
                yield task, outcome
    finally:
        for process, _ in at_work.values():
            process.stop()


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """Shield a process that is started from Ctrl-C: its parent stops it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Process:
    """A process that converts one photo after the other, until it is stopped or the command ends."""

    def __init__(self, options: Options, settings: Settings, capacity: Capacity) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, options, settings, capacity), daemon=True)
        self._has_begun = False
        with _ctrl_c_ignored():
            self._process.start()
        theirs.close()

    def give(self, task: Task) -> None:
        """Send it a photo; the connection is readable once there is an outcome."""
        with suppress(OSError):  # it has ended, as the outcome will say
            self.connection.send(task)

    def outcome(self) -> Outcome:
        try:
            answer: Outcome | SakugaError = self.connection.recv()
        except (EOFError, OSError):
            self.stop()
            return LOST
        self._has_begun = True
        if isinstance(answer, SakugaError):
            raise answer
        return answer

    def stop(self) -> None:
        """Let it finish its current photo, unless it is still starting."""
        self.connection.close()
        if self._has_begun:
            self._process.join(STOP_LIMIT_S)
        self._process.terminate()


def _serve(connection: Connection, options: Options, settings: Settings, capacity: Capacity) -> None:
    limit_threads(capacity.threads)
    share_one_arena()
    configure_logs("WARNING")
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the command has ended
        try:
            engine = _engine(settings, capacity)
        except SakugaError as error:
            connection.send(error)
            return
        while True:
            connection.send(_convert(connection.recv(), options, settings, engine))
