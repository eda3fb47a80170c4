"""The generators compared with upstream's outputs, and their documented costs."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from shared.styles import Size
from worker.engines.base import GEOMETRY
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
    assert sum(parameter.numel() for parameter in generator.parameters()) <= 3_200_000
    assert multiplications(generator, 128) * 16 <= 7e9


@pytest.mark.parametrize("size", Size)
def test_the_displayed_cost_is_the_actual_cost(size: Size) -> None:
    gmac = multiplications(new_generator(size, Upsample.HALF_PIXEL), 128) * 1e6 / 128**2 / 1e9
    assert size.gmac_per_megapixel == pytest.approx(gmac, abs=0.5)


def multiplications(generator: nn.Module, side: int) -> int:
    """Multiply-accumulates of every convolution for a square picture."""
    total = 0

    def count(module: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += output.numel() * module.weight[0].numel()

    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        generator.eval()(torch.zeros(1, 3, side, side))
    return total


def test_an_untrained_light_generator_draws_the_photo_without_its_detail() -> None:
    shade = torch.linspace(-1, 1, 64)[:, None].expand(1, 3, 64, 96)
    assert torch.allclose(LightGenerator()(shade)[..., 4:-4, :], shade[..., 4:-4, :], atol=0.02)
    squares = torch.tensor([1.0, -1]).repeat(32)[:, None] * torch.tensor([1.0, -1]).repeat(32)
    assert torch.allclose(LightGenerator()(squares.expand(1, 3, 64, 64)), torch.tensor(0.0), atol=1e-6)


def trained(generator: LightGenerator) -> LightGenerator:
    """A generator with every learned weight changed, as after training."""
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in (one for one in generator.parameters() if one.requires_grad):
            weight.add_(torch.randn_like(weight), alpha=0.03)
    return generator


def test_a_decision_is_the_same_in_training_and_passes_a_gradient_where_it_is_cut_off() -> None:
    generator = trained(LightGenerator())
    generator.sharpen_and_ink = nn.Identity()  # type: ignore[assignment]  # left out while learning
    photo = torch.rand(1, 3, 64, 96) * 2 - 1
    assert torch.equal(generator(photo), generator.eval()(photo))
    nn.init.constant_(cast("Tensor", generator.palette.covered.bias), 2.0)
    generator.train()(photo).square().mean().backward()
    assert cast("Tensor", cast("Tensor", generator.palette.covered.bias).grad).abs().min() > 0


def test_where_all_is_decided_one_colour_is_one_colour_in_the_picture() -> None:
    generator = trained(LightGenerator()).eval()
    nn.init.constant_(cast("Tensor", generator.palette.covered.bias), 9.0)
    nn.init.constant_(cast("Tensor", generator.palette.shown.bias), -9.0)
    for layer in (generator.palette.ground, generator.palette.changes, generator.palette.mean):
        nn.init.zeros_(layer.weight)
    drawn = generator(torch.rand(1, 3, 64, 96) * 2 - 1)
    assert torch.allclose(drawn, drawn[..., :1, :1], atol=1e-6)


def test_a_light_generator_sees_as_far_as_strips_overlap() -> None:
    halo, height, middle = GEOMETRY[Size.LIGHT].halo, 1152, 576
    assert halo is not None
    assert halo >= 128
    generator = trained(LightGenerator()).eval()
    photo = torch.zeros(1, 3, height, 64, requires_grad=True)
    generator(photo)[0, :, middle : middle + 16].abs().sum().backward()
    seen = cast("Tensor", photo.grad).abs().sum((0, 1, 3)).nonzero()
    assert middle - halo <= int(seen.min()) <= middle - 0.9 * halo
    assert middle + 15 + 0.8 * halo <= int(seen.max()) <= middle + 15 + halo


def decided(picture: torch.Tensor) -> torch.Tensor:
    """Return the output of the last, fixed step for (H, W) in -1..1, away from the border."""
    last_step = LightGenerator().sharpen_and_ink
    places = functional.pixel_unshuffle(picture.expand(1, 3, *picture.shape).clone(), 2)
    return functional.pixel_shuffle(last_step(places), 2)[0, 0, 16:-16, 16:-16]


def test_the_last_step_leaves_a_ramp_and_what_is_even() -> None:
    ramp = torch.linspace(-0.8, 0.8, 160).expand(96, 160)
    assert torch.allclose(decided(ramp), ramp[16:-16, 16:-16], atol=0.02)
    even = torch.full((96, 96), 0.3)
    assert torch.allclose(decided(even), even[16:-16, 16:-16], atol=1e-5)


def soft_border(contrast: float) -> torch.Tensor:
    """A border from dark to light, symmetric about grey, about six pixels wide."""
    return torch.sigmoid((torch.arange(128.0) - 64) / 1.5).sub(0.5).mul(contrast).expand(64, 128)


def test_the_last_step_steepens_a_soft_border_and_darkens_its_dark_side() -> None:
    soft = soft_border(0.6)
    drawn = decided(soft)[20]
    before = soft[0, 16:-16]
    assert drawn.diff().max() > 1.8 * before.diff().max()
    assert drawn.min() < before.min() - 0.05  # a line
    assert drawn.max() <= before.max() + 1e-4  # on the dark side alone


def test_the_last_step_leaves_black_beside_white_as_steep_as_it_was() -> None:
    soft = soft_border(1.8)
    bright = slice(50, None)  # beside the line
    assert torch.allclose(decided(soft)[20, bright], soft[0, 16:-16][bright], atol=0.03)
