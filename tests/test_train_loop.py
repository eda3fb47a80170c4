"""The training of a generator: steps, phases, discriminator, checkpoints, optimisers."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from shared.styles import BUNDLED_WEIGHTS, Size, read_manifest
from training.discriminator import Discriminator, adversarial_gradient, relativistic_loss
from training.muon import Muon, orthogonalised
from training.pairs import Pair, Pairs
from training.train import (
    RECIPES,
    Phase,
    Recipe,
    Run,
    batch_of,
    batches,
    crispness_loss,
    crop_border,
    delta_orthogonal_,
    drawing_loss,
    one_cycle,
    train,
)
from worker.generator import AnimeGanV2, Upsample
from worker.weights import read_tensors

NO_FACES = np.zeros((0, 478, 2), np.float32)
RECIPE = Recipe(
    size=Size.LIGHT,
    steps=6,
    phases=(Phase(0.5, batch_size=2, crop=64), Phase(1.0, batch_size=1, crop=96, adversarial=0.5)),
    border=8,
    peak_rate=1e-3,
    bf16=False,
    style="hinata",
    pairs=4,
)
FULL_RECIPE = replace(RECIPE, size=Size.FULL, peak_rate=2.5e-4, muon=True, border=0)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Photos of coloured tiles, whose target is warmer and paler."""
    made = []
    for seed in range(4):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        photo = cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_NEAREST)
        target = np.asarray(photo * 0.5 + (120, 70, 40), np.uint8)
        made.append(Pair(f"tiles-{seed}", np.asarray(photo, np.uint8), target, NO_FACES))
    return Pairs.of(made)


def advanced(run: Run, pairs: Pairs, steps: int) -> list[float]:
    return [run.advance(batch_of(pairs, run.recipe, run.step)) for _ in range(steps)]


@pytest.mark.parametrize("recipe", [RECIPE, FULL_RECIPE], ids=lambda recipe: str(recipe.size))
def test_a_resumed_run_equals_an_uninterrupted_one(pairs: Pairs, tmp_path: Path, recipe: Recipe) -> None:
    """Interrupted before the discriminator takes part, and while it does."""
    whole, parts = Run(recipe), Run(recipe)
    losses = advanced(whole, pairs, recipe.steps)
    assert np.isfinite(losses).all()
    again: list[float] = []
    for steps in (2, 2, 2):
        again += advanced(parts, pairs, steps)
        parts.save(tmp_path / "checkpoint.pt")
        parts = Run.resumed(tmp_path / "checkpoint.pt")
    assert parts.recipe == recipe
    assert again == losses
    for mine, theirs in ((whole.average, parts.average), _discriminators(whole, parts)):
        for name, value in mine.items():
            torch.testing.assert_close(theirs[name], value, rtol=0, atol=0)


def _discriminators(*runs: Run) -> tuple[dict[str, Tensor], ...]:
    return tuple(run.discriminator.state_dict() for run in runs)


@pytest.mark.parametrize("bf16", [False, True])
def test_training_falls(pairs: Pairs, *, bf16: bool) -> None:
    recipe = replace(RECIPE, steps=40, phases=(Phase(1.0, batch_size=2, crop=64),), bf16=bf16)
    losses = advanced(Run(recipe), pairs, recipe.steps)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_the_discriminator_learns_in_its_phases_alone(pairs: Pairs) -> None:
    run = Run(RECIPE)
    kept = []
    for steps in (0, 3, 1):
        advanced(run, pairs, steps)
        kept.append({name: value.clone() for name, value in run.discriminator.state_dict().items()})
    before, still, learned = kept
    assert all(torch.equal(before[name], still[name]) for name in before)
    assert not any(torch.equal(before[name], learned[name]) for name in before if name.endswith("bias"))


def test_a_discriminator_changes_what_a_generator_learns(pairs: Pairs) -> None:
    without = Phase(1.0, batch_size=1, crop=96)
    taught = [Run(replace(RECIPE, phases=(phase,))) for phase in (without, replace(without, adversarial=0.5))]
    for run in taught:
        advanced(run, pairs, 2)
    assert any(not torch.equal(value, taught[1].average[name]) for name, value in taught[0].average.items())


def test_a_discriminator_comes_to_tell_a_blurred_picture_from_its_target(pairs: Pairs) -> None:
    torch.manual_seed(1)
    discriminator = Discriminator()
    optimiser = torch.optim.AdamW(discriminator.parameters(), lr=1e-3)
    recipe = replace(RECIPE, phases=(Phase(1.0, batch_size=2, crop=96),))
    for step in range(60):
        photo, target, _ = (torch.from_numpy(images) for images in batch_of(pairs, recipe, step % 6))
        blurred = torch.nn.functional.avg_pool2d(target, 5, stride=1, padding=2)
        optimiser.zero_grad()
        push = adversarial_gradient(discriminator, photo, blurred, target)
        optimiser.step()
    of_target, of_blurred, of_pushed = (
        discriminator(photo, picture) for picture in (target, blurred, blurred - push * (5 / push.norm()))
    )
    assert (of_target > of_blurred).float().mean() > 0.9
    assert relativistic_loss(of_pushed, of_target) < relativistic_loss(of_blurred, of_target)


