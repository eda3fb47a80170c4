"""`sakuga convert`: the pipeline in this process, no server. Imported by `cli.main`."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shared import pipeline
from shared.errors import InvalidValueError, SakugaError
from shared.images import Limits
from shared.pipeline import Engine, Options
from shared.settings import Settings
from shared.styles import installed_styles
from worker.capacity import available_cores, available_memory
from worker.model_loader import ModelLoader


@dataclass(frozen=True, slots=True)
class Task:
    """One photo and where its picture goes."""

    photo: Path
    picture: Path


def convert_all(
    photos: tuple[Path, ...], folder: Path, options: Options, settings: Settings, console: Console
) -> list[Path]:
    """Convert every photo, one bad photo never stopping the others; returns those that failed.

    Raises:
        SakugaError: nothing can be converted: unknown style, bad weights, a picture would overwrite its photo.
    """
    tasks = plan(photos, folder, options.format.extension)
    threads = settings.threads or available_cores()
    loader = ModelLoader(installed_styles(settings.data_dir), threads=threads, memory=available_memory())
    engine = loader.engine(settings.style)
    folder.mkdir(parents=True, exist_ok=True)
    limits = Limits(settings.max_upload_bytes, settings.max_megapixels)
    failed = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"Converting in style {settings.style}", total=len(tasks))
        for task in tasks:
            if not _convert_one(task, options, engine, limits, console):
                failed.append(task.photo)
            progress.advance(bar)
    done = len(tasks) - len(failed)
    console.print(f"{done} of {len(tasks)} converted into {folder}" + (f"; {len(failed)} failed" if failed else ""))
    return failed


def plan(photos: tuple[Path, ...], folder: Path, extension: str) -> list[Task]:
    """Name every picture after its photo; photos of the same name get a number, and no photo is overwritten.

    Raises:
        InvalidValueError: a picture would take the place of one of the photos.
    """
    tasks, taken = [], set()
    sources = {photo.resolve() for photo in photos}
    for photo in photos:
        names = itertools.chain([photo.stem], (f"{photo.stem}-{number}" for number in itertools.count(2)))
        picture = next(path for name in names if (path := folder / f"{name}.{extension}") not in taken)
        if picture.resolve() in sources:
            raise InvalidValueError(f"{picture} is one of the photos; choose another folder with -o.")
        taken.add(picture)
        tasks.append(Task(photo, picture))
    return tasks


def _convert_one(task: Task, options: Options, engine: Engine, limits: Limits, console: Console) -> bool:
    try:
        with task.photo.open("rb") as file:
            picture = pipeline.convert(file, options, engine, limits)
        temporary = task.picture.with_name(f".{task.picture.name}.new")
        temporary.write_bytes(picture.data)
        temporary.replace(task.picture)
    except SakugaError as error:
        console.print(f"[red]{task.photo}[/]: {error.detail}")
        return False
    except OSError as error:
        console.print(f"[red]{task.photo}[/]: {error.strerror or error}")
        return False
    for note in picture.notes:
        console.print(f"[yellow]{task.photo}[/]: {note}")
    return True
