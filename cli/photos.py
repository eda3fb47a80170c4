"""Finding the photos on a command line: files by name, and folders with all their photos."""

import math
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from cli.words import counted
from shared.errors import InvalidValueError, SakugaError
from shared.photos.filenames import is_clutter, is_photo_name
from shared.photos.formats import Limits
from shared.photos.inspection import inspect

_ANY_SIZE: Final = Limits(1 << 62, math.inf)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo on this disk, and its name with the folders it was found in, after which its picture is called."""

    path: Path
    name: PurePath


@dataclass(slots=True)
class Found:
    """The photos, what cannot be tried at all with the reason, and how many files of folders are no photos."""

    photos: list[Photo] = field(default_factory=list)
    obstacles: dict[Path, str] = field(default_factory=dict)
    left_out: int = 0

    @property
    def remark(self) -> str:
        """The end of a sentence; empty when nothing was left out."""
        if not self.left_out:
            return ""
        why = "it is not a photo" if self.left_out == 1 else "they are not photos"
        return f"; {counted(self.left_out, 'file', 'files')} skipped because {why}"


def find(paths: Iterable[Path], *, output: Path) -> Found:
    """Find the photos of `paths`, those of a folder in the order of their names; what is in `output` is none of them.

    Raises:
        InvalidValueError: pictures would be put among the photos, where the next run takes them for photos.
    """
    found = Found()
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            found.obstacles[path] = error.strerror or str(error)
            continue
        if stat.S_ISDIR(mode):
            _look_into(path, found, output.resolve())
        elif stat.S_ISREG(mode):
            found.photos.append(Photo(path, PurePath(path.name)))
        else:  # a pipe or a device, of which reading might never end
            found.obstacles[path] = "is neither a file nor a folder"
    return found


def _look_into(folder: Path, found: Found, output: Path) -> None:
    if folder.resolve() == output:
        raise InvalidValueError(f"The pictures would be among the photos in {folder}; choose another folder with -o.")
    known = len(found.photos) + len(found.obstacles)
    for path in _files(folder, found, output):
        if _counts(path):
            found.photos.append(Photo(path, path.relative_to(folder)))
        else:
            found.left_out += 1
    if len(found.photos) + len(found.obstacles) == known:
        found.obstacles[folder] = "contains no photos"


def _files(folder: Path, found: Found, output: Path) -> Iterator[Path]:
    """Every file below a folder but what is hidden; links lead only to files that are below it too."""
    inside = folder.resolve()

    def note(error: OSError) -> None:
        found.obstacles[Path(error.filename)] = error.strerror or str(error)

    for place, folders, names in os.walk(folder, onerror=note):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if not is_clutter(f"{name}/") and (here / name).resolve() != output
        )
        for path in (here / name for name in sorted(names) if not is_clutter(name)):
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield path


def _counts(path: Path) -> bool:
    if is_photo_name(path.name):
        return True
    try:
        with path.open("rb") as file:
            inspect(file, _ANY_SIZE)
    except (SakugaError, OSError):
        return False
    return True
