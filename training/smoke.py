"""The recipe in miniature: pairs, both generators, a resumed run, export and figures; and the loss must fall.

    make train-smoke

Uses the photos of Python packages alone, so it fetches nothing. What it makes is thrown away. Imported by nobody.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.styles import Size
from training.data import compose, read, render_pairs, sources
from training.evaluate import compare, draw
from training.export import export
from training.target import render
from training.train import RECIPES, Phase, Recipe, Run, train
from worker.weights import load_generator

PAIRS = 8
LIGHT = replace(RECIPES[Size.LIGHT], steps=60, phases=(Phase(1.0, 2, 96),), style="hinata", pairs=PAIRS)
FULL = replace(RECIPES[Size.FULL], steps=24, phases=(Phase(0.75, 2, 96), Phase(1.0, 1, 128)), style="sumi", pairs=PAIRS)


def main() -> None:
    """Run every step once per size; exit with 1 when a loss does not fall."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    pictures = read([source for source in sources() if source.archive == "python"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for recipe in (LIGHT, FULL):
            path = folder / f"{recipe.style}.npy"
            pairs = render_pairs(pictures, style=recipe.style, size=recipe.size, seed=1, count=PAIRS, path=path)
            checkpoint = folder / recipe.style / "checkpoint.pt"
            before, after = _learn(recipe, pairs, checkpoint)
            made = export(checkpoint, "A smoke test", folder)
            photo = compose(pictures, 2, 0)
            figures = compare(draw(load_generator(made), photo), render(photo, recipe.style), photo)
            print(f"{made.name}: loss {before:.3f} → {after:.3f} in {recipe.steps} steps, {figures.psnr:.1f} dB")
            if not after < 0.8 * before:
                sys.exit(f"the loss of {made.name} does not fall")


def _learn(recipe: Recipe, pairs: npt.NDArray[np.uint8], checkpoint: Path) -> tuple[float, float]:
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
