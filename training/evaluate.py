"""Evaluate weights on photos they were never trained on: figures against the rendered target, and contact sheets.

    python -m training.evaluate PHOTO_OR_FOLDER … --style hinata --sheet sheet.jpg
    python -m training.evaluate PHOTO_OR_FOLDER … --style hinata --weights other.pt:asymmetric --pictures BEFORE
    python -m training.evaluate PHOTO_OR_FOLDER … --style hinata --sides 512 1024 2048

Columns: photo, target, the pictures of each of the weights (the style's bundled ones, full before light, then those
named), and earlier pictures. What is not given of weights is taken from the manifest beside them, if there is one.
"""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from PIL import Image

from shared import pipeline
from shared.drawing import no_faces
from shared.styles import BUNDLED_WEIGHTS, Style, read_manifest
from training.analysis import Analysis, read_analysis
from training.figures import Figures, SizeFigures, compare, compare_sizes, mean_of, reduced
from training.photos import Rgb, read_photo, shrunk
from training.target import GRADES, render
from training.train import CHECKPOINT, read_checkpoint
from worker.engines.base import PLENTY
from worker.engines.faces import FaceDetector
from worker.engines.torch_engine import TorchEngine
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.weights import fill, load_generator, new_generator, read_tensors, recognise

MIN_SIDE = 128  # pixels; smaller files are icons, not photos
Generator = AnimeGanV2 | LightGenerator


@dataclass(frozen=True, slots=True)
class Drawer:
    """Weights ready to draw; `drawn_at`, `close_ups` and `small_faces` as the style has them."""

    name: str
    generator: Generator
    drawn_at: int | None = None
    close_ups: bool = True
    small_faces: bool = True

    @classmethod
    def of(cls, style: Style, generator: Generator, name: str) -> Self:
        """Weights that draw as a style says."""
        return cls(name, generator, style.drawn_at, style.close_ups, style.small_faces)

    def draw(self, photo: Rgb) -> Rgb:
        """The picture of a photo at the photo's size."""
        return draw(self.generator, photo, self.drawn_at, close_ups=self.close_ups, small_faces=self.small_faces)

    def draw_at(self, side: int, photo: Rgb) -> Rgb:
        """The picture that a request for `side` pixels gets of a photo; the photo is larger."""
        return reduced(self.draw(shrunk(photo, max(side, self.drawn_at or side))), side)


def read_photos(places: Collection[Path], max_side: int) -> Iterator[tuple[Path, Rgb]]:
    """Yield every photo of files and folders, upright, at most `max_side` pixels wide or high.

    Raises:
        OSError, ValueError, DecompressionBombError: a file that was named is no photo; those in a folder are left out.
    """
    for path in (path for place in places for path in (sorted(place.iterdir()) if place.is_dir() else (place,))):
        try:
            photo = read_photo(path, max_side)
        except (OSError, ValueError, Image.DecompressionBombError):
            if path in places:
                raise
            continue  # a folder may contain damaged files and bombs on purpose
        if min(photo.shape[:2]) >= MIN_SIDE:
            yield path, photo


def draw(
    generator: Generator,
    photo: Rgb,
    drawn_at: int | None = None,
    *,
    close_ups: bool = True,
    small_faces: bool = True,
) -> Rgb:
    """Draw as the service does, at the size of the photo; the options after `photo` are those of a style."""
    engine = TorchEngine(generator, memory=PLENTY)
    if drawn_at:
        engine.draw_at(
            drawn_at,
            _face_detector().face_heights if close_ups else no_faces,
            _face_detector().find_faces if small_faces else None,
        )
    return pipeline.draw(photo, engine)


@cache
def _face_detector() -> FaceDetector:
    return FaceDetector()


