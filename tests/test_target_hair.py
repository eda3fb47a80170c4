"""Hair in the rendered target: where it is found, and how it is painted."""

import cv2
import numpy as np
import numpy.typing as npt

from tests.test_target import FACE, HEIGHT, MIDDLE, SKINS, WIDTH, ellipse, fill_shape, mesh, portrait
from training.analysis import Analysis
from training.faces import OVAL
from training.hair import find_hair, with_foreheads
from training.locks import paint_hair
from training.planes import chroma
from training.view import look_at

Rgb = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

HEAD = ellipse(0, -0.08, 0.95, 1.1, 40)
WALL = (150, 160, 175)


def with_strands(photo: Rgb, colour: tuple[int, int, int]) -> Rgb:
    """A portrait whose hair is of a colour and hangs in strands that are lighter and darker, from the crown on."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    angle = np.arctan2(columns - MIDDLE[0], rows - MIDDLE[1] + 0.9 * FACE)
    light = 1 + 0.3 * np.sin(30 * angle) + 0.25 * np.sin(137 * angle + rows / 40)
    noise = np.random.default_rng(1).normal(0, 6, (HEIGHT, WIDTH, 1))
    hair = np.clip(np.array(colour) * light[..., None] + noise, 0, 255).astype(np.uint8)
    return np.where((hair_of(photo) > 0)[..., None], hair, photo).astype(np.uint8)


def hair_of(photo: Rgb) -> Rgb:
    """The mask of a portrait's hair, 0 or 255."""
    where = np.zeros(photo.shape[:2], np.uint8)
    fill_shape(where, HEAD, 255)
    fill_shape(where, mesh()[list(OVAL)], 0)
    return where


def found_in(photo: Rgb, analysis: Analysis) -> Plane:
    found = np.zeros(photo.shape[:2], np.float32)
    for hair in find_hair(look_at(photo, analysis)):
        found[hair.near.window] = hair.near.enlarged(hair.share)
    return found


def above_eyes(where: Mask) -> Mask:
    above: Mask = where & (np.arange(HEIGHT)[:, None] < MIDDLE[1] - 0.15 * FACE)
    return above


def test_hair_is_found_around_the_face_alone() -> None:
    photo, analysis = portrait()
    photo = with_strands(photo, (110, 70, 40))
    inside = cv2.erode(hair_of(photo), np.ones((9, 9), np.uint8)) > 0
    outside = cv2.dilate(hair_of(photo), np.ones((9, 9), np.uint8)) == 0
    found = found_in(photo, analysis)
    assert found[above_eyes(inside)].mean() > 0.9
    assert found[outside].mean() < 0.02


def test_a_bald_head_gets_no_hair() -> None:
    photo, analysis = portrait()
    bald = photo.copy()
    fill_shape(bald, ellipse(0, -0.08, 0.95, 1.1, 40), SKINS[3])
    bald = np.where((hair_of(photo) > 0)[..., None], bald, photo).astype(np.uint8)
    assert found_in(bald, analysis).mean() < 0.003


def test_hair_is_painted_in_few_tones_of_its_own_colour() -> None:
    photo, analysis = portrait()
    photo = with_strands(photo, (150, 95, 45))
    view = look_at(photo, analysis)
    inside = above_eyes(cv2.erode(hair_of(photo), np.ones((11, 11), np.uint8)) > 0)
    painted = paint_hair(view.lab, view.lab, find_hair(view)).paint

    def changes(lab: Plane) -> float:
        return float(np.median(np.abs(np.diff(lab[..., 0], axis=1))[inside[:, 1:]]))

    assert changes(painted) < 0.25 * changes(view.lab)
    before, after = (np.median(lab[inside], axis=0) for lab in (view.lab, painted))
    hues = np.degrees(np.arctan2((before[2], after[2]), (before[1], after[1])))
    assert abs(hues[0] - hues[1]) < 12
    assert 0.7 < chroma(after) / chroma(before) < 1.4
    assert abs(before[0] - after[0]) < 10
    shade, light = np.percentile(painted[inside][:, 0], (10, 95))
    assert light - shade > 12


def test_a_patterned_headband_is_no_hair() -> None:
    photo, analysis = portrait()
    photo = with_strands(photo, (190, 150, 90))
    rows = np.arange(HEIGHT)[:, None]
    band = (rows > MIDDLE[1] - 0.58 * FACE) & (rows < MIDDLE[1] - 0.46 * FACE) & (hair_of(photo) > 0)
    squares = np.where((np.indices((HEIGHT, WIDTH)) // 5).sum(0) % 2, 235, 12)[..., None]
    photo = np.where(band[..., None], squares, photo).astype(np.uint8)
    view = look_at(photo, analysis)
    share = paint_hair(view.lab, view.lab, find_hair(view)).share
    assert share[band].mean() < 0.35


def test_skin_goes_up_to_the_hair() -> None:
    photo, analysis = portrait()
    photo = with_strands(photo, (40, 30, 25))
    forehead = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(forehead, ellipse(0, -0.4, 0.34, 0.12, 24), 255)
    shaded = np.where((forehead > 0)[..., None], photo * 0.55, photo).astype(np.uint8)
    view = look_at(shaded, analysis)
    inside = cv2.erode(forehead, np.ones((5, 5), np.uint8)) > 0
    assert view.skin[inside].mean() < 0.5
    assert with_foreheads(view.skin, find_hair(view))[inside].mean() > 0.8


def test_a_rough_fringe_below_a_hat_is_no_skin() -> None:
    photo, analysis = portrait()
    photo = with_strands(photo, (170, 20, 30))
    fringe = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(fringe, ellipse(0, -0.38, 0.5, 0.2, 24), 255)
    light = 1 + 0.2 * np.sin(np.arange(WIDTH))[None, :, None]
    strands = np.clip(np.array(SKINS[3]) * 0.8 * light, 0, 255)
    photo = np.where((fringe > 0)[..., None], strands, photo).astype(np.uint8)
    view = look_at(photo, analysis)
    inside = cv2.erode(fringe, np.ones((5, 5), np.uint8)) > 0
    assert with_foreheads(view.skin, find_hair(view))[inside].mean() < view.skin[inside].mean() + 0.1
