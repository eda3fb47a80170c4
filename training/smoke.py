"""The recipe in miniature: pairs, both generators, a resumed run, export and figures. The loss must fall.

    make train-smoke

It uses only the photos of Python packages, so it fetches nothing. Its results are thrown away.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shared.styles import Size
from training.analysis import nothing_found
from training.data import Studio, check_pairs, render_pairs
from training.evaluate import draw
from training.export import export
from training.figures import compare
from training.pairs import Pairs, read_pairs
from training.photos import gather, photos_in, read_photo, sources
from training.pictures import pictures_of
from training.target import render
from training.train import RECIPES, Phase, Recipe, Run, train
from worker.weights import load_generator

PAIRS = 4  # as many as there are photos


def main() -> None:
    """Run every step once per size; exit with 1 when a loss does not fall."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gather([source for source in sources() if source.archive == "python"], folder / "photos")
        photos = photos_in([folder / "photos"])
        photo = read_photo(photos[-1], 320)
        for recipe in (_miniature(Size.LIGHT, "hinata", steps=160), _miniature(Size.FULL, "sumi", steps=24)):
            pairs = _pairs(photos, Studio((recipe.style,), folder / "pairs"))
            checkpoint = folder / recipe.style / "checkpoint.pt"
            before, after = _learn(recipe, pairs, checkpoint)
            made = export(checkpoint, "A smoke test", folder)
            target = render(photo, recipe.style, nothing_found(*photo.shape[:2]))
            figures = compare(draw(load_generator(made), photo, made.drawn_at), target, photo)
            print(f"{made.name}: loss {before:.3f} → {after:.3f} in {recipe.steps} steps, {figures.psnr:.1f} dB")
            if not after < 0.8 * before:
                sys.exit(f"the loss of {made.name} does not fall")


def _miniature(size: Size, style: str, steps: int) -> Recipe:
    phases = Phase(0.75, batch_size=2, crop=96), Phase(1.0, batch_size=1, crop=128, adversarial=0.5)
    return replace(RECIPES[size], steps=steps, phases=phases, style=style, pairs=PAIRS)


def _pairs(photos: Sequence[Path], studio: Studio) -> Pairs:
    """Render and check the pairs of a single style."""
    pictures = pictures_of(photos)
    render_pairs(pictures, studio)
    folder = studio.cache / studio.styles[0]
    check_pairs(folder, [picture.name for picture in pictures])
    return read_pairs(folder)


def _learn(recipe: Recipe, pairs: Pairs, checkpoint: Path) -> tuple[float, float]:
    """Train half of the way, resume, and train the rest; returns the mean loss of the first and of the last steps."""
    losses: list[float] = []
    for step, loss in train(Run(recipe), pairs, checkpoint, every_s=0):
        losses.append(loss)
        if step == recipe.steps // 2:
            break
    losses += [loss for _, loss in train(Run.resumed(checkpoint), pairs, checkpoint)]
    return _mean(losses[:4]), _mean(losses[-4:])


def _mean(losses: Sequence[float]) -> float:
    return float(np.mean(losses))


if __name__ == "__main__":
    main()
