"""Renders what a generator is taught: pairs of photo and target, checked by rule.

    python -m training.photos
    python -m training.data --folder training/cache/photos --folder PORTRAITS --analyses ANALYSES --composed 200

Besides each photo as it is, a piece is rendered of the large ones, and people of some photos before others. Imported
by `training` only.
"""

import argparse
import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from training.analysis import Analysis, nothing_found, read_analysis
from training.checks import failures
from training.pairs import FAILED, Pair, pair_names, pair_path, pairs_path, read_pair, write_pair
from training.photos import CACHE, FOLDER, Rgb, photos_in, read_photo
from training.props import add_props
from training.target import GRADES, drawing_size, render_all
from training.variants import cut_piece, is_scene, is_sitter, place_person
from training.view import SIDE

CLOSER = (1.4, 2.4)  # how much larger than in the whole photo things are in a piece of it


@dataclass(frozen=True, slots=True)
class Picture:
    """What is to be rendered: a photo, a piece of it, or the person in it before a scene."""

    name: str
    photo: Path
    piece: bool = False
    scene: Path | None = None


@dataclass(frozen=True, slots=True)
class Studio:
    """Where pictures are rendered, and in which styles. Without analyses nothing is known of any photo."""

    styles: tuple[str, ...]
    cache: Path = CACHE
    analyses: Path | None = None
    seed: int = 1

    def read(self, photo: Path, max_side: int = SIDE) -> tuple[Rgb, Analysis]:
        """A photo, and what is known of it."""
        pixels = read_photo(photo, max_side)
        return pixels, self.know(photo, (pixels.shape[0], pixels.shape[1]))

    def read_whole(self, photo: Path) -> tuple[Rgb, Analysis]:
        """A photo as large as it is drawn, a small one enlarged, and what is known of it."""
        pixels = read_photo(photo, SIDE)
        height, width = drawing_size(pixels.shape[0], pixels.shape[1])
        enlarged = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        return np.array(enlarged, np.uint8), self.know(photo, (height, width))

    def know(self, photo: Path, size: tuple[int, int]) -> Analysis:
        """What is known of a photo, with masks of (height, width)."""
        return read_analysis(self.analyses, photo, size) if self.analyses else nothing_found(*size)


def pictures_of(photos: Sequence[Path], studio: Studio, composed: int = 0) -> list[Picture]:
    """What is made of photos: each as it is, a piece of the large ones, and so many people before scenes."""
    known = {photo: studio.know(photo, (SIDE // 4, SIDE // 4)) for photo in photos} if composed else {}
    sitters = [photo for photo in known if is_sitter(known[photo])]
    scenes = [photo for photo in known if is_scene(known[photo])]
    rng = np.random.default_rng(studio.seed)
    return [
        *(Picture(_name(photo), photo) for photo in photos),
        *(Picture(f"{_name(photo)}-piece", photo, piece=True) for photo in photos if _is_large(photo)),
        *(
            Picture(f"composed-{number:04}", _any(sitters, rng), scene=_any(scenes, rng))
            for number in range(composed if sitters and scenes else 0)
        ),
    ]


def render_pairs(pictures: Sequence[Picture], studio: Studio, processes: int = 1) -> None:
    """Render the pairs that are missing, so an interrupted rendering goes on where it stopped.

    Raises:
        ValueError: what is there was made by another recipe.
        FileNotFoundError: a photo has not been analysed.
    """
    for style in studio.styles:
        _claim(studio.cache / style, style)
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
    photo, known = make_picture(picture, studio)
    targets = render_all(photo, known)
    for style in studio.styles:
        if not pair_path(studio.cache / style, picture.name).exists():
            write_pair(studio.cache / style, Pair(picture.name, photo, targets[style], known.faces))


def make_picture(picture: Picture, studio: Studio) -> tuple[Rgb, Analysis]:
    """The pixels to be rendered, a function of the picture and the seed, and what is known of them."""
    rng = np.random.default_rng((studio.seed, *hashlib.sha256(picture.name.encode()).digest()[:8]))
    if picture.piece:
        return cut_piece(*studio.read(picture.photo, round(SIDE * rng.uniform(*CLOSER))), SIDE, rng)
    if picture.scene is None:
        return studio.read_whole(picture.photo)
    photo, known = studio.read(picture.photo)
    scene, around = studio.read(picture.scene)
    return place_person((photo, known), (add_props(scene, rng), around), rng)


def check_pairs(folder: Path) -> dict[str, str]:
    """Find the pairs of a style whose target failed, and note them for `read_pairs` to leave out."""
    failed = failures(read_pair(folder, name) for name in tqdm(pair_names(folder)))
    (folder / FAILED).write_text("".join(f"{name}\t{reason}\n" for name, reason in failed.items()), "utf-8")
    return failed


def _claim(folder: Path, style: str) -> None:
    """Note which recipe makes what is in a folder, or refuse it."""
    recipe = hashlib.sha256(style.encode() + b"".join(_recipe())).hexdigest()[:16]
    noted = folder / "recipe.txt"
    if not noted.exists():
        folder.mkdir(parents=True, exist_ok=True)
        noted.write_text(recipe, "ascii")
    if noted.read_text("ascii") != recipe:
        raise ValueError(f"the pairs in {folder.name} were made by another recipe; remove the folder")


def _recipe() -> Iterator[bytes]:
    """This module, and those that decide what a target is and all that they import of ours."""
    yield Path(__file__).read_bytes()
    names = ["target", "variants", "props"]
    for name in names:
        module = (FOLDER / f"{name}.py").read_bytes()
        yield module
        imported = re.findall(r"^from training\.(\w+) import", module.decode(), re.MULTILINE)
        names += [one for one in dict.fromkeys(imported) if one not in names]


def _any(photos: Sequence[Path], rng: np.random.Generator) -> Path:
    return photos[int(rng.integers(len(photos)))]


def _is_large(photo: Path) -> bool:
    with Image.open(photo) as image:
        return max(image.size) >= CLOSER[0] * SIDE


def _name(photo: Path) -> str:
    return f"{photo.parent.name}-{photo.stem}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Render the pairs of photo and target, and check them.")
    parser.add_argument("--folder", type=Path, action="append", required=True, help="of photos; may be repeated")
    parser.add_argument("--leave-out", type=Path, help="file with names of photos, one a line, that are not used")
    parser.add_argument("--analyses", type=Path, help="folder that training/analyse.py wrote")
    parser.add_argument("--style", choices=list(GRADES), action="append", help="all by default; may be repeated")
    parser.add_argument("--composed", type=int, default=0, help="so many people of some photos before others")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Render what is missing, check everything, and name what failed."""
    arguments = _arguments()
    left_out = arguments.leave_out.read_text("utf-8").split() if arguments.leave_out else ()
    studio = Studio(tuple(arguments.style or GRADES), analyses=arguments.analyses, seed=arguments.seed)
    photos = photos_in(arguments.folder, frozenset(left_out))
    render_pairs(pictures_of(photos, studio, arguments.composed), studio, arguments.processes)
    for style in studio.styles:
        failed = check_pairs(pairs_path(style))
        print(f"{style}: {len(pair_names(pairs_path(style)))} pairs, {len(failed)} of them failed")
        print("".join(f"  {name}: {reason}\n" for name, reason in failed.items()), end="")


if __name__ == "__main__":
    main()