def test_batches_made_ahead_are_those_of_their_steps(pairs: Pairs) -> None:
    with closing(batches(pairs, RECIPE, first=1, loaders=3)) as prepared:
        made = list(prepared)
    assert [found.photo.shape[-1] for found in made] == [64, 64, 96, 96, 96]
    for step, found in enumerate(made, start=1):
        for part, expected in zip(found, batch_of(pairs, RECIPE, step), strict=True):
            np.testing.assert_array_equal(part, expected)


def test_training_resumes_where_it_stopped(pairs: Pairs, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    with closing(train(Run(RECIPE), pairs, checkpoint, every_s=0)) as first:
        begun = [next(first) for _ in range(3)]
    rest = list(train(Run.resumed(checkpoint), pairs, checkpoint))
    assert [step for step, _ in begun + rest] == [1, 2, 3, 3, 4, 5, 6]
    assert rest[0] == begun[2]
    assert Run.resumed(checkpoint).step == RECIPE.steps


def test_the_phases_of_a_recipe_cover_all_steps() -> None:
    assert [RECIPE.phase(step).crop for step in range(RECIPE.steps)] == [64, 64, 64, 96, 96, 96]
    with pytest.raises(ValueError, match="last phase"):
        replace(RECIPE, phases=RECIPE.phases[:1])


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_ends_with_the_discriminator(recipe: Recipe) -> None:
    assert [phase.adversarial > 0 for phase in recipe.phases] == [False, True]


def test_crops_that_a_generator_cannot_take_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        replace(RECIPE, size=Size.LIGHT, phases=(Phase(1.0, batch_size=1, crop=208),))


def test_a_run_starts_from_bundled_weights(pairs: Pairs) -> None:
    bundled = next(style for style in read_manifest(BUNDLED_WEIGHTS) if style.size is Size.FULL)
    run = Run(replace(FULL_RECIPE, start=bundled.name, peak_rate=1e-9))
    weights = read_tensors(bundled.weights_path)
    run.adopt(weights)
    advanced(run, pairs, 1)
    for name, value in run.average.items():
        torch.testing.assert_close(value, weights[name].float(), rtol=0, atol=1e-6)


def test_a_blurred_edge_costs_more_than_its_colours_alone() -> None:
    target = torch.zeros(1, 3, 32, 32)
    target[..., 16:] = 1
    shaded = target + 0.05
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(target, (2, 2, 0, 0), mode="replicate"), (1, 5), 1)
    assert (blurred - target).abs().mean() < (shaded - target).abs().mean()
    everywhere = torch.ones(1, 1, 32, 32)
    assert drawing_loss(blurred, target, everywhere) > drawing_loss(shaded, target, everywhere)


def test_heavier_weights_raise_the_loss() -> None:
    target, weight = torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    drawn = target.clone()
    drawn[..., 8:16, 8:16] = 0.5
    even = drawing_loss(drawn, target, weight)
    weight[..., 4:20, 4:20] = 3
    assert drawing_loss(drawn, target, weight) == pytest.approx(3 * even)


def test_a_border_of_zero_crops_nothing_and_others_crop_each_side() -> None:
    images = torch.arange(48.0).view(1, 1, 6, 8)
    assert torch.equal(crop_border(images, 0), images)
    assert torch.equal(crop_border(images, 2), images[..., 2:4, 2:6])


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_orthogonalising_evens_out_the_singular_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(3)
    found = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert 0.5 < found.min() <= found.max() < 1.5


def test_muon_steps_as_torch_does_on_matrices() -> None:
    torch.manual_seed(4)
    ours, theirs = (torch.nn.Parameter(torch.ones(24, 60)) for _ in range(2))
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    optimiser = Muon([ours], lr=0.1)
    for _ in range(3):
        ours.grad = torch.randn(24, 60)
        theirs.grad = ours.grad.clone()
        optimiser.step()
        reference.step()  # type: ignore[no-untyped-call]
    moved, expected = ours.detach() - 1, theirs.detach() - 1
    assert (moved - expected).norm() < 0.05 * expected.norm()  # torch's runs in bf16


def test_the_start_of_the_full_generator_lets_detail_through() -> None:
    torch.manual_seed(5)
    generator = AnimeGanV2(Upsample.HALF_PIXEL)
    delta_orthogonal_(generator)
    mixing = generator.get_parameter("block_d.0.1.weight")
    middle = mixing[:, :, 1, 1] @ mixing[:, :, 1, 1].T
    assert (middle - torch.eye(128)).abs().max() < 0.3


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [one_cycle(progress) for progress in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert 0 < peak < 10
    assert rates[peak] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0.01)


def test_a_blurred_edge_costs_crispness_and_a_moved_one_does_not() -> None:
    edge = torch.full((1, 3, 64, 64), -0.5)
    edge[..., 24:] = 0.5
    moved = edge.roll(2, dims=3)
    moved[..., :2] = -0.5
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(edge, (2, 2, 2, 2), mode="replicate"), 5, 1)
    assert crispness_loss(edge, edge) == 0
    assert crispness_loss(moved, edge) == 0
    assert crispness_loss(blurred, edge) > 0.005