def contact_sheet(rows: Sequence[tuple[Rgb, ...]], height: int = 360, title: str = "") -> Image.Image:
    """One row per photo, every picture `height` pixels high, under a line of text if there is one."""
    strips = []
    for row in rows:
        width = round(height * row[0].shape[1] / row[0].shape[0])
        strips.append(np.hstack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in row]))
    widest = max(strip.shape[1] for strip in strips)
    if title:
        line = np.full((28, widest, 3), 255, np.uint8)
        cv2.putText(line, title, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        strips.insert(0, line)
    framed = [np.pad(strip, ((0, 4), (0, widest - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return Image.fromarray(np.vstack(framed))


def contact_sheets(
    path: Path, columns: Sequence[tuple[str, Sequence[Rgb]]], *, height: int = 360, rows: int = 10
) -> list[Path]:
    """Save sheets of `rows` rows, numbered if there are several; return their paths."""
    pictures = list(zip(*(drawn for _, drawn in columns), strict=True))
    title = "  |  ".join(name for name, _ in columns)
    starts = range(0, len(pictures), rows)
    paths = [path.with_stem(f"{path.stem}-{number}") for number in range(1, len(starts) + 1)] if starts[1:] else [path]
    for start, place in zip(starts, paths, strict=True):
        contact_sheet(pictures[start : start + rows], height, title).save(place, quality=88)
    return paths


def load_weights(path: Path, upsample: Upsample = Upsample.HALF_PIXEL) -> Generator:
    """Load weights of either generator, or the current ones of a run, ready to draw."""
    tensors = read_checkpoint(path)["average"] if path.name == CHECKPOINT else read_tensors(path)
    generator = new_generator(recognise(tensors), upsample)
    fill(generator, tensors)
    return generator.eval()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare weights with the rendered target on photos.")
    parser.add_argument("photos", type=Path, nargs="+", help="files, and folders of them")
    parser.add_argument("--style", required=True, choices=list(GRADES), help="style whose target to compare with")
    parser.add_argument("--analysis", type=Path, help="folder written by training/analyse.py")
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        help="other weights, too: FILE[:UPSAMPLE][@DRAWN_AT]; the rest is taken from the manifest beside FILE",
    )
    parser.add_argument("--pictures", type=Path, action="append", default=[], help="folder, files named as photos")
    parser.add_argument("--max-side", type=int, default=640)
    parser.add_argument("--each", action="store_true", help="print the figures of every photo, too")
    parser.add_argument("--sides", type=int, nargs="+", help="compare pictures of these sizes instead")
    parser.add_argument("--save", type=Path, help="folder for all pictures, to be given as --pictures later")
    parser.add_argument("--sheet", type=Path, help="file for the contact sheet; several are numbered")
    parser.add_argument("--sheet-height", type=int, default=360, help="height of a picture on it, in pixels")
    parser.add_argument("--sheet-rows", type=int, default=10)
    return parser.parse_args()


def _drawers(style: str, others: Iterable[str]) -> Iterator[Drawer]:
    """The bundled weights of both sizes, then others."""
    for bundled in sorted(read_manifest(BUNDLED_WEIGHTS), key=lambda one: one.name):
        if bundled.look == style:
            yield Drawer.of(bundled, load_generator(bundled), bundled.name)
    yield from map(other_drawer, others)


def other_drawer(text: str) -> Drawer:
    """The weights that FILE[:UPSAMPLE][@DRAWN_AT] names.

    What is not given is taken from the manifest beside the file; weights in no manifest draw at the size of the photo,
    close-ups too, and stderr says so.
    """
    named, _, drawn_at = text.partition("@")
    name, _, upsample = named.partition(":")
    file = Path(name)
    if not file.exists():
        sys.exit(f"there is no weights file {file}")
    listed = next((style for style in read_manifest(file.parent) if style.file == file.name), None)
    generator = load_weights(file, Upsample(upsample or (listed.upsample if listed else Upsample.HALF_PIXEL)))
    title = file.parent.name if file.name == CHECKPOINT else file.stem
    if drawn_at:
        return Drawer(title, generator, int(drawn_at))
    if listed:
        return Drawer.of(listed, generator, title)
    print(f"{file}: no manifest says at which size to draw; drawing whole photos, close-ups too", file=sys.stderr)
    return Drawer(title, generator)


def _columns(
    photos: Sequence[tuple[Path, Rgb]], found: Sequence[Analysis | None], arguments: argparse.Namespace
) -> Iterator[tuple[str, list[Rgb]]]:
    originals = [photo for _, photo in photos]
    yield "photo", originals
    yield (
        "target",
        [render(photo, arguments.style, analysis) for photo, analysis in zip(originals, found, strict=True)],
    )
    for drawer in _drawers(arguments.style, arguments.weights):
        yield drawer.name, [drawer.draw(photo) for photo in originals]
    for folder in arguments.pictures:
        yield folder.name, [_recorded(folder, path, photo) for path, photo in photos]


def _recorded(folder: Path, path: Path, photo: Rgb) -> Rgb:
    """The picture in a folder that is named like the photo, scaled to the photo's size."""
    picture = next(folder.glob(f"{path.stem}.*"), None)
    if picture is None:
        sys.exit(f"{folder} has no picture of {path.name}")
    recorded = read_photo(picture, max(photo.shape))
    return np.asarray(cv2.resize(recorded, photo.shape[1::-1], interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    """Print the mean figures of every column; save pictures and sheets if asked to."""
    arguments = _arguments()
    photos = list(read_photos(arguments.photos, max(arguments.sides or [arguments.max_side])))
    if not photos:
        sys.exit(f"no photo of {MIN_SIDE} pixels or more among them")
    if arguments.sides:
        _print_sizes([photo for _, photo in photos], _drawers(arguments.style, arguments.weights), arguments.sides)
        return
    found = [_analysis(arguments.analysis, path, photo) for path, photo in photos]
    columns = list(_columns(photos, found, arguments))
    _print_figures([path.name for path, _ in photos], columns, found, each=arguments.each)
    for name, drawn in columns if arguments.save else ():
        _save(arguments.save / name, [path.stem for path, _ in photos], drawn)
    if arguments.sheet:
        contact_sheets(arguments.sheet, columns, height=arguments.sheet_height, rows=arguments.sheet_rows)


def _print_figures(
    names: Sequence[str],
    columns: Sequence[tuple[str, Sequence[Rgb]]],
    found: Sequence[Analysis | None],
    *,
    each: bool,
) -> None:
    (_, originals), (_, targets) = columns[:2]
    faces = [analysis.faces if analysis else None for analysis in found]
    _print_row(f"mean of {len(names)}", [field.name for field in fields(Figures)])
    for title, drawn in columns:
        figures = list(map(compare, drawn, targets, originals, faces))
        for name, one in zip(names, figures, strict=True) if each else ():
            _print_row(f"  {name}", astuple(one))
        _print_row(title, astuple(mean_of(figures)))


def _print_sizes(photos: Sequence[Rgb], drawers: Iterable[Drawer], sides: Sequence[int]) -> None:
    """Print the mean figures at every size; colours are compared with those at the first."""
    large = [photo for photo in photos if max(photo.shape[:2]) >= max(sides)]
    if not large:
        sys.exit(f"no photo is {max(sides)} pixels wide or high")
    _print_row(f"mean of {len(large)}", [field.name for field in fields(SizeFigures)])
    for drawer in drawers:
        drawn = [[drawer.draw_at(side, photo) for side in sides] for photo in large]
        for number, side in enumerate(sides):
            figures = (compare_sizes(pictures[number], pictures[0]) for pictures in drawn)
            _print_row(f"{drawer.name} at {side}", astuple(mean_of(figures)))


def _print_row(title: str, cells: Iterable[str | float]) -> None:
    print(f"{title:28}" + "".join(f"{cell:>12}" if isinstance(cell, str) else f"{cell:12.4f}" for cell in cells))


def _save(folder: Path, stems: Iterable[str], pictures: Iterable[Rgb]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, picture in zip(stems, pictures, strict=True):
        Image.fromarray(picture).save(folder / f"{stem}.png")


def _analysis(folder: Path | None, path: Path, photo: Rgb) -> Analysis | None:
    height, width = photo.shape[:2]
    return read_analysis(folder, path, (height, width)) if folder else None


if __name__ == "__main__":
    main()
