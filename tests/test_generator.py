"""The generators against upstream's own outputs, and the documented costs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from shared.styles import Size
from worker.generator import AnimeGanV2, LightGenerator, Upsample, double_size
from worker.weights import fill, new_generator, read_tensors


def generator_of(checkpoint: Path, mode: Upsample) -> AnimeGanV2:
    generator = AnimeGanV2(mode)
    fill(generator, read_tensors(checkpoint))
    return generator.eval()


@pytest.mark.parametrize("mode", [Upsample.ALIGN_CORNERS, Upsample.HALF_PIXEL])
def test_upstreams_outputs_are_reproduced(reference_dir: Path, mode: Upsample) -> None:
    recorded = np.load(reference_dir / "random_init_io.npz")
    generator = generator_of(reference_dir / "random_init.pt", mode)
    with torch.inference_mode():
        found = generator(torch.from_numpy(recorded["x"])).numpy()
    assert np.abs(found - recorded[f"y_{mode}"]).max() <= 1e-5


def hayao(reference_dir: Path, photo: Path, mode: Upsample) -> np.ndarray:
    generator = generator_of(reference_dir / "animeganv2_hayao.pt", mode)
    with Image.open(photo) as image:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        square = image.convert("RGB").crop((left, top, left + side, top + side))
    scaled = np.asarray(square.resize((512, 512), Image.Resampling.LANCZOS), np.float32) / 127.5 - 1
    with torch.inference_mode():
        out = generator(torch.from_numpy(scaled.transpose(2, 0, 1)[None])).numpy()[0].transpose(1, 2, 0)
    return np.asarray(((out + 1) * 127.5).clip(0, 255).round(), np.float32)


@pytest.mark.parametrize("mode", Upsample)
@pytest.mark.parametrize("photo", ["portrait_astronaut.png", "landscape_rocket.jpg"])
def test_the_real_weights_give_the_recorded_pictures(
    reference_dir: Path, photos_dir: Path, photo: str, mode: Upsample
) -> None:
    with Image.open(reference_dir / f"hayao_{photo.split('.', maxsplit=1)[0]}_{mode}.png") as recorded:
        expected = np.asarray(recorded.convert("RGB"), np.float32)
    assert np.abs(hayao(reference_dir, photos_dir / photo, mode) - expected).mean() <= 1


def test_the_wrong_upsampling_gives_another_picture(reference_dir: Path, photos_dir: Path) -> None:
    right, wrong = (
        hayao(reference_dir, photos_dir / "portrait_astronaut.png", mode)
        for mode in (Upsample.ASYMMETRIC, Upsample.ALIGN_CORNERS)
    )
    assert np.abs(right - wrong).mean() > 2


def test_asymmetric_doubling_samples_at_half_the_index() -> None:
    row = torch.tensor([[[[0.0, 2.0, 6.0]]]])
    assert double_size(row, Upsample.ASYMMETRIC)[0, 0].tolist() == [[0, 1, 2, 4, 6, 6]] * 2


@pytest.mark.parametrize("mode", Upsample)
def test_doubling_doubles_and_keeps_a_flat_colour(mode: Upsample) -> None:
    doubled = double_size(torch.full((1, 2, 3, 5), 0.25), mode)
    assert doubled.shape == (1, 2, 6, 10)
    assert torch.allclose(doubled, torch.tensor(0.25))


def test_the_full_generator_has_the_documented_parameters() -> None:
    generator = AnimeGanV2()
    assert len(generator.state_dict()) == 77
    assert sum(parameter.numel() for parameter in generator.parameters()) == 2_143_552


def test_the_light_generator_stays_light() -> None:
    generator = LightGenerator()
    assert sum(parameter.numel() for parameter in generator.parameters()) <= 700_000
    assert multiplications(generator, 128) * 16 <= 7e9


@pytest.mark.parametrize("size", Size)
def test_the_cost_that_is_shown_is_the_cost(size: Size) -> None:
    gmac = multiplications(new_generator(size, Upsample.HALF_PIXEL), 128) * 1e6 / 128**2 / 1e9
    assert size.gmac_per_megapixel == pytest.approx(gmac, abs=0.5)


def multiplications(generator: nn.Module, side: int) -> int:
    """Multiply-accumulates of every convolution for a square picture."""
    total = 0

    def count(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += output.shape[2] * output.shape[3] * module.weight.numel()

    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        generator(torch.zeros(1, 3, side, side))
    return total


def test_an_untrained_light_generator_gives_the_photo_back() -> None:
    photo = torch.rand(1, 3, 64, 40) * 2 - 1
    assert torch.equal(LightGenerator()(photo), photo)
