"""`sakuga convert`: the pipeline here, no server. Imported by `cli.main`."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.conversion import convert_each
from cli.photos import find
from cli.pictures import Task, make_folder, plan
from shared.pipeline import Options
from shared.settings import Settings
from shared.styles import installed_styles


def convert_all(
    paths: tuple[Path, ...], folder: Path, options: Options, settings: Settings, console: Console, *, replace: bool
) -> list[Path]:
    """Convert every photo, those of folders too, one bad photo never stopping the others; returns those that failed.

    Raises:
        SakugaError: nothing can be converted: unknown style, bad weights, a picture would overwrite its photo.
        OSError: the folder cannot be made.
    """
    found = find(paths, output=folder)
    for path, obstacle in found.obstacles.items():
        complain(console, path, obstacle)
    failed = list(found.obstacles)
    tasks = plan(found.photos, folder, options.format.extension, replace=replace)
    if tasks:
        failed += _convert_each(tasks, folder, options, settings, console)
    asked = len(found.photos) + len(found.obstacles)
    remarks = f"{_remarks(tasks, failed)}{found.remark}"
    console.print(f"{asked - len(failed)} of {asked} converted into {escape(str(folder))}{remarks}")
    return failed


def complain(console: Console, photo: Path, what: str, *, colour: str = "red") -> None:
    """Say what is wrong with a photo, or to be known of it."""
    console.print(f"[{colour}]{escape(str(photo))}[/]: {escape(what)}")


def _convert_each(
    tasks: list[Task], folder: Path, options: Options, settings: Settings, console: Console
) -> list[Path]:
    """Convert and show how far it is; returns the photos that failed."""
    installed_styles(settings.data_dir)[settings.style]  # an unknown one is said now; loading torch takes seconds
    make_folder(folder)
    failed = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(f"Converting in style {settings.style}", total=len(tasks))
        for task, outcome in convert_each(tasks, options, settings):
            if outcome.failure:
                complain(console, task.photo.path, outcome.failure)
                failed.append(task.photo.path)
            for note in outcome.notes:
                complain(console, task.photo.path, note, colour="yellow")
            progress.advance(bar)
    return failed


def _remarks(tasks: list[Task], failed: list[Path]) -> str:
    bad = set(failed)
    renamed = sum(task.is_renamed for task in tasks if task.photo.path not in bad)
    remarks = [f"{renamed} with a number, as the name was taken"] if renamed else []
    if failed:
        remarks.append(f"{len(failed)} failed")
    return "".join(f"; {remark}" for remark in remarks)
