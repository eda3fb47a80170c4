"""The official weights of AnimeGANv2 for PyTorch: where they are published, under which terms, and how to know them.

They are not bundled: `sakuga weights get` downloads those that the operator wants from where their author keeps them.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.errors import InvalidValueError, WeightsError

REPOSITORY: Final = "bryandlee/animegan2-pytorch"
COMMIT: Final = "25d7b017267208dfaf34026aa3425e518372aa2f"
LICENCE: Final = "MIT, Copyright (c) 2021 Bryan Lee"
LICENCE_URL: Final = f"https://github.com/{REPOSITORY}/blob/{COMMIT}/LICENSE"


@dataclass(frozen=True, slots=True)
class Published:
    """Weights in the repository; `blob` is the id that git gives the file, `upsample` how they were trained to draw.

    `stricter` names terms of what they derive from; it is empty if the repository tells of none.
    """

    name: str
    title: str
    description: str
    file: str
    blob: str
    upsample: str
    stricter: str = ""

    @property
    def path(self) -> str:
        """The path of the file within the repository."""
        return f"weights/{self.file}"

    @property
    def url(self) -> str:
        return f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/{self.path}"

    @property
    def licence(self) -> str:
        """The licence in a few words, as users of the style see it."""
        return "MIT, derived from work for non-commercial use only" if self.stricter else "MIT"

    @property
    def provenance(self) -> str:
        return f"{REPOSITORY}, {self.path} at {COMMIT[:7]} (git blob {self.blob[:12]}…)"


_ALL: Final = (
    Published(
        name="face-paint",
        title="Face paint",
        description="painted portraits, the second version; trained on faces of 512 pixels",
        file="face_paint_512_v2.pt",
        blob="d75102f8f201ddaf8dbe6b913b1a97585b55f838",
        upsample="align_corners",
    ),
    Published(
        name="face-paint-v1",
        title="Face paint v1",
        description="painted portraits, the first version: prettier, but less robust; trained on faces of 512 pixels",
        file="face_paint_512_v1.pt",
        blob="19c1a1da4d9580186109a2b055d91044e5127de6",
        upsample="align_corners",
    ),
    Published(
        name="celeba-distill",
        title="CelebA distilled",
        description="faces as in webtoons; trained on faces of 256 pixels",
        file="celeba_distill.pt",
        blob="3b7ea61b02254980831cc3bc77af30666dbc999c",
        upsample="align_corners",
        stricter="By its name and the repository's README, it was distilled with photos of CelebA-HQ, which are for "
        "non-commercial use only.",
    ),
    Published(
        name="paprika",
        title="Paprika",
        description="scenes in the colours of the film Paprika",
        file="paprika.pt",
        blob="58086c9db9fc7a9e5c2876ca31b8079599352643",
        upsample="asymmetric",
        stricter="It was converted from the original AnimeGANv2, whose authors allow non-commercial use only.",
    ),
)
CATALOGUE: Final = {entry.name: entry for entry in _ALL}


def published(name: str) -> Published:
    """Return an entry of the catalogue.

    Raises:
        InvalidValueError: there is none of this name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise InvalidValueError(f"{name} is not in the catalogue, which has: {', '.join(CATALOGUE)}.") from None


def git_blob(file: Path) -> str:
    """Return the id that git gives a file: the SHA-1 of its size and its content.

    It identifies a file well enough: there are ways to make two files with one SHA-1, but none to make another file
    with that of a given one.
    """
    prefix = f"blob {file.stat().st_size}\0".encode()
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.sha1(prefix, usedforsecurity=False)).hexdigest()


def is_published(file: Path, entry: Published) -> bool:
    """Return whether a file is the published one, byte for byte."""
    return git_blob(file) == entry.blob


def require_published(file: Path, entry: Published) -> None:
    """Refuse any file but the published one, before anything of it is parsed.

    Raises:
        WeightsError: it is another.
    """
    if not is_published(file, entry):
        raise WeightsError(f"{file.name} is not the {entry.file} that {REPOSITORY} has published; it was not imported.")
