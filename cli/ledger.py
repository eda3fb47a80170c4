"""What a run of `sakuga album` leaves for the next: which albums its photos are in, and what its pictures are called.

A small file among the pictures, written before the first photo is sent: whatever ends a run, the next goes on.
Imported by `cli.album`.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from cli.photos import Photo
from cli.pictures import Task, plan, write
from cli.remote import Fields
from shared.errors import InvalidValueError

NAME: Final = ".sakuga-album.json"


@dataclass(slots=True)
class Ledger:
    """Names are relative, of photos to their folder and of pictures to theirs."""

    photos: str  # the folder
    fields: dict[str, str | int] = field(default_factory=dict)
    server: str | None = None
    albums: list[str] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)  # by the name of the photo
    done: dict[str, str] = field(default_factory=dict)  # digests of pictures that were written, by that of the photo

    def choose(self, server: str, fields: Fields) -> None:
        """Go on with this server and these options; with others it is another album."""
        if self.fields != dict(fields):
            self.fields, self.done, self.albums = dict(fields), {}, []
        if self.server != server:
            self.server, self.albums = server, []

    def plan(self, photos: list[Photo], folder: Path, extension: str) -> list[Task]:
        """Name the pictures as before, and those of new photos so that nothing is overwritten."""
        known = {name: picture for name, picture in self.pictures.items() if picture.endswith(f".{extension}")}
        old = [Task(photo, folder / known[_key(photo)]) for photo in photos if _key(photo) in known]
        taken = [Path(picture) for picture in known.values()]
        new = plan((photo for photo in photos if _key(photo) not in known), folder, extension, taken=taken)
        self.pictures = known | {_key(task.photo): task.picture.relative_to(folder).as_posix() for task in new}
        return old + new

    def save(self, folder: Path) -> None:
        write(folder / NAME, json.dumps(asdict(self), indent=1).encode())


def open_ledger(folder: Path, photos: Path) -> Ledger:
    """The ledger in the folder of the pictures, or a new one.

    Raises:
        InvalidValueError: it is of another folder's photos, whose pictures would be overwritten, or damaged.
    """
    path, source = folder / NAME, str(photos.resolve())
    try:
        ledger = Ledger(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Ledger(source)
    except (ValueError, TypeError) as error:
        raise InvalidValueError(f"{path} is damaged; remove it to begin anew.") from error
    if ledger.photos != source:
        raise InvalidValueError(f"{folder} has the pictures of {ledger.photos}; choose another folder with -o.")
    return ledger


def _key(photo: Photo) -> str:
    return photo.name.as_posix()
