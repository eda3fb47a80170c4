"""The bundled styles draw what they were trained on."""

import numpy as np
import numpy.typing as npt
import pytest
from skimage.data import astronaut

from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest
from training.evaluate import draw
from training.figures import compare
from training.target import render
from worker.weights import load_generator

LIGHT, FULL = (
    [style for style in read_manifest(BUNDLED_WEIGHTS) if style.size is size] for size in (Size.LIGHT, Size.FULL)
)


def photo() -> npt.NDArray[np.uint8]:
    """A photo that no style was trained on."""
    return np.ascontiguousarray(astronaut()[:320, 100:420])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("style", LIGHT, ids=lambda style: style.name)
def test_a_light_style_draws_what_it_was_taught(style: Style) -> None:
    drawn, target = draw(load_generator(style), photo()), render(photo(), style.look)
    figures, undrawn = compare(drawn, target, photo()), compare(photo(), target, photo())
    assert figures.flip < 0.7 * undrawn.flip
    assert figures.psnr > undrawn.psnr + 2.0
    assert figures.crispness > 0.9
    assert figures.flat > 0.25
    assert figures.edge_recall > 0.6
    assert figures.border < 1.5


@pytest.mark.parametrize("style", FULL, ids=lambda style: style.name)
def test_a_full_style_draws_evenly_and_keeps_clear_edges(style: Style) -> None:
    # It learned an earlier target, which is no longer here to compare it with.
    figures = compare(draw(load_generator(style), photo()), photo(), photo())
    assert figures.flat > 0.25
    assert figures.edge_recall > 0.35
