"""Naming pictures so that nothing is overwritten, and writing them."""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from cli.photos import Photo
from shared.errors import InvalidValueError
from shared.files import file_sha256, write_atomically
from shared.photos.filenames import folded, is_photo_name, picture_name, safe_name
from shared.photos.formats import Format

_SUFFIXES: Final = {".jpg": Format.JPEG, ".jpeg": Format.JPEG, ".png": Format.PNG, ".webp": Format.WEBP}


@dataclass(frozen=True, slots=True)
class Task:
    """One photo and where its picture goes."""

    photo: Photo
    picture: Path

    @property
    def is_numbered(self) -> bool:
        return self.picture.name != picture_name(safe_path(self.photo.name).name, self.picture.suffix[1:])


@dataclass(frozen=True, slots=True)
class Place:
    """The place of pictures: a folder or, for a single photo, a file in it; `path` is what the user calls it."""

    path: Path
    format: Format
    file: Path | None = None

    @property
    def folder(self) -> Path:
        return self.file.parent if self.file else self.path

    @property
    def extension(self) -> str:
        return self.file.suffix.removeprefix(".") if self.file else self.format.extension

    def named(self, photos: Iterable[Photo]) -> list[Photo]:
        """Return the photos under the names that their pictures are to have."""
        return [replace(photo, name=PurePath(self.file.name)) if self.file else photo for photo in photos]


def place_for(output: Path, photos: Sequence[Path], wanted: Format | None) -> Place:
    """Take `output` for a file if it is named like a picture and is no folder; `wanted` is the format, if chosen.

    Raises:
        InvalidValueError: it is named like a picture, but there may be several, or in another format.
    """
    if output.is_dir() or not is_photo_name(output.name):
        return Place(output, wanted or Format.JPEG)
    named = _SUFFIXES.get(output.suffix.lower())
    if named is None:
        raise InvalidValueError(f"{output} cannot be made; pictures are .jpg, .png or .webp files.")
    if len(photos) != 1 or photos[0].is_dir():
        raise InvalidValueError(f"{output} is named like a single picture; for several photos, give a folder to -o.")
    if wanted not in {None, named}:
        raise InvalidValueError(f"{output} would be a picture in {named}, but --format is {wanted}.")
    return Place(output, named, output)


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
        return file_sha256(file)
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
