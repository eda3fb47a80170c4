"""The outcomes of conversions, and how they are shown."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.photos import Found
from cli.pictures import Task
from cli.words import counted


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for a photo: remarks on the picture, or why it failed."""

    failure: str | None = None
    notes: tuple[str, ...] = ()


def print_problem(console: Console, photo: Path, what: str, *, colour: str = "red") -> None:
    """Print a problem with a photo, or a remark on it."""
    console.print(f"[{colour}]{escape(str(photo))}[/]: {escape(what)}")


def follow(
    outcomes: Generator[tuple[Task, Outcome], None, None], total: int, folder: Path, what: str, console: Console
) -> list[Path]:
    """Show the progress and the problems; return the photos that failed.

    Raises:
        KeyboardInterrupt: with a message on the progress so far.
    """
    failed: list[Path] = []
    pictures = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with closing(outcomes), Progress(*columns, console=console) as progress:
            bar = progress.add_task(what, total=total)
            for task, outcome in outcomes:
                if outcome.failure:
                    print_problem(console, task.photo.path, outcome.failure)
                    failed.append(task.photo.path)
                for note in outcome.notes:
                    print_problem(console, task.photo.path, note, colour="yellow")
                pictures += not outcome.failure
                progress.advance(bar)
    except KeyboardInterrupt:
        done = f"{pictures} of {counted(total, 'picture', 'pictures')}"
        raise KeyboardInterrupt(f"Stopped. {done} in {folder}") from None
    return failed


def conclude(found: Found, tasks: list[Task], failed: list[Path], folder: Path, console: Console) -> None:
    """Print a summary in one line."""
    asked = len(found.photos) + len(found.obstacles)
    remarks = f"{_remarks(tasks, failed)}{found.remark}"
    console.print(f"{asked - len(failed)} of {asked} converted into {escape(str(folder))}{remarks}")


def _remarks(tasks: list[Task], failed: list[Path]) -> str:
    bad = set(failed)
    good = [task for task in tasks if task.photo.path not in bad]
    return renamed(good) + (f"; {len(failed)} failed" if failed else "")


def renamed(tasks: list[Task]) -> str:
    """Return the end of a sentence on pictures that were numbered; empty if none was."""
    number = sum(task.is_numbered for task in tasks)
    return f"; {number} numbered because the name was taken" if number else ""
