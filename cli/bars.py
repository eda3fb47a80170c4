"""The progress of an album: photos uploaded, and pictures downloaded."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn


class Bars:
    """A bar for uploads, if there are any, and one for pictures, including those of earlier runs."""

    def __init__(self, console: Console, *, total: int, done: int) -> None:
        """Show `done` of `total` pictures."""
        eta = TextColumn("{task.fields[eta]}")
        self.console = console
        self.done = done
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), eta, console=console
        )
        self._sent: TaskID = self._progress.add_task("Sending", total=0, eta="", visible=False)
        self._pictures: TaskID = self._progress.add_task("Pictures", total=total, completed=done, eta="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show_sent(self, sent: int, total: int) -> None:
        """Show how many of the missing photos have been uploaded."""
        self._progress.update(self._sent, completed=sent, total=total, visible=total > 0)

    def show_done(self, done: int, eta: str) -> None:
        """Show how many pictures there are, and the time left."""
        self.done = done
        self._progress.update(self._pictures, completed=done, eta=eta)
