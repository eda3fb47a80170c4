"""The bundled styles draw what they were trained on."""

import numpy as np
import pytest
from skimage.data import astronaut

from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest
from training.evaluate import draw
from training.figures import compare
from training.target import render
from worker.weights import load_generator


@pytest.mark.parametrize("style", read_manifest(BUNDLED_WEIGHTS), ids=lambda style: style.name)
def test_a_bundled_style_draws_what_it_was_taught(style: Style) -> None:
    photo = np.ascontiguousarray(astronaut()[:320, 100:420])  # type: ignore[no-untyped-call]  # never trained on
    drawn, target = draw(load_generator(style), photo), render(photo, style.look)
    figures, undrawn = compare(drawn, target, photo), compare(photo, target, photo)
    # Full has learnt an earlier target, paler and softer than today's, and in Yoi more purple.
    assert figures.flip < {Size.LIGHT: 0.7, Size.FULL: 1.3}[style.size] * undrawn.flip
    assert figures.psnr > undrawn.psnr + {Size.LIGHT: 2.0, Size.FULL: -2.0}[style.size]
    assert figures.crispness > {Size.LIGHT: 0.9, Size.FULL: 0.5}[style.size]
    assert figures.flat > 0.25
    assert figures.edge_recall > {Size.LIGHT: 0.6, Size.FULL: 0.5}[style.size]
    assert figures.border < 1.5
