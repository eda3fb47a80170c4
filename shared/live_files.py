"""Files that may change while the service runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from shared.errors import SakugaError
from shared.files import signature

T = TypeVar("T")

log = structlog.get_logger()


class LiveFiles(Generic[T]):
    """The contents of some files; while they are invalid, their last valid contents."""

    def __init__(self, files: Sequence[Path], read: Callable[[], T], *, invalid: str) -> None:
        """Call `read` on first use, and again whenever one of `files` has changed.

        `invalid` is logged when `read` raises a SakugaError later than on first use.
        """
        self._files = files
        self._read = read
        self._invalid = invalid
        self._seen: list[object] | None = None
        self._said: T

    def current(self) -> T:
        """Return what the files say.

        Raises:
            SakugaError: they have never been valid.
        """
        seen: list[object] = [signature(file) for file in self._files]
        if seen != self._seen:
            try:
                self._said = self._read()
            except SakugaError as error:
                if self._seen is None:
                    raise
                log.error(self._invalid, error=error.detail)  # noqa: TRY400
            self._seen = seen  # of before they were read: a change in between is noticed next time
        return self._said
