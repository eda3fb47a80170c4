"""Bring a trained run into `weights/`: safetensors, a preview and the manifest entry with its digest.

    python -m training.export --style hinata --size light --title Hinata --photo PHOTO

The exported weights are the moving average of the trained ones, in half precision.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from shared.files import file_sha256
from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest, write_manifest
from training.evaluate import draw, load_weights
from training.photos import Rgb, read_photo
from training.train import STORED, Recipe, checkpoint_path, read_checkpoint
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.weights import write_tensors

PREVIEW_SIDE = 480  # pixels
PREVIEW_SPLIT = 144  # left of this the preview shows the photo, right of it the picture


def provenance(recipe: Recipe) -> str:
    """Return the origin of weights in the words of the manifest."""
    return (
        f"trained by training/ on {recipe.pairs:,} pairs of photo and rendered target (training/README.md says which): "
        f"{recipe.steps:,} steps from {recipe.start}, seed {recipe.seed}"
    )


def export(
    checkpoint: Path, title: str, folder: Path = BUNDLED_WEIGHTS, *, description: str = "", photo: Path | None = None
) -> Style:
    """Write weights, preview and manifest entry; an entry of the same name is replaced.

    Weights are kept in half precision and computed in single.

    Raises:
        ValueError: the run has not finished.
    """
    state = read_checkpoint(checkpoint)
    recipe = STORED.validate_python(state["recipe"])
    if state["step"] < recipe.steps:
        raise ValueError(f"the run is at step {state['step']} of {recipe.steps}: --resume it")
    name = f"{recipe.style}-{recipe.size}"
    file = folder / f"{name}.safetensors"
    write_tensors(file, {key: value.half().contiguous() for key, value in state["average"].items()})
    preview = write_preview(load_weights(file), photo, folder / f"{name}.webp", recipe.drawn_at) if photo else ""
    style = Style(
        name=name,
        title=title,
        description=description,
        size=recipe.size,
        file=file.name,
        sha256=file_sha256(file),
        upsample=Upsample.HALF_PIXEL.value,
        drawn_at=recipe.drawn_at,
        close_ups=True,
        small_faces=True,
        licence="MIT",
        provenance=provenance(recipe),
        preview=preview,
        folder=folder,
    )
    others = {other.name: other for other in read_manifest(folder)}
    write_manifest(folder, list((others | {name: style}).values()))  # replaced in place, if it is there
    return style


def write_preview(generator: AnimeGanV2 | LightGenerator, photo: Path, path: Path, drawn_at: int) -> str:
    """Save a square preview, the photo on its left and the picture on its right; returns its file name."""
    before = _square(read_photo(photo, max_side=4096))
    after = draw(generator, before, drawn_at)
    preview = np.hstack((before[:, :PREVIEW_SPLIT], after[:, PREVIEW_SPLIT:]))
    preview[:, PREVIEW_SPLIT - 1 : PREVIEW_SPLIT + 1] = 255
    Image.fromarray(preview).save(path, "WEBP", quality=82, method=6)
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
    parser.add_argument("--description", default="", help="what its pictures look like, in a few words")
    parser.add_argument("--photo", type=Path, help="a freely licensed photo for the preview")
    return parser.parse_args()


def main() -> None:
    """Export, and print the digest of the weights."""
    arguments = _arguments()
    checkpoint = checkpoint_path(arguments.style, arguments.size, arguments.run)
    if not checkpoint.exists():
        sys.exit(f"there is no run at {checkpoint}: run python -m training.train first")
    style = export(checkpoint, arguments.title, description=arguments.description, photo=arguments.photo)
    print(f"{style.name}  {style.sha256}  {style.weights_path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
