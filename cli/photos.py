"""Finding the photos on a command line: files by name, and folders with all their photos."""

import math
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from cli.words import counted
from shared.errors import InvalidValueError, SakugaError, UnreadPhotoError
from shared.photos.filenames import is_archive_name, is_clutter, is_photo_name
from shared.photos.formats import Limits
from shared.photos.inspection import inspect

_NO_PHOTO: Final = ("file skipped because it is not a photo", "files skipped because they are not photos")
_AN_ARCHIVE: Final = ("archive skipped: unpack it first", "archives skipped: unpack them first")
_HIDDEN: Final = ("hidden file or folder skipped", "hidden files or folders skipped")
_A_LINK: Final = ("link skipped because it is not followed", "links skipped because they are not followed")
_ANY_SIZE: Final = Limits(1 << 62, math.inf)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo on this disk, and its name with the folders it was found in, after which its picture is called."""

    path: Path
    name: PurePath


@dataclass(slots=True)
class Found:
    """The photos, what cannot be tried at all with the reason, and how much in folders is skipped."""

    photos: list[Photo] = field(default_factory=list)
    obstacles: dict[Path, str] = field(default_factory=dict)
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)  # by the words for one, and for many

    @property
    def remark(self) -> str:
        """The end of a sentence; empty when nothing was skipped."""
        return "".join(
            f"; {counted(number, one, many)}" for (one, many), number in sorted(self.skipped.items()) if number
        )


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
            found.skipped[_AN_ARCHIVE if is_archive_name(path.name) else _NO_PHOTO] += 1
    if len(found.photos) + len(found.obstacles) == known:
        found.obstacles[folder] = "contains no photos"


def _files(folder: Path, found: Found, output: Path) -> Iterator[Path]:
    """Every file below a folder but what is hidden; links lead only to files that are below it too."""
    inside = folder.resolve()
    above = "" if is_clutter(f"{inside.name}/") else f"{inside.name}/"  # a hidden folder itself may be intended

    def is_shown(path: Path, end: str = "") -> bool:
        is_hidden = is_clutter(f"{above}{path.relative_to(folder).as_posix()}{end}")
        found.skipped[_HIDDEN] += is_hidden
        return not is_hidden

    def note(error: OSError) -> None:
        found.obstacles[Path(error.filename)] = error.strerror or str(error)

    for place, folders, names in os.walk(folder, onerror=note):
        here = Path(place)
        folders[:] = sorted(
            name for name in folders if (here / name).resolve() != output and is_shown(here / name, "/")
        )
        found.skipped[_A_LINK] += sum((here / name).is_symlink() for name in folders)
        for path in (here / name for name in sorted(names) if is_shown(here / name)):
            if path.is_file() and path.resolve().is_relative_to(inside):
                yield path
            else:
                found.skipped[_A_LINK if path.is_symlink() else _NO_PHOTO] += 1


def _counts(path: Path) -> bool:
    if is_photo_name(path.name):
        return True
    try:
        with path.open("rb") as file:
            inspect(file, _ANY_SIZE)
    except UnreadPhotoError:
        return True
    except (SakugaError, OSError):
        return False
    return True
