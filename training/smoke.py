"""The whole recipe in miniature: photos, pairs, both generators, export, figures; and the loss must fall.

    make train-smoke

Uses the photos of Python packages alone, so it needs nothing but the `training` extra. What it makes is thrown away.
Imported by nobody.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from shared.styles import Size
from training.data import compose, read, render_pairs, sources
from training.evaluate import compare, draw, load_weights
from training.export import Label, export
from training.target import GRADES, render
from training.train import RECIPES, Run, train

PAIRS = 8
STEPS = {Size.LIGHT: 60, Size.FULL: 24}
RATE = {Size.LIGHT: 2e-3, Size.FULL: 2e-3}


def main() -> None:
    """Run every step once per size; exit with 1 when a loss does not fall."""
    pictures = read([source for source in sources() if source.archive == "python"])
    with tempfile.TemporaryDirectory() as folder:
        for style, size in zip(GRADES, (Size.LIGHT, Size.FULL), strict=False):
            path = Path(folder) / f"{style}.npy"
            pairs = render_pairs(pictures, style=style, seed=1, count=PAIRS, path=path)
            checkpoint = Path(folder) / style / "checkpoint.pt"
            before, after = _learn(pairs, size, checkpoint)
            made = export(checkpoint, Label(style, style.title(), "a smoke test", size), Path(folder))
            photo = compose(pictures, 2, 0)
            figures = compare(draw(load_weights(made.weights_path), photo), render(photo, style))
            print(f"{made.name}: loss {before:.3f} → {after:.3f} in {STEPS[size]} steps, {figures.psnr:.1f} dB")
            if not after < 0.8 * before:
                sys.exit(f"the loss of {made.name} does not fall")


def _learn(pairs: npt.NDArray[np.uint8], size: Size, checkpoint: Path) -> tuple[float, float]:
    """Train shortly; returns the mean loss of the first and of the last steps."""
    recipe = replace(RECIPES[size], steps=STEPS[size], peak_rate=RATE[size], batch_size=2, crop=96)
    losses = [loss for _, loss in train(Run(recipe), pairs, checkpoint)]
    return float(np.mean(losses[:4])), float(np.mean(losses[-4:]))


if __name__ == "__main__":
    main()
