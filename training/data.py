"""Renders pairs of photo and target, from which a generator learns, and checks them by rules.

    python -m training.photos
    python -m training.data --folder training/cache/photos --folder PORTRAITS --analyses ANALYSES

An interrupted rendering resumes where it stopped.
"""

import argparse
import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from training.checks import failures
from training.pairs import Pair, pair_path, pairs_path, read_pair, write_checked, write_pair
from training.photos import CACHE, FOLDER, photos_in
from training.pictures import Picture, make_picture, pictures_of
from training.target import GRADES, render_all


@dataclass(frozen=True, slots=True)
class Studio:
    """The styles to render, and the folders to use. Without analyses, photos are taken to show no faces or skies."""

    styles: tuple[str, ...]
    cache: Path = CACHE
    analyses: Path | None = None
    seed: int = 1


def render_pairs(pictures: Sequence[Picture], studio: Studio, processes: int = 1) -> None:
    """Render the pairs that are missing, so that an interrupted rendering resumes where it stopped.

    Raises:
        ValueError: pairs that are there were made by another recipe.
        FileNotFoundError: a photo has not been analysed.
    """
    for style in studio.styles:
        _claim(studio.cache / style, style, seed=studio.seed, analysed=studio.analyses is not None)
    missing = [
        one
        for one in pictures
        if not all(pair_path(studio.cache / style, one.name).exists() for style in studio.styles)
    ]
    if processes == 1:
        for picture in tqdm(missing):
            render_picture(picture, studio)
    else:
        with ProcessPoolExecutor(processes) as pool:
            list(tqdm(pool.map(partial(render_picture, studio=studio), missing), total=len(missing)))


def render_picture(picture: Picture, studio: Studio) -> None:
    """Render a picture in every style in which it is missing."""
    cv2.setNumThreads(1)
    photo, known = make_picture(picture, studio.analyses, studio.seed)
    targets = render_all(photo, known)
    for style in studio.styles:
        if not pair_path(studio.cache / style, picture.name).exists():
            write_pair(studio.cache / style, Pair(picture.name, photo, targets[style], known.faces))


def check_pairs(folder: Path, names: Collection[str]) -> dict[str, str]:
    """Return the pairs of a style whose target failed; `read_pairs` then reads the others among these alone."""
    failed = failures(read_pair(folder, name) for name in tqdm(names))
    write_checked(folder, {name: failed.get(name, "") for name in names})
    return failed


def _claim(folder: Path, style: str, *, seed: int, analysed: bool) -> None:
    """Note the recipe that fills a folder, or refuse a folder that was filled by another."""
    recipe = hashlib.sha256(f"{style} {seed} {analysed}".encode() + b"".join(_recipe())).hexdigest()[:16]
    noted = folder / "recipe.txt"
    if not noted.exists():
        folder.mkdir(parents=True, exist_ok=True)
        noted.write_text(recipe, "ascii")
    if noted.read_text("ascii") != recipe:
        raise ValueError(f"the pairs in {folder.name} were made by another recipe; remove the folder")


def _recipe() -> Iterator[bytes]:
    """The source of this module, of those that decide what is rendered and how, and of all that they import here."""
    yield Path(__file__).read_bytes()
    names = ["target", "pictures"]
    for name in names:
        module = (FOLDER / f"{name}.py").read_bytes()
        yield module
        imported = re.findall(r"^from training\.(\w+) import", module.decode(), re.MULTILINE)
        names += [one for one in dict.fromkeys(imported) if one not in names]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render the pairs of photo and target, and check them.")
    parser.add_argument("--folder", type=Path, action="append", required=True, help="folder of photos; may be repeated")
    parser.add_argument("--leave-out", type=Path, help="text file with the names of photos not to use, one per line")
    parser.add_argument("--analyses", type=Path, help="folder written by training/analyse.py")
    parser.add_argument("--style", choices=list(GRADES), action="append", help="all by default; may be repeated")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Render what is missing, check everything, and name what failed."""
    arguments = _arguments()
    left_out = arguments.leave_out.read_text("utf-8").split() if arguments.leave_out else ()
    studio = Studio(tuple(arguments.style or GRADES), analyses=arguments.analyses, seed=arguments.seed)
    photos = photos_in(arguments.folder, frozenset(left_out))
    pictures = pictures_of(photos, studio.analyses)
    render_pairs(pictures, studio, arguments.processes)
    for style in studio.styles:
        failed = check_pairs(pairs_path(style), [picture.name for picture in pictures])
        print(f"{style}: {len(pictures)} pairs, {len(failed)} of them failed")
        print("".join(f"  {name}: {reason}\n" for name, reason in failed.items()), end="")


if __name__ == "__main__":
    main()
