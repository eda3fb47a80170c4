"""Naming pictures so that nothing is overwritten, and writing them."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from cli.photos import Photo
from shared.errors import InvalidValueError
from shared.files import write_atomically
from shared.photos.filenames import folded, picture_name, safe_name


@dataclass(frozen=True, slots=True)
class Task:
    """One photo and where its picture goes."""

    photo: Photo
    picture: Path

    @property
    def is_numbered(self) -> bool:
        return self.picture.name != picture_name(safe_path(self.photo.name).name, self.picture.suffix[1:])


def plan_tasks(
    photos: Iterable[Photo], folder: Path, extension: str, *, replace: bool = False, taken: Iterable[PurePath] = ()
) -> list[Task]:
    """Name every picture after its photo, with a number where the name is taken; no photo is overwritten.

    All names can be copied to any other system, and stay distinct there.

    Files that are in the folder already have taken their names, unless they are to be replaced; so have those of
    `taken`, which are yet to come there.

    Raises:
        InvalidValueError: a picture would take the place of one of the photos.
    """
    photos = list(photos)
    tasks: list[Task] = []
    folders = (folder for photo in photos for folder in safe_path(photo.name).parents)
    keys = {folded(name.as_posix()) for name in itertools.chain(taken, folders)}
    sources = {photo.path.resolve() for photo in photos}
    for photo in photos:
        candidates = _candidates(safe_path(photo.name), extension)
        free = (name for name in candidates if folded(name.as_posix()) not in keys)
        named = next(
            name for name in free if replace or not (path := folder / name).exists() or path.resolve() in sources
        )
        picture = folder / named
        if picture.resolve() in sources:
            raise InvalidValueError(f"{picture} is one of the photos; choose another folder with -o.")
        keys.add(folded(named.as_posix()))
        tasks.append(Task(photo, picture))
    return tasks


def make_folder(folder: Path) -> None:
    """Make the folder for the pictures.

    Raises:
        InvalidValueError: there is something else of that name.
        OSError: it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidValueError(f"{folder} is not a folder; choose another with -o.")
    folder.mkdir(parents=True, exist_ok=True)


def write(picture: Path, data: bytes) -> None:
    """Write a file as one step, in a folder that may have to be made."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(picture, data)


def digest_of(file: Path) -> str | None:
    """The SHA-256 of a file, if it is one that can be read."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def safe_path(name: PurePath) -> PurePath:
    """Return the name of a photo on this disk as every system can have it; bytes that are no text are replaced."""
    return PurePath(safe_name(os.fsencode(name).decode("utf-8", "replace"), otherwise="photo"))


def _candidates(name: PurePath, extension: str) -> Iterator[PurePath]:
    first = name.with_name(picture_name(name.name, extension))
    yield first
    for number in itertools.count(2):
        yield first.with_stem(f"{first.stem}-{number}")
