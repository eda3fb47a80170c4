"""Judge weights on photos they were never trained on: figures against the rendered target, and a contact sheet.

    python -m training.evaluate PHOTO_OR_FOLDER … --style hinata --sheet sheet.jpg
    python -m training.evaluate PHOTO_OR_FOLDER … --style hinata --weights other.pt:asymmetric

Columns of the sheet: photo, target, and what each of the weights draws (the style's bundled ones, full before light,
then those named). Imported by `training` only.
"""

import argparse
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from flip_evaluator import evaluate as flip
from PIL import Image, ImageOps
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from shared.pipeline import postprocess, preprocess
from shared.styles import BUNDLED_WEIGHTS, read_manifest
from training.target import GRADES, render
from worker.engines.base import PLENTY
from worker.engines.torch_engine import TorchEngine
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.weights import fill, load_generator, new_generator, read_tensors, recognise

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
THIN = 5  # pixels; narrower structures are thin
THIN_CONTRAST = 10.0  # of CIE L*, 0..100, to what is beside them
THIN_LENGTH = 16  # pixels; shorter ones are texture
SMALLEST_SIDE = 128  # pixels; smaller files are icons, not photos
MOST_PIXELS = 30_000_000
Generator = AnimeGanV2 | LightGenerator


@dataclass(frozen=True, slots=True)
class Figures:
    """How near a picture is to the target. A recall of what a photo has none of is NaN."""

    psnr: float  # dB
    ssim: float  # at most 1
    flip: float  # perceptual distance 0..1 at 67 pixels per degree. Source: Andersson et al., "FLIP" (2020)
    l1: float  # colours in -1..1
    edge_recall: float  # share of the target's edges that the picture has too, within a pixel
    thin_recall: float  # share of the photo's long thin strokes that keep half their contrast
    delta_e: float  # mean CIE76 colour difference
    roughness: float  # fine variation in the target's flat places over the target's own, each + 0.1; 1 is as flat
    border: float  # L1 of the outermost 8 pixels over that of the rest


def photos_in(places: Collection[Path], max_side: int) -> Iterator[tuple[str, Rgb]]:
    """Every photo of files and folders, upright, at most `max_side` pixels wide or high.

    Raises:
        OSError, ValueError, DecompressionBombError: a file that was named is no photo; those in a folder are left out.
    """
    for path in (path for place in places for path in (sorted(place.iterdir()) if place.is_dir() else (place,))):
        try:
            photo = read_photo(path, max_side)
        except (OSError, ValueError, Image.DecompressionBombError):
            if path in places:
                raise
            continue  # photos in a folder may be damaged or bombs on purpose
        if min(photo.shape[:2]) >= SMALLEST_SIDE:
            yield path.name, photo


