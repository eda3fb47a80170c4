"""Engines: the picture must not depend on how it is computed."""

import numpy as np
import pytest

from shared.errors import PictureTooLargeError
from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest
from worker.engines import torch_engine
from worker.engines.torch_engine import RESIDENT_BYTES, TorchEngine
from worker.generator import AnimeGanV2
from worker.weights import load_generator

PLENTY = 8 << 30


LIGHT_STYLES = [style for style in read_manifest(BUNDLED_WEIGHTS) if style.size is Size.LIGHT]


@pytest.mark.parametrize("style", LIGHT_STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("size", [(640, 320), (328, 256), (96, 1024)])
def test_a_picture_drawn_in_strips_is_the_picture_drawn_whole(
    monkeypatch: pytest.MonkeyPatch, style: Style, size: tuple[int, int]
) -> None:
    photo = np.random.default_rng(5).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
    whole = TorchEngine(load_generator(style), memory=PLENTY).generate(photo)
    little_memory = TorchEngine(load_generator(style), memory=RESIDENT_BYTES).generate(photo)
    monkeypatch.setattr(torch_engine, "STRIP_PIXELS", size[1] * 72)
    strips = TorchEngine(load_generator(style), memory=PLENTY).generate(photo)
    assert little_memory.shape == strips.shape == whole.shape
    assert np.abs(strips - whole).max() < 1e-5
    assert np.abs(little_memory - whole).max() < 1e-5


def test_a_picture_that_memory_can_never_hold_is_refused_before_it_is_drawn() -> None:
    engine = TorchEngine(AnimeGanV2().eval(), memory=RESIDENT_BYTES + (16 << 20))
    assert engine.generate(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 3, 64, 64)
    with pytest.raises(PictureTooLargeError, match=r"0\.01 megapixels"):
        engine.generate(np.zeros((1, 3, 2048, 2048), np.float32))
