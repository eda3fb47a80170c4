"""Judge weights on photos they were never trained on: figures against the rendered target, and a contact sheet.

    python -m training.evaluate PHOTOS --style hinata --sheet sheet.jpg
    python -m training.evaluate PHOTOS --style hinata --weights other.pt --upsample asymmetric

Columns of the sheet: photo, target, and what each of the weights draws (the style's bundled ones, or those named).
Imported by `training` only.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from shared.pipeline import postprocess, preprocess
from shared.styles import BUNDLED_WEIGHTS
from training.target import render
from worker.engines.torch_engine import TorchEngine
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.weights import fill, new_generator, read_tensors, recognise

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
PLENTY = 1 << 40  # bytes: evaluation runs where memory is no matter
SMALLEST_SIDE = 128  # pixels; smaller files are icons, not photos
MOST_PIXELS = 30_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """How near a picture is to the target.

    `psnr` in dB and `ssim` over the whole; `l1` in the range -1..1; `edge_recall`, the share of the target's edges that
    the picture has too, within a pixel; `delta_e`, the mean CIE76 colour difference; `roughness`, the fine variation in
    the target's flat places over the target's own (1: as flat); `border`, the L1 of the outermost 8 pixels over that of
    the rest.
    """

    psnr: float
    ssim: float
    l1: float
    edge_recall: float
    delta_e: float
    roughness: float
    border: float


def photos_in(folder: Path, max_side: int) -> Iterator[tuple[str, Rgb]]:
    """Every readable photo of a folder in the order of its name, upright, at most `max_side` pixels wide or high."""
    for path in sorted(folder.iterdir()):
        try:
            photo = read_photo(path, max_side)
        except (UnidentifiedImageError, OSError, ValueError):
            continue  # test photos may be damaged or bombs on purpose
        if min(photo.shape[:2]) >= SMALLEST_SIDE:
            yield path.name, photo


def read_photo(path: Path, max_side: int) -> Rgb:
    """Decode as RGB, upright, shrunk to `max_side`.

    Raises:
        ValueError: above 30 megapixels.
        OSError: when it is no image.
    """
    Image.MAX_IMAGE_PIXELS = None  # judged below, and without a warning
    with Image.open(path) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{path.name} is too large to evaluate on")
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return np.array(upright, np.uint8)


def draw(generator: AnimeGanV2 | LightGenerator, photo: Rgb) -> Rgb:
    """Run the generator as the service does."""
    engine = TorchEngine(generator, memory=PLENTY)
    tensor, box = preprocess(photo, engine)
    return postprocess(engine.generate(tensor), box)


def compare(picture: Rgb, target: Rgb) -> Figures:
    """Measure a picture against its target."""
    error = np.abs(picture.astype(np.float32) - target) / 127.5
    inner = error[8:-8, 8:-8]
    rim = (error.sum() - inner.sum()) / (error.size - inner.size)
    colours = (cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for image in (picture, target))
    return Figures(
        psnr=float(peak_signal_noise_ratio(target, picture)),  # type: ignore[no-untyped-call]
        ssim=float(structural_similarity(target, picture, channel_axis=2)),  # type: ignore[no-untyped-call]
        l1=float(error.mean()),
        edge_recall=_edge_recall(picture, target),
        delta_e=float(np.linalg.norm(np.subtract(*colours), axis=2).mean()),
        roughness=_roughness(picture, target),
        border=float(rim / max(float(inner.mean()), 1e-6)),
    )


def mean_of(figures: Iterable[Figures]) -> Figures:
    """The mean of every figure."""
    return Figures(*(float(mean) for mean in np.mean([astuple(one) for one in figures], axis=0)))


def contact_sheet(rows: Sequence[tuple[Rgb, ...]], height: int = 360) -> Image.Image:
    """One row per photo, every picture `height` pixels high."""
    strips = []
    for row in rows:
        width = round(height * row[0].shape[1] / row[0].shape[0])
        strips.append(np.hstack([cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) for image in row]))
    widest = max(strip.shape[1] for strip in strips)
    framed = [np.pad(strip, ((0, 4), (0, widest - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
    return Image.fromarray(np.vstack(framed))


def load_weights(path: Path, upsample: Upsample = Upsample.HALF_PIXEL) -> AnimeGanV2 | LightGenerator:
    """Weights of either generator, ready to draw."""
    tensors = read_tensors(path)
    generator = new_generator(recognise(tensors), upsample)
    fill(generator, tensors)
    return generator.eval()


def _edge_recall(picture: Rgb, target: Rgb) -> float:
    found, wanted = (cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 60, 140) > 0 for image in (picture, target))
    near = cv2.dilate(found.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return float((wanted & near).sum() / max(int(wanted.sum()), 1))


def _roughness(picture: Rgb, target: Rgb) -> float:
    rough, wanted = _fine_variation(picture), _fine_variation(target)
    flat = cv2.blur(wanted, (5, 5)) < 2.0
    return float((rough[flat].mean() + 0.1) / (wanted[flat].mean() + 0.1)) if flat.any() else 1.0


def _fine_variation(image: Rgb) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.abs(np.asarray(cv2.Laplacian(grey, cv2.CV_32F), np.float32))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare weights with the rendered target on a folder of photos.")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--style", required=True, help="whose target to compare with")
    parser.add_argument("--weights", type=Path, action="append", help="instead of the style's bundled ones")
    parser.add_argument("--upsample", type=Upsample, choices=list(Upsample), default=Upsample.HALF_PIXEL)
    parser.add_argument("--max-side", type=int, default=640)
    parser.add_argument("--sheet", type=Path, help="where to save the contact sheet")
    return parser.parse_args()


def main() -> None:
    """Print the figures of every photo and their mean, for each of the weights; save the sheet if asked to."""
    arguments = _arguments()
    photos = list(photos_in(arguments.photos, arguments.max_side))
    targets = [render(photo, arguments.style) for _, photo in photos]
    drawings = []
    for path in arguments.weights or sorted(BUNDLED_WEIGHTS.glob(f"{arguments.style}-*.safetensors")):
        generator = load_weights(path, arguments.upsample)
        drawn = [draw(generator, photo) for _, photo in photos]
        names = [name for name, _ in photos]
        _print_figures(path.name, dict(zip(names, map(compare, drawn, targets), strict=True)))
        drawings.append(drawn)
    if arguments.sheet:
        rows = zip([photo for _, photo in photos], targets, *drawings, strict=True)
        contact_sheet(list(rows)).save(arguments.sheet, quality=88)


def _print_figures(title: str, figures: dict[str, Figures]) -> None:
    print(f"{title:28}" + "".join(f"{field.name:>13}" for field in fields(Figures)))
    for name, one in (figures | {"mean": mean_of(figures.values())}).items():
        print(f"{name:28}" + "".join(f"{value:13.4f}" for value in astuple(one)))


if __name__ == "__main__":
    main()
