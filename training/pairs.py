"""Stored pairs of photo and target: a file each, mapped into memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from shared.files import write_atomically
from training.photos import CACHE, Rgb

PEOPLE = 0.65  # share of the crops that are cut from pictures of people
CHECKED = "checked.tsv"  # the name of each pair that was requested, and the reason if it must not be learned from

Faces = npt.NDArray[np.float32]  # (N, 478, 2) in units of the photo


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo and its target, both (H, W, 3), and the faces in them."""

    name: str
    photo: Rgb
    target: Rgb
    faces: Faces


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs that a generator learns from. Those with faces have a share of their own."""

    people: tuple[Pair, ...]
    others: tuple[Pair, ...]

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> Self:
        """Sort pairs by whether there are faces in them."""
        listed = list(pairs)
        return cls(
            tuple(pair for pair in listed if len(pair.faces)), tuple(pair for pair in listed if not len(pair.faces))
        )

    def __len__(self) -> int:
        return len(self.people) + len(self.others)

    def draw(self, rng: np.random.Generator) -> Pair:
        """Choose one at random."""
        with_faces = self.people and (not self.others or rng.random() < PEOPLE)
        kind = self.people if with_faces else self.others
        return kind[int(rng.integers(len(kind)))]


def pairs_path(style: str) -> Path:
    """The folder of a style's pairs."""
    return CACHE / style


def pair_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def write_pair(folder: Path, pair: Pair) -> None:
    """Store a pair, either completely or not at all."""
    np.save(_faces_path(folder, pair.name), pair.faces)
    stored = BytesIO()
    np.save(stored, np.stack((pair.photo, pair.target)))
    write_atomically(pair_path(folder, pair.name), stored.getvalue())


def read_pair(folder: Path, name: str) -> Pair:
    """Map a pair into memory."""
    photo, target = np.load(pair_path(folder, name), mmap_mode="r")
    return Pair(name, photo, target, np.load(_faces_path(folder, name)))


def read_pairs(folder: Path) -> Pairs:
    """Map the pairs of a style that passed the last check into memory; others in the folder are left out.

    Raises:
        FileNotFoundError: they have not been rendered and checked.
    """
    checked = (line.split("\t") for line in (folder / CHECKED).read_text("utf-8").splitlines())
    return Pairs.of(read_pair(folder, name) for name, failure in checked if not failure)


def write_checked(folder: Path, failures: Mapping[str, str]) -> None:
    """Note the pairs that were requested: the name of each, and why it failed if it did."""
    (folder / CHECKED).write_text("".join(f"{name}\t{failure}\n" for name, failure in failures.items()), "utf-8")


def _faces_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.faces.npy"
