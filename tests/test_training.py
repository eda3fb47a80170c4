"""The recipe behind the bundled styles: the target it teaches, the training itself, and what it exports."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest, write_manifest
from training.data import CACHE, Pictures, batch, compose, render_pairs, sources
from training.evaluate import compare, draw, mean_of, photos_in
from training.export import export
from training.muon import Muon, orthogonalised
from training.target import GRADES, render
from training.train import Phase, Recipe, Run, crop_border, delta_orthogonal_, one_cycle
from worker.generator import AnimeGanV2, LightGenerator, Upsample
from worker.weights import load_generator, read_tensors

Rgb = npt.NDArray[np.uint8]
RECIPE = Recipe(
    size=Size.LIGHT,
    steps=6,
    phases=(Phase(0.5, batch_size=2, crop=64), Phase(1.0, batch_size=1, crop=80)),
    border=8,
    peak_rate=2e-3,
    bf16=False,
    style="hinata",
    pairs=4,
)
FULL_RECIPE = replace(RECIPE, size=Size.FULL, peak_rate=2.5e-4, muon=True, border=0)


def soft_photo(height: int, width: int, seed: int = 0) -> Rgb:
    """A photo-like picture: smooth blobs of colour with some edges."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.circle(picture, (width // 2, height // 2), min(height, width) // 5, (240, 200, 60), -1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


@pytest.fixture(scope="module")
def pairs() -> Rgb:
    photos = [soft_photo(96, 96, seed) for seed in range(4)]
    return np.stack([np.stack((photo, render(photo, "hinata"))) for photo in photos])


@pytest.mark.parametrize("style", GRADES)
@pytest.mark.parametrize(("height", "width"), [(97, 131), (64, 64), (33, 200)])
def test_the_target_keeps_size_and_type_and_is_deterministic(height: int, width: int, style: str) -> None:
    photo = soft_photo(height, width)
    before = photo.copy()
    first, second = render(photo, style), render(photo, style)
    assert first.shape == photo.shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("style", GRADES)
@pytest.mark.parametrize("colour", [(128, 128, 128), (0, 0, 0), (255, 255, 255), (20, 120, 220)])
def test_the_target_of_a_flat_colour_is_flat_up_to_the_border(colour: tuple[int, int, int], style: str) -> None:
    flat = np.full((80, 90, 3), colour, np.uint8)
    assert np.ptp(render(flat, style).reshape(-1, 3), axis=0).max() <= 1


def test_the_target_leaves_a_sky_smooth() -> None:
    levels = np.linspace(90, 200, 320)[:, None, None] * np.array((0.55, 0.75, 1.0))
    sky = np.broadcast_to(levels, (320, 120, 3)).round().astype(np.uint8)
    drawn = render(sky, "hinata").astype(int)
    assert np.abs(np.diff(drawn, axis=0)).max() <= 4
    assert np.abs(np.diff(drawn, axis=1)).max() <= 1


def test_an_edge_out_of_focus_is_not_outlined() -> None:
    step = np.full((60, 120, 3), 60, np.uint8)
    step[:, 60:] = 180
    darkest = {}
    for name, blur in (("sharp", 0.6), ("soft", 5.0)):
        photo = np.asarray(cv2.GaussianBlur(step, (0, 0), blur), np.uint8)
        drawn = render(photo, "hinata").astype(int).mean(2)[30]
        darkest[name] = drawn[:30].mean() - drawn.min()
    assert darkest["sharp"] > 15
    assert darkest["soft"] < 4


@pytest.mark.parametrize("wire", [60, 190])
def test_a_thin_faint_wire_survives_in_the_target(wire: int) -> None:
    photo = np.full((100, 100, 3), 120, np.uint8)
    cv2.line(photo, (10, 5), (90, 95), (wire, wire, wire), 1, cv2.LINE_AA)
    drawn = render(photo, "hinata").astype(int).mean(2)
    contrast = drawn[50, 50] - np.median(drawn)
    assert np.sign(contrast) == np.sign(wire - 120)
    assert abs(contrast) > 25


def test_skin_of_every_tone_keeps_its_lightness_and_its_order() -> None:
    skins = np.array([(92, 58, 42), (128, 84, 60), (164, 112, 82), (198, 146, 112), (224, 176, 144)], np.uint8)
    drawn = np.array([render(np.full((40, 40, 3), skin, np.uint8), "hinata")[20, 20] for skin in skins], np.uint8)
    labs = (cv2.cvtColor(tones[None], cv2.COLOR_RGB2Lab)[0] for tones in (skins, drawn))
    before, after = (lab[:, 0].astype(float) / 2.55 for lab in labs)
    assert (np.diff(after) > 2).all()
    assert np.abs(after - before).max() < 10


