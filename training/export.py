"""Bring a trained run into `weights/`: safetensors, a preview and the manifest entry with its digest.

    python -m training.export --style hinata --size light --title Hinata --photo PHOTO --provenance "..."

Imported by `training` only.
"""

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest, write_manifest
from training.evaluate import Rgb, draw, load_weights, read_photo
from training.train import RUNS, Checkpoint
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.weights import write_tensors

PREVIEW_SIDE = 480  # pixels
PREVIEW_SPLIT = 144  # left of this the preview shows the photo, right of it the picture


@dataclass(frozen=True, slots=True)
class Label:
    """What the manifest says of a style besides its files."""

    style: str
    title: str
    provenance: str
    size: Size = Size.LIGHT
    licence: str = "MIT"

    @property
    def name(self) -> str:
        return f"{self.style}-{self.size}"


def averaged_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The moving average of a run's weights."""
    state: Checkpoint = torch.load(checkpoint, weights_only=True)
    return {name: value.contiguous() for name, value in state["average"].items()}


def export(checkpoint: Path, label: Label, folder: Path = BUNDLED_WEIGHTS, *, photo: Path | None = None) -> Style:
    """Write weights, preview and manifest entry; an entry of the same name is replaced, others are kept."""
    weights = averaged_weights(checkpoint)
    file = folder / f"{label.name}.safetensors"
    write_tensors(file, weights)
    generator = load_weights(file)
    preview = write_preview(generator, photo, folder / f"{label.name}.webp") if photo else ""
    style = Style(
        name=label.name,
        title=label.title,
        size=label.size,
        file=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        upsample=Upsample.HALF_PIXEL.value,
        licence=label.licence,
        provenance=label.provenance,
        preview=preview,
        folder=folder,
    )
    write_manifest(folder, [other for other in read_manifest(folder) if other.name != style.name] + [style])
    return style


def write_preview(generator: AnimeGanV2 | LightGenerator, photo: Path, path: Path) -> str:
    """Save a square preview, the photo on its left and the picture on its right; returns its file name."""
    before = _square(read_photo(photo, max_side=4096))
    after = draw(generator, before)
    after[:, :PREVIEW_SPLIT] = before[:, :PREVIEW_SPLIT]
    after[:, PREVIEW_SPLIT - 1 : PREVIEW_SPLIT + 1] = 255
    Image.fromarray(after).save(path, "WEBP", quality=82, method=6)
    return path.name


def _square(photo: Rgb) -> Rgb:
    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    cut = photo[top : top + side, left : left + side]
    return np.asarray(cv2.resize(cut, (PREVIEW_SIDE, PREVIEW_SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Export a run into weights/.")
    parser.add_argument("--style", required=True)
    parser.add_argument("--size", type=Size, choices=list(Size), default=Size.LIGHT)
    parser.add_argument("--run", default="", help="name of the run; style-size by default")
    parser.add_argument("--title", required=True)
    parser.add_argument("--provenance", required=True)
    parser.add_argument("--photo", type=Path, help="a freely licensed photo to make the preview from")
    return parser.parse_args()


def main() -> None:
    """Export and print the entry's digest."""
    arguments = _arguments()
    label = Label(arguments.style, arguments.title, arguments.provenance, arguments.size)
    style = export(RUNS / (arguments.run or label.name) / "checkpoint.pt", label, photo=arguments.photo)
    print(f"{style.name}  {style.sha256}  {style.weights_path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
