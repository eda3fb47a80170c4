"""Metrics of drawn pictures, contact sheets, and exports."""

import hashlib
import shutil
from dataclasses import astuple, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest, write_manifest
from training.evaluate import Drawer, contact_sheets, draw, load_weights, other_drawer, read_photos
from training.export import export
from training.figures import compare, compare_sizes, crispness, mean_of, shares
from training.train import Phase, Recipe, Run
from worker.generator import LightGenerator
from worker.weights import load_generator

Rgb = npt.NDArray[np.uint8]
RECIPE = Recipe(
    size=Size.LIGHT,
    steps=6,
    phases=(Phase(1.0, batch_size=2, crop=64),),
    border=8,
    peak_rate=1e-3,
    style="hinata",
    pairs=4,
)
FULL_RECIPE = replace(RECIPE, size=Size.FULL)


def soft_photo(height: int, width: int, seed: int = 0) -> Rgb:
    """A photo-like picture: smooth blobs of colour with some edges."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.circle(picture, (width // 2, height // 2), min(height, width) // 5, (240, 200, 60), -1, cv2.LINE_AA)
    return np.asarray(picture, np.uint8)


def boxes(side: int) -> Rgb:
    """Tiles of random colours, in large pictures each with a dark outline; the same at any size."""
    tile = side // 8
    colours = np.random.default_rng(3).integers(90, 256, (8, 8, 3)).astype(np.uint8)
    picture = cv2.resize(colours, (8 * tile, 8 * tile), interpolation=cv2.INTER_NEAREST)
    for line in range(tile, 8 * tile, tile):
        half = side // 256
        picture[line - half : line + half] = picture[:, line - half : line + half] = 20
    return np.asarray(picture, np.uint8)


def blurred(picture: Rgb, sigma: float) -> Rgb:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def test_a_nearer_picture_has_better_figures() -> None:
    target = soft_photo(80, 80)
    near, far = (compare(blurred(target, sigma), target, target) for sigma in (0.6, 3.0))
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


def test_figures_that_do_not_apply_to_a_photo_are_left_out_of_the_mean() -> None:
    plain, photo = np.full((60, 60, 3), 150, np.uint8), soft_photo(60, 60)
    nothing, something = compare(plain, plain, plain), compare(photo, photo, photo)
    assert np.isnan([nothing.edge_recall, nothing.thin_recall, nothing.crispness, nothing.skin]).all()
    mean = mean_of([nothing, something])
    assert mean.edge_recall == something.edge_recall == mean.crispness == 1


def test_a_blurred_picture_is_less_crisp_and_a_shifted_target_as_crisp() -> None:
    target = boxes(240)
    soft, softer = (crispness(blurred(target, sigma), target) for sigma in (0.4, 0.8))
    assert softer < 0.5 < soft < 1
    assert crispness(np.roll(target, (3, 5), (0, 1)), target) == pytest.approx(1, abs=0.15)
    assert crispness(target, blurred(target, 1.0)) > 1


def test_a_box_has_the_shares_of_its_outline_and_of_the_rest() -> None:
    box = np.full((101, 101, 3), 100, np.uint8)
    box[20:60, 30:70] = 180  # 40 pixels of a side
    flat, strong = shares(box)
    assert strong == pytest.approx(159 / 100**2)  # the bottom right corner has no step of its own
    assert flat == pytest.approx(1 - strong)
    faint = box.copy()
    faint[box == 180] = 110
    assert shares(faint) == (flat, 0)


def test_the_shares_are_those_of_the_picture_at_512() -> None:
    assert shares(boxes(2048)) == pytest.approx(shares(boxes(1024)), abs=0.03)


def test_lightness_is_measured_where_skin_is_bare() -> None:
    photo = np.full((200, 160, 3), (120, 90, 70), np.uint8)
    faces = np.full((1, 478, 2), 0.5, np.float32)
    faces[0, :2] = (0.2, 0.2), (0.8, 0.8)  # the height of the face
    lighter, elsewhere = photo.copy(), photo.copy()
    lighter[70:130, 50:110] += 20
    elsewhere[:60] += 20
    assert compare(lighter, photo, photo, faces).skin > 5
    assert compare(elsewhere, photo, photo, faces).skin == 0
    assert np.isnan(compare(lighter, photo, photo).skin)


def test_a_look_that_scales_with_the_picture_is_the_same_at_every_size() -> None:
    small, large = (compare_sizes(boxes(side), boxes(1024)) for side in (1024, 2048))
    np.testing.assert_allclose(astuple(large)[:4], astuple(small)[:4], rtol=0.2)
    assert max(small.delta_e, large.delta_e) < 2
    assert small.line_width == pytest.approx(1000 * 8 / 1024, rel=0.4)  # lines along the pixels seem a quarter wider
    assert 30 < small.area_width < 150


def test_a_line_that_does_not_scale_with_the_picture_is_detected() -> None:
    thin = np.full((2000, 2000, 3), 200, np.uint8)
    thin[:, 500::500] = 30
    thick = np.asarray(cv2.erode(thin, np.ones((1, 9), np.uint8)), np.uint8)
    assert compare_sizes(thick, thick).line_width > 4 * compare_sizes(thin, thick).line_width


def test_a_style_that_is_drawn_at_one_size_is_given_at_the_size_asked_for() -> None:
    photo = soft_photo(300, 400)
    drawer = Drawer("light", LightGenerator().eval(), drawn_at=200)
    assert [drawer.draw_at(side, photo).shape[:2] for side in (400, 200, 100)] == [(300, 400), (150, 200), (75, 100)]
    assert drawer.draw(photo).shape == photo.shape


@pytest.mark.parametrize("close_ups", [True, False])
def test_weights_are_drawn_as_the_manifest_beside_them_says(tmp_path: Path, *, close_ups: bool) -> None:
    shutil.copy(BUNDLED_WEIGHTS / "hinata-light.safetensors", tmp_path / "new.safetensors")
    listed = Style(
        name="new",
        title="New",
        size=Size.LIGHT,
        file="new.safetensors",
        sha256="0" * 64,
        drawn_at=512,
        close_ups=close_ups,
        small_faces=not close_ups,
        licence="MIT",
    )
    write_manifest(tmp_path, [listed])
    drawer = other_drawer(f"{tmp_path / 'new.safetensors'}")
    assert (drawer.name, drawer.drawn_at) == ("new", 512)
    assert (drawer.close_ups, drawer.small_faces) == (close_ups, not close_ups)
    told = other_drawer(f"{tmp_path / 'new.safetensors'}:half_pixel@640")
    assert (told.drawn_at, told.close_ups) == (640, True)


def test_weights_in_no_manifest_are_drawn_at_the_size_of_the_photo_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(BUNDLED_WEIGHTS / "hinata-light.safetensors", tmp_path / "new.safetensors")
    assert other_drawer(f"{tmp_path / 'new.safetensors'}").drawn_at is None
    assert "no manifest says at which size to draw" in capsys.readouterr().err


def test_a_fresh_generator_draws_nearly_the_photo_at_any_size() -> None:
    photo = soft_photo(101, 77)
    drawn = draw(LightGenerator().eval(), photo)
    assert drawn.shape == photo.shape
    assert np.abs(drawn.astype(int) - photo).mean() < 25  # the last step inks it


def test_evaluation_skips_files_that_are_not_photos_unless_named(tmp_path: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    Image.fromarray(soft_photo(300, 200)).save(tmp_path / "photo.png")
    Image.fromarray(soft_photo(40, 40)).save(tmp_path / "icon.png")
    found = list(read_photos([tmp_path], max_side=225))
    assert [(path.name, photo.shape) for path, photo in found] == [("photo.png", (225, 150, 3))]
    with pytest.raises(OSError, match="damaged"):
        list(read_photos([tmp_path / "damaged.jpg"], max_side=225))


def test_sheets_are_numbered_when_one_is_not_enough(tmp_path: Path) -> None:
    column = [soft_photo(60, 80, seed) for seed in range(5)]
    columns = [("photo", column), ("target", column)]
    assert contact_sheets(tmp_path / "one.png", columns, height=30) == [tmp_path / "one.png"]
    paths = contact_sheets(tmp_path / "many.png", columns, height=30, rows=2)
    assert [path.name for path in paths] == ["many-1.png", "many-2.png", "many-3.png"]
    with Image.open(paths[0]) as full, Image.open(paths[2]) as last:
        assert full.size == (80, 32 + 2 * 34)
        assert last.size == (80, 32 + 34)


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
    assert "on 4 pairs of photo and rendered target" in style.provenance
    assert "6 steps from random initialisation, seed 1" in style.provenance
    assert style.drawn_at == 640
    weights = load_generator(style).state_dict()
    for name, value in run.average.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-7)
    assert style.preview_path is not None
    with Image.open(style.preview_path) as preview:
        assert preview.size == (480, 480)


def test_an_unfinished_run_can_be_evaluated_but_not_exported(tmp_path: Path) -> None:
    run = Run(RECIPE)
    run.save(tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="step 0 of 6"):
        export(tmp_path / "checkpoint.pt", "Hinata", tmp_path)
    found = load_weights(tmp_path / "checkpoint.pt").state_dict()
    for name, value in run.average.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)