def read_photo(path: Path, max_side: int) -> Rgb:
    """Decode as RGB on white, upright, shrunk to `max_side`.

    Raises:
        ValueError: above 30 megapixels.
        OSError: when it is no image.
    """
    with Image.open(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{path.name} is too large to evaluate on")
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    on_white.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.array(on_white, np.uint8)


def draw(generator: Generator, photo: Rgb) -> Rgb:
    """Run the generator as the service does."""
    engine = TorchEngine(generator, memory=PLENTY)
    tensor, box = preprocess(photo, engine)
    return postprocess(engine.generate(tensor), box)


def compare(picture: Rgb, target: Rgb, photo: Rgb) -> Figures:
    """Measure a picture against its target, and its thin structures against the photo; all (H, W, 3), 0..255."""
    error = np.abs(picture.astype(np.float32) - target) / 127.5
    inner = error[8:-8, 8:-8]
    rim = (error.sum() - inner.sum()) / (error.size - inner.size)
    wanted, found = (image.astype(np.float32) / 255 for image in (target, picture))
    colours = (cv2.cvtColor(image, cv2.COLOR_RGB2Lab) for image in (found, wanted))
    with np.errstate(divide="ignore"):  # infinite when nothing differs
        psnr = float(peak_signal_noise_ratio(target, picture))  # type: ignore[no-untyped-call]
    return Figures(
        psnr=psnr,
        ssim=float(structural_similarity(target, picture, channel_axis=2)),  # type: ignore[no-untyped-call]
        flip=float(flip(wanted, found, "LDR", applyMagma=False)[1]),
        l1=float(error.mean()),
        edge_recall=_edge_recall(picture, target),
        thin_recall=_thin_recall(picture, photo),
        delta_e=float(np.linalg.norm(np.subtract(*colours), axis=2).mean()),
        roughness=_roughness(picture, target),
        border=float(rim / max(float(inner.mean()), 1e-6)),
    )


def mean_of(figures: Iterable[Figures]) -> Figures:
    """The mean of every figure, where there is one."""
    columns = np.array([astuple(one) for one in figures]).T
    known = (column[~np.isnan(column)] for column in columns)
    return Figures(*(float(values.mean()) if values.size else float("nan") for values in known))


def contact_sheet(rows: Sequence[tuple[Rgb, ...]], height: int = 360) -> Image.Image:
    """One row per photo, every picture `height` pixels high."""
    strips = []
    for row in rows:
        width = round(height * row[0].shape[1] / row[0].shape[0])
        strips.append(np.hstack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in row]))
    widest = max(strip.shape[1] for strip in strips)
    framed = [np.pad(strip, ((0, 4), (0, widest - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return Image.fromarray(np.vstack(framed))


def load_weights(path: Path, upsample: Upsample = Upsample.HALF_PIXEL) -> Generator:
    """Weights of either generator, ready to draw."""
    tensors = read_tensors(path)
    generator = new_generator(recognise(tensors), upsample)
    fill(generator, tensors)
    return generator.eval()


def _edge_recall(picture: Rgb, target: Rgb) -> float:
    found, wanted = (cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 60, 140) > 0 for image in (picture, target))
    near = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return _share(int((wanted & near).sum()), int(wanted.sum()))


def _thin_recall(picture: Rgb, photo: Rgb) -> float:
    """Dark and light strokes of the photo that the picture has within a pixel, with half the contrast at least."""
    kept = wanted = 0
    narrow, near = np.ones((THIN, THIN), np.uint8), np.ones((3, 3), np.uint8)
    lightness = [_lightness(image) for image in (photo, picture)]
    for dark_or_light in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT):
        before, after = (cv2.morphologyEx(image, dark_or_light, narrow) for image in lightness)
        strokes = _long(before > THIN_CONTRAST)
        kept += int((strokes & (cv2.dilate(after, near) > before / 2)).sum())
        wanted += int(strokes.sum())
    return _share(kept, wanted)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _lightness(image: Rgb) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[..., 0], np.float32)


def _long(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The connected parts that are `THIN_LENGTH` pixels wide or high."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    long = boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(1) >= THIN_LENGTH
    long[0] = False  # the background
    return np.asarray(long[labels], np.bool_)


def _roughness(picture: Rgb, target: Rgb) -> float:
    rough, wanted = _fine_variation(picture), _fine_variation(target)
    flat = cv2.blur(wanted, (5, 5)) < 2.0
    return float((rough[flat].mean() + 0.1) / (wanted[flat].mean() + 0.1)) if flat.any() else 1.0


def _fine_variation(image: Rgb) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare weights with the rendered target on photos.")
    parser.add_argument("photos", type=Path, nargs="+", help="files, and folders of them")
    parser.add_argument("--style", required=True, choices=list(GRADES), help="whose target to compare with")
    parser.add_argument("--weights", action="append", default=[], help="others too: FILE or FILE:UPSAMPLE")
    parser.add_argument("--max-side", type=int, default=640)
    parser.add_argument("--sheet", type=Path, help="where to save the contact sheet")
    parser.add_argument("--sheet-height", type=int, default=360, help="of a picture on it, in pixels")
    return parser.parse_args()


def _generators(style: str, others: Iterable[str]) -> Iterator[tuple[str, Generator]]:
    """The bundled weights of both sizes, then others."""
    for bundled in sorted(read_manifest(BUNDLED_WEIGHTS), key=lambda one: one.name):
        if bundled.look == style:
            yield bundled.name, load_generator(bundled)
    for other in others:
        file, _, upsample = other.partition(":")
        if not Path(file).exists():
            sys.exit(f"there is no weights file {file}")
        yield Path(file).name, load_weights(Path(file), Upsample(upsample or Upsample.HALF_PIXEL))


def main() -> None:
    """Print the figures of every photo and their mean, for each of the weights; save the sheet if asked to."""
    arguments = _arguments()
    photos = list(photos_in(arguments.photos, arguments.max_side))
    if not photos:
        sys.exit(f"no photo of {SMALLEST_SIDE} pixels or more among them")
    targets = [render(photo, arguments.style) for _, photo in photos]
    columns = [[photo for _, photo in photos], targets]
    for weights, generator in _generators(arguments.style, arguments.weights):
        drawn = [draw(generator, photo) for _, photo in photos]
        _print_figures(weights, [name for name, _ in photos], list(map(compare, drawn, targets, columns[0])))
        columns.append(drawn)
    if arguments.sheet:
        sheet = contact_sheet(list(zip(*columns, strict=True)), arguments.sheet_height)
        sheet.save(arguments.sheet, quality=85)


def _print_figures(title: str, names: Sequence[str], figures: Sequence[Figures]) -> None:
    print(f"{title:28}" + "".join(f"{field.name:>13}" for field in fields(Figures)))
    for name, one in zip((*names, "mean"), (*figures, mean_of(figures)), strict=True):
        print(f"{name:28}" + "".join(f"{value:13.4f}" for value in astuple(one)), flush=True)


if __name__ == "__main__":
    main()