def test_photos_are_licensed_and_none_is_held_out() -> None:
    listed = sources()
    assert all(source.licence and source.authors and source.files for source in listed)
    names = " ".join(name for source in listed for name in source.files)
    assert not any(held_out in names for held_out in ("astronaut", "chelsea", "coffee", "rocket", "cat.png"))


def test_a_training_picture_depends_on_its_number_alone() -> None:
    cut_out = np.dstack((soft_photo(50, 40, 9), np.full((50, 40), 255, np.uint8)))
    pictures = Pictures((soft_photo(200, 300), soft_photo(300, 200, 1)), (cut_out,))
    for number in range(6):
        one, again = (compose(pictures, 3, number, side=96) for _ in range(2))
        assert one.shape == (96, 96, 3)
        np.testing.assert_array_equal(one, again)


def test_an_interrupted_rendering_goes_on_where_it_stopped(tmp_path: Path) -> None:
    pictures = Pictures((soft_photo(400, 400),), ())
    path = tmp_path / "pairs.npy"
    whole = np.array(render_pairs(pictures, style="hinata", size=Size.LIGHT, seed=1, count=2, path=path))
    done = path.with_suffix(".done")
    done.write_text(done.read_text("ascii").replace("2 ", "1 ", 1), "ascii")
    resumed = render_pairs(pictures, style="hinata", size=Size.LIGHT, seed=1, count=2, path=path)
    np.testing.assert_array_equal(whole, resumed)
    with pytest.raises(ValueError, match="holds 2 pairs"):
        render_pairs(pictures, style="hinata", size=Size.LIGHT, seed=1, count=3, path=path)
    with pytest.raises(ValueError, match="another recipe"):
        render_pairs(pictures, style="hinata", size=Size.LIGHT, seed=2, count=2, path=path)


def test_a_batch_is_a_function_of_the_step(pairs: Rgb) -> None:
    first, again, other = (batch(pairs, seed=1, step=step, size=2, crop=48) for step in (7, 7, 8))
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == first[1].shape == (2, 3, 48, 48)
    assert -1 <= first[1].min() <= first[1].max() <= 1


@pytest.mark.parametrize("recipe", [RECIPE, FULL_RECIPE], ids=lambda recipe: str(recipe.size))
def test_a_resumed_run_equals_an_uninterrupted_one(pairs: Rgb, tmp_path: Path, recipe: Recipe) -> None:
    torch.set_num_threads(1)
    whole, first = Run(recipe), Run(recipe)
    losses = [whole.advance(pairs) for _ in range(recipe.steps)]
    assert np.isfinite(losses).all()
    for _ in range(2):
        first.advance(pairs)
    first.save(tmp_path / "checkpoint.pt")
    second = Run.resumed(tmp_path / "checkpoint.pt")
    assert second.recipe == recipe
    assert [second.advance(pairs) for _ in range(2, recipe.steps)] == losses[2:]
    for name, value in whole.average.items():
        torch.testing.assert_close(second.average[name], value, rtol=0, atol=0)


def test_the_phases_of_a_recipe_cover_all_steps() -> None:
    assert [RECIPE.phase(step).crop for step in range(RECIPE.steps)] == [64, 64, 64, 80, 80, 80]
    with pytest.raises(ValueError, match="last phase"):
        replace(RECIPE, phases=RECIPE.phases[:1])


def test_a_run_starts_from_bundled_weights(pairs: Rgb) -> None:
    run = Run(replace(RECIPE, size=Size.LIGHT, start="hinata-light", peak_rate=1e-9))
    weights = read_tensors(BUNDLED_WEIGHTS / "hinata-light.safetensors")
    run.adopt(weights)
    run.advance(pairs)
    for name, value in run.average.items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-6)


def test_a_border_of_nothing_leaves_all_and_others_less() -> None:
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


def finished(recipe: Recipe, checkpoint: Path) -> Run:
    run = Run(recipe)
    run.step = recipe.steps
    run.save(checkpoint)
    return run


