"""Engines: the picture must not depend on how it is computed."""

import numpy as np
import pytest

from shared.styles import BUNDLED_WEIGHTS, read_manifest
from worker.engines import torch_engine
from worker.engines.torch_engine import TorchEngine
from worker.weights import load_generator


@pytest.mark.parametrize("size", [(640, 320), (328, 256), (96, 1024)])
def test_a_picture_drawn_in_strips_is_the_picture_drawn_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    style = next(style for style in read_manifest(BUNDLED_WEIGHTS) if style.size == "light")
    engine = TorchEngine(load_generator(style))
    photo = np.random.default_rng(5).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
    whole = engine.generate(photo)
    monkeypatch.setattr(torch_engine, "STRIP_PIXELS", size[1] * 72)
    strips = engine.generate(photo)
    assert strips.shape == whole.shape
    assert np.abs(strips - whole).max() < 1e-5
