"""The state that `sakuga album` keeps between runs: the albums of its photos, and the names of its pictures.

A small file among the pictures, written before the first photo is sent: however a run ends, the next one resumes.
"""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from cli.photos import Photo
from cli.pictures import Task, digest_of, plan_tasks, write
from cli.remote import Fields
from shared.errors import InvalidValueError

NAME: Final = ".sakuga-album.json"
_OF_THIS_RUN: Final = {"folder", "replace"}


@dataclass(slots=True)
class Ledger:
    """The state; all names are relative to the folders of photos and pictures."""

    folder: Path  # of the pictures
    photos: str  # the folder
    fields: dict[str, str | int] = field(default_factory=dict)
    server: str = ""
    albums: list[str] = field(default_factory=list)
    redraws: list[str] = field(default_factory=list)  # albums whose photos the next albums are drawn from
    keep_photos: bool = False  # on the server
    pictures: dict[str, str] = field(default_factory=dict)  # by the name of the photo
    done: dict[str, str] = field(default_factory=dict)  # digests of pictures that were written, by that of the photo
    replace: bool = False  # whether what has a picture's name is overwritten

    def choose(self, server: str, fields: Fields, *, replace: bool, keep_photos: bool = False) -> None:
        """Resume with this server and these options; with different ones it is another album.

        Raises:
            InvalidValueError: the folder has pictures made with other options, and they must not be replaced; or photos
                are to be kept that were sent to be deleted.
        """
        self.replace = replace
        if self.fields != dict(fields):
            if not replace and any((self.folder / picture).exists() for picture in self.pictures.values()):
                raise InvalidValueError(
                    f"{self.folder} contains pictures made with other options ({_words(self.fields)}); choose another "
                    "folder with -o, or --replace them."
                )
            self.fields, self.done, self.albums, self.redraws = dict(fields), {}, [], []
        if self.server != server:
            self.server, self.albums, self.redraws = server, [], []
        if not self.albums:
            self.keep_photos = keep_photos
        elif keep_photos and not self.keep_photos:
            raise InvalidValueError(
                f"The photos of {self.folder} were sent without --keep-photos, so the server does not keep them; "
                "choose another folder with -o."
            )

    def plan(self, photos: list[Photo], extension: str) -> list[Task]:
        """Name the pictures as before, and those of new photos so that nothing is overwritten."""
        known = {name: picture for name, picture in self.pictures.items() if picture.endswith(f".{extension}")}
        taken = [Path(picture) for picture in known.values()]
        unknown = (photo for photo in photos if _key(photo) not in known)
        new = plan_tasks(unknown, self.folder, extension, replace=self.replace, taken=taken)
        self.pictures = known | {_key(task.photo): self._relative(task.picture) for task in new}
        return self.tasks(photos)

    def tasks(self, photos: list[Photo]) -> list[Task]:
        """Return the planned tasks, under the current names of the pictures."""
        return [Task(photo, self.folder / self.pictures[_key(photo)]) for photo in photos]

    def place(self, photo: Photo, digest: str) -> Path:
        """Return the path for the picture with this digest: it replaces our own file, and no other.

        Pictures that were edited since they were written are not ours any more, and keep their name.
        """
        picture = self.folder / self.pictures[_key(photo)]
        if self.replace or not picture.exists() or digest_of(picture) in {digest, *self.done.values()}:
            return picture
        taken = [Path(name) for name in self.pictures.values()]
        (task,) = plan_tasks([photo], self.folder, picture.suffix.removeprefix("."), taken=taken)
        self.pictures[_key(photo)] = self._relative(task.picture)
        return task.picture

    def save(self) -> None:
        lasting = [one.name for one in fields(self) if one.name not in _OF_THIS_RUN]
        write(self.folder / NAME, json.dumps({name: getattr(self, name) for name in lasting}, indent=1).encode())

    def _relative(self, picture: Path) -> str:
        return picture.relative_to(self.folder).as_posix()


def open_ledger(folder: Path, photos: Path) -> Ledger:
    """Open the ledger in the folder of the pictures, or start a new one.

    Raises:
        InvalidValueError: it belongs to the photos of another folder, or is damaged.
    """
    source = str(photos.resolve())
    ledger = _ledger_in(folder) or Ledger(folder, source)
    if ledger.photos != source:
        raise InvalidValueError(f"{folder} contains the pictures of {ledger.photos}; choose another folder with -o.")
    return ledger


def earlier_ledger(folder: Path) -> Ledger:
    """Open the ledger of an album that can be drawn again.

    Raises:
        InvalidValueError: there is none, or it is damaged, or the server was not asked to keep the photos.
    """
    ledger = _ledger_in(folder)
    if ledger is None or not ledger.albums:
        raise InvalidValueError(f"{folder} is not a folder of pictures from `sakuga album`.")
    if not ledger.keep_photos:
        raise InvalidValueError(
            f"The photos of {folder} were sent without --keep-photos, so the server does not keep them; use "
            "`sakuga album` to send them again."
        )
    return ledger


def _ledger_in(folder: Path) -> Ledger | None:
    path = folder / NAME
    try:
        return Ledger(folder, **json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InvalidValueError(f"{path} is damaged; remove it to start over.") from error


def _words(fields: Fields) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(fields.items()))


def _key(photo: Photo) -> str:
    return photo.name.as_posix()