@pytest.mark.parametrize("recipe", [RECIPE, FULL_RECIPE], ids=lambda recipe: str(recipe.size))
def test_export_writes_an_entry_whose_digest_matches_and_loads(tmp_path: Path, recipe: Recipe) -> None:
    checkpoint, folder = tmp_path / "checkpoint.pt", tmp_path / "weights"
    folder.mkdir()
    run = finished(recipe, checkpoint)
    Image.fromarray(soft_photo(500, 640)).save(tmp_path / "photo.png")
    others = [
        Style(name=name, title=name, size=Size.FULL, file=f"{name}.pt", sha256="0" * 64, licence="MIT")
        for name in ("before", f"hinata-{recipe.size}", "behind")
    ]
    write_manifest(folder, others)

    export(checkpoint, "Hinata", folder, photo=tmp_path / "photo.png")

    assert [style.name for style in read_manifest(folder)] == ["before", f"hinata-{recipe.size}", "behind"]
    style = read_manifest(folder)[1]
    assert hashlib.sha256(style.weights_path.read_bytes()).hexdigest() == style.sha256
    assert style.weights_path.stat().st_mode & 0o044  # the server may run as another user
    assert "4 pairs, 6 steps from random initialisation, seed 1" in style.provenance
    weights = load_generator(style).state_dict()
    for name, value in run.average.items():
        torch.testing.assert_close(weights[name], value, rtol=0 if recipe.size is Size.LIGHT else 1e-3, atol=1e-7)
    assert style.preview_path is not None
    with Image.open(style.preview_path) as preview:
        assert preview.size == (480, 480)


def test_a_run_that_has_not_come_to_its_end_is_not_exported(tmp_path: Path) -> None:
    Run(RECIPE).save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="step 0 of 6"):
        export(tmp_path / "checkpoint.pt", "Hinata", tmp_path)


def test_a_fresh_generator_draws_the_photo_itself_at_any_size() -> None:
    photo = soft_photo(101, 77)
    drawn = draw(LightGenerator(), photo)
    assert drawn.shape == photo.shape
    np.testing.assert_array_equal(drawn, photo)


def test_a_nearer_picture_has_better_figures() -> None:
    target = soft_photo(80, 80)
    blurred = (np.asarray(cv2.GaussianBlur(target, (0, 0), sigma), np.uint8) for sigma in (0.6, 3.0))
    near, far = (compare(picture, target, target) for picture in blurred)
    assert near.psnr > far.psnr
    assert near.ssim > far.ssim
    assert near.l1 < far.l1
    assert near.delta_e < far.delta_e
    assert near.edge_recall > far.edge_recall
    assert near.flip < far.flip


def test_a_wire_that_is_wiped_away_is_counted_and_a_speck_is_not() -> None:
    plain = np.full((120, 160, 3), 150, np.uint8)
    photo = plain.copy()
    cv2.line(photo, (10, 20), (150, 70), (90, 90, 90), 1, cv2.LINE_AA)
    cv2.line(photo, (10, 60), (150, 110), (210, 210, 210), 2, cv2.LINE_AA)
    one_lost = photo.copy()
    one_lost[photo[..., 0] > 150] = 150
    with_a_speck = photo.copy()
    with_a_speck[8:11, 100:104] = 90
    assert compare(photo, plain, photo).thin_recall == 1
    assert 0.2 < compare(one_lost, plain, photo).thin_recall < 0.8
    assert compare(plain, plain, photo).thin_recall == 0
    assert compare(photo, plain, with_a_speck).thin_recall == 1


def test_what_a_photo_has_none_of_is_left_out_of_the_mean() -> None:
    plain, photo = np.full((60, 60, 3), 150, np.uint8), soft_photo(60, 60)
    nothing, something = compare(plain, plain, plain), compare(photo, photo, photo)
    assert np.isnan([nothing.edge_recall, nothing.thin_recall]).all()
    assert mean_of([nothing, something]).edge_recall == something.edge_recall == 1


@pytest.mark.parametrize("style", read_manifest(BUNDLED_WEIGHTS), ids=lambda style: style.name)
def test_a_bundled_style_draws_what_it_was_taught(style: Style) -> None:
    photo = np.ascontiguousarray(astronaut()[:320, 100:420])  # type: ignore[no-untyped-call]  # never trained on
    drawn, target = draw(load_generator(style), photo), render(photo, style.look)
    figures, undrawn = compare(drawn, target, photo), compare(photo, target, photo)
    assert figures.psnr > {Size.LIGHT: 30, Size.FULL: 24}[style.size]
    assert figures.edge_recall > 0.75
    assert figures.thin_recall > 0.8
    assert figures.flip < 0.6 * undrawn.flip
    assert figures.border < 1.5


def test_evaluation_leaves_out_what_is_no_photo_unless_it_was_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    Image.fromarray(soft_photo(300, 200)).save(tmp_path / "photo.png")
    Image.fromarray(soft_photo(40, 40)).save(tmp_path / "icon.png")
    found = list(photos_in([tmp_path], max_side=225))
    assert [(name, photo.shape) for name, photo in found] == [("photo.png", (225, 150, 3))]
    with pytest.raises(OSError, match="damaged"):
        list(photos_in([tmp_path / "damaged.jpg"], max_side=225))


def test_the_cache_is_not_in_the_tree_that_is_committed() -> None:
    ignored = (CACHE.parent.parent / ".gitignore").read_text("utf-8").split()
    assert "/training/cache/" in ignored
    assert "/training/runs/" in ignored
