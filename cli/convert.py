"""`sakuga convert`: the pipeline in this process, no server. Imported by `cli.main`."""

import itertools
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shared import pipeline
from shared.errors import InvalidValueError, SakugaError
from shared.images import Limits
from shared.pipeline import Engine, Options
from shared.settings import Settings
from shared.styles import Styles, installed_styles


@dataclass(frozen=True, slots=True)
class Task:
    """One photo and where its picture goes."""

    photo: Path
    picture: Path


def convert_all(
    photos: tuple[Path, ...], folder: Path, options: Options, settings: Settings, console: Console, *, replace: bool
) -> list[Path]:
    """Convert every photo, one bad photo never stopping the others; returns those that failed.

    Raises:
        SakugaError: nothing can be converted: unknown style, bad weights, a picture would overwrite its photo.
        OSError: the folder cannot be made.
    """
    obstacles = [(photo, _obstacle(photo)) for photo in photos]
    for photo, obstacle in obstacles:
        if obstacle:
            _complain(console, photo, obstacle)
    failed = [photo for photo, obstacle in obstacles if obstacle]
    present = tuple(photo for photo, obstacle in obstacles if not obstacle)
    tasks = plan(present, folder, options.format.extension, replace=replace)
    if tasks:
        failed += _convert_each(tasks, folder, options, settings, console)
    done = len(photos) - len(failed)
    console.print(f"{done} of {len(photos)} converted into {escape(str(folder))}{_remarks(tasks, failed)}")
    return failed


def plan(photos: tuple[Path, ...], folder: Path, extension: str, *, replace: bool = False) -> list[Task]:
    """Name every picture after its photo, with a number where the name is taken; no photo is overwritten.

    Files that are in the folder already have taken their names, unless they are to be replaced.

    Raises:
        InvalidValueError: a picture would take the place of one of the photos.
    """
    tasks: list[Task] = []
    taken: set[str] = set()
    sources = {photo.resolve() for photo in photos}
    for photo in photos:
        free = (path for path in _candidates(photo, folder, extension) if path.name.casefold() not in taken)
        picture = next(path for path in free if replace or not path.exists() or path.resolve() in sources)
        if picture.resolve() in sources:
            raise InvalidValueError(f"{picture} is one of the photos; choose another folder with -o.")
        taken.add(picture.name.casefold())  # some file systems take Cat.jpg and cat.jpg for the same
        tasks.append(Task(photo, picture))
    return tasks


def _candidates(photo: Path, folder: Path, extension: str) -> Iterator[Path]:
    yield folder / f"{photo.stem}.{extension}"
    for number in itertools.count(2):
        yield folder / f"{photo.stem}-{number}.{extension}"


def _obstacle(photo: Path) -> str | None:
    """What keeps a photo from being tried at all, looked for before an engine is loaded."""
    try:
        is_folder = stat.S_ISDIR(photo.stat().st_mode)
    except OSError as error:
        return error.strerror or str(error)
    return f"is a folder; name the photos in it, e.g. {photo}/*.jpg" if is_folder else None


def _convert_each(
    tasks: list[Task], folder: Path, options: Options, settings: Settings, console: Console
) -> list[Path]:
    """Convert with one engine; returns the photos that failed."""
    styles = installed_styles(settings.data_dir)
    styles[settings.style]  # an unknown one is said now; loading torch takes seconds
    _make(folder)
    engine = _engine(styles, settings)
    limits = Limits(settings.max_upload_bytes, settings.max_megapixels)
    failed = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"Converting in style {settings.style}", total=len(tasks))
        for task in tasks:
            if not _convert_one(task, options, engine, limits, console):
                failed.append(task.photo)
            progress.advance(bar)
    return failed


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InvalidValueError(f"{folder} is not a folder; choose another with -o.")
    folder.mkdir(parents=True, exist_ok=True)


def _engine(styles: Styles, settings: Settings) -> Engine:
    from worker.capacity import available_cores, available_memory
    from worker.model_loader import loader_for

    threads = settings.threads or available_cores()
    return loader_for(settings, styles, threads=threads, memory=available_memory()).engine(settings.style)


def _convert_one(task: Task, options: Options, engine: Engine, limits: Limits, console: Console) -> bool:
    try:
        with task.photo.open("rb") as file:
            picture = pipeline.convert(file, options, engine, limits)
        _write(task.picture, picture.data)
    except SakugaError as error:
        _complain(console, task.photo, error.detail)
        return False
    except OSError as error:
        _complain(console, task.photo, error.strerror or str(error))
        return False
    for note in picture.notes:
        _complain(console, task.photo, note, colour="yellow")
    return True


def _write(picture: Path, data: bytes) -> None:
    """Write a picture as one step; what could not be written whole is not left behind."""
    temporary = picture.with_name(f".{picture.name}.new")
    try:
        temporary.write_bytes(data)
        temporary.replace(picture)
    finally:
        temporary.unlink(missing_ok=True)


def _complain(console: Console, photo: Path, what: str, *, colour: str = "red") -> None:
    console.print(f"[{colour}]{escape(str(photo))}[/]: {escape(what)}")


def _remarks(tasks: list[Task], failed: list[Path]) -> str:
    bad = set(failed)
    renamed = sum(task.picture.stem != task.photo.stem for task in tasks if task.photo not in bad)
    remarks = [f"{renamed} with a number, as the name was taken"] if renamed else []
    if failed:
        remarks.append(f"{len(failed)} failed")
    return "".join(f"; {remark}" for remark in remarks)
