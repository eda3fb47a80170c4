"""The rendered target, tested on pictures that each show one thing."""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from training.analysis import MESH_POINTS, Analysis, nothing_found
from training.faces import (
    CHIN,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS,
    LOWER_LIP_INSIDE,
    NOSE,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
    UPPER_LIP_INSIDE,
    find_faces,
)
from training.figures import shares
from training.flow import difference_across, edge_flow, smooth_along
from training.glasses import find_frames, find_lenses
from training.lines import outlines
from training.painting import restore, soften, steepen
from training.planes import to_lab
from training.proportions import redraw_proportions
from training.regions import fill, rounded, segment
from training.target import GRADES, draw, render, render_all
from training.view import look_at

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Points = npt.NDArray[np.float32]

SKINS = [(92, 58, 42), (128, 84, 60), (164, 112, 82), (198, 146, 112), (224, 176, 144)]
HEIGHT, WIDTH = 320, 260
MIDDLE, FACE = np.array((130.0, 150.0)), 150.0  # of the drawn face: its position and height


# Points of the mesh of a nose, of cheeks and of a forehead, in heights of the face from its middle.
MIDLINE = {
    168: (0, -0.12),
    197: (0, -0.06),
    195: (0, -0.02),
    5: (0, 0.02),
    4: (0, 0.07),
    1: (0, 0.085),
    19: (0, 0.105),
    2: (0, 0.125),
}
MIDLINE |= {151: (0, -0.36)}
PAIRS = {
    (98, 327): (0.055, 0.12),
    (97, 326): (0.025, 0.12),
    (64, 294): (0.07, 0.1),
    (60, 290): (0.045, 0.115),
    (20, 250): (0.03, 0.11),
    (49, 279): (0.06, 0.08),
    (198, 420): (0.05, 0.05),
    (236, 456): (0.045, 0.0),
    (196, 419): (0.03, -0.05),
    (133, 362): (0.09, -0.12),
    (50, 280): (0.22, 0.08),
    (101, 330): (0.17, 0.05),
    (118, 347): (0.16, 0.0),
    (108, 337): (0.08, -0.34),
}


def ellipse(x: float, y: float, width: float, height: float, corners: int, start: float = 0.0) -> Points:
    """Points around (x, y) of the face, in units of its height, clockwise, starting `start` turns after the right."""
    angles = 2 * np.pi * (start + np.arange(corners) / corners)
    around = np.stack((np.cos(angles) * width, np.sin(angles) * height), 1) / 2
    return (MIDDLE + FACE * (np.array((x, y)) + around)).astype(np.float32)


def mesh() -> Points:
    """The points of the drawn face, in pixels."""
    points = np.tile(MIDDLE, (MESH_POINTS, 1)).astype(np.float32)
    points[list(OVAL)] = ellipse(0, 0, 0.76, 1.0, len(OVAL), start=-0.25)
    for side, eye, brow, iris in ((-1, LEFT_EYE, LEFT_BROW, LEFT_IRIS), (1, RIGHT_EYE, RIGHT_BROW, RIGHT_IRIS)):
        outline = ellipse(-0.17, -0.12, 0.16, 0.07, len(eye), start=0.5)
        points[list(eye)] = mirrored(outline) if side > 0 else outline
        points[list(brow)] = ellipse(side * 0.17, -0.22, 0.2, 0.03, len(brow))
        points[list(iris)] = [
            MIDDLE + FACE * np.array((side * 0.17, -0.12)),
            *ellipse(side * 0.17, -0.12, 0.07, 0.07, 4),
        ]
    points[list(LIPS)] = mirrored(ellipse(0, 0.27, 0.26, 0.08, len(LIPS)))
    points[list(UPPER_LIP_INSIDE)] = points[list(LOWER_LIP_INSIDE)] = [
        MIDDLE + FACE * np.array((x, 0.27)) for x in np.linspace(-0.1, 0.1, len(UPPER_LIP_INSIDE))
    ]
    for number, place in MIDLINE.items():
        points[number] = MIDDLE + FACE * np.array(place)
    for (left, right), (x, y) in PAIRS.items():
        points[left], points[right] = MIDDLE + FACE * np.array((-x, y)), MIDDLE + FACE * np.array((x, y))
    return points


def mirrored(points: Points) -> Points:
    return np.stack((2 * MIDDLE[0] - points[:, 0], points[:, 1]), 1).astype(np.float32)


def darker(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(level * share) for level in colour)
    return red, green, blue


def portrait(skin: Colour = SKINS[3]) -> tuple[Rgb, Analysis]:
    """A drawn face, lit from the left, before a grey-blue wall, and its analysis."""
    points = mesh()
    photo, person = np.full((HEIGHT, WIDTH, 3), (150, 160, 175), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    shapes = (
        (ellipse(0, 0.9, 0.9, 0.7, 40), (60, 70, 110)),
        (ellipse(0, 0.55, 0.4, 0.5, 40), darker(skin, 0.9)),
        (ellipse(0, -0.08, 0.95, 1.1, 40), (40, 30, 25)),
        (points[list(OVAL)], skin),
    )
    for shape, colour in shapes:
        fill_shape(photo, shape, colour)
        fill_shape(person, shape, 255)
    light = np.clip(1.1 - 0.2 * (np.arange(WIDTH) - MIDDLE[0] + FACE / 2) / FACE, 0.9, 1.1)
    photo = np.clip(photo * light[None, :, None], 0, 255).astype(np.uint8)
    draw_features(photo, points, skin)
    noise = np.random.default_rng(0).normal(0, 2, photo.shape)
    photo = np.clip(cv2.GaussianBlur(photo, (0, 0), 0.7) + noise, 0, 255).astype(np.uint8)
    faces = points[None] / np.array((WIDTH, HEIGHT), np.float32)
    sky = np.zeros((HEIGHT, WIDTH), np.float32)
    return photo, Analysis(faces.astype(np.float32), (person / 255).astype(np.float32), sky)


def draw_features(photo: Rgb, points: Points, skin: Colour) -> None:
    for eye, brow, iris in ((LEFT_EYE, LEFT_BROW, LEFT_IRIS), (RIGHT_EYE, RIGHT_BROW, RIGHT_IRIS)):
        fill_shape(photo, points[list(eye)], (235, 230, 225))
        cv2.circle(photo, points[iris[0]].round().astype(int).tolist(), 5, (70, 45, 30), -1, cv2.LINE_AA)
        fill_shape(photo, points[list(brow)], (50, 35, 30))
    fill_shape(photo, points[list(LIPS)], darker(skin, 0.7))


def fill_shape(canvas: Rgb, points: Points, colour: Colour | int) -> None:
    cv2.fillPoly(canvas, [points.round().astype(np.int32)], colour, cv2.LINE_AA)


def cheeks() -> npt.NDArray[np.bool_]:
    """The mask of bare skin in the drawn face."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    for side in (-1, 1):
        fill_shape(canvas, ellipse(side * 0.2, 0.1, 0.2, 0.2, 20), 255)
    return canvas > 127


def head() -> npt.NDArray[np.bool_]:
    """The mask of the drawn face."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(canvas, mesh()[list(OVAL)], 255)
    return canvas > 127


def lightness(picture: Rgb) -> npt.NDArray[np.float32]:
    """CIE L*, 0..100."""
    return np.asarray(cv2.cvtColor((picture / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[..., 0], np.float32)


def grainy(picture: npt.NDArray[np.floating]) -> Rgb:
    grain = np.random.default_rng(1).normal(0, 1.5, picture.shape)
    return np.asarray(np.clip(picture + grain, 0, 255).round(), np.uint8)


def blurred(picture: Rgb, sigma: float) -> Rgb:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def landscape() -> tuple[Rgb, Analysis]:
    """A sky that grows lighter downwards over dark ground."""
    photo = np.linspace(90, 200, 240)[:, None, None] * np.array((0.8, 0.9, 1.0)) * np.ones((1, 320, 1))
    photo[200:] = (70, 60, 40)
    known = nothing_found(240, 320)
    known.sky[:200] = 1
    return grainy(photo), known


def foliage() -> Rgb:
    """Rough green all over."""
    grey = np.random.default_rng(0).normal(0, 1, (200, 260))
    rough = cv2.GaussianBlur(grey, (0, 0), 1.2)[..., None] * 100
    return np.asarray(np.clip(np.array((70, 105, 45)) + rough * np.array((0.8, 1, 0.6)), 0, 255), np.uint8)


def steepest(picture: Rgb) -> int:
    """The largest step between neighbours, in levels."""
    levels = picture.astype(int)
    return int(max(np.abs(np.diff(levels, axis=axis)).max() for axis in (0, 1)))


@pytest.mark.parametrize("skin", SKINS)
def test_skin_of_every_tone_keeps_its_lightness(skin: Colour) -> None:
    photo, known = portrait(skin)
    before = lightness(photo)[cheeks()].mean()
    after = {style: lightness(drawn)[cheeks()].mean() for style, drawn in render_all(photo, known).items()}
    assert after["hinata"] == pytest.approx(before, abs=10)
    assert after["yoi"] == pytest.approx(before, abs=16)
    assert after["sumi"] == pytest.approx(before, abs=16)


@pytest.mark.parametrize("skin", SKINS)
def test_skin_that_is_half_in_shade_keeps_its_lightness(skin: Colour) -> None:
    photo, known = portrait(skin)
    lit = 1 / (1 + np.exp((np.arange(WIDTH) / WIDTH - 0.5) * 18))[None, :, None]
    photo = (photo * (0.6 + 0.4 * lit)).astype(np.uint8)
    before = np.median(lightness(photo)[cheeks()])
    drawn = render_all(photo, known)
    lighter = {style: np.median(lightness(picture)[cheeks()]) - before for style, picture in drawn.items()}
    assert -2 < lighter["hinata"] < 17  # as it would be in the light
    assert -4 < lighter["yoi"] < 10
    assert 4 < lighter["sumi"] < 20  # on white paper


def test_pale_skin_in_dim_light_is_lit_and_dark_skin_as_dim_is_not() -> None:
    lit = []
    for skin in (darker(SKINS[4], 0.6), SKINS[1]):
        photo, known = portrait(skin)
        lit.append(np.median(draw(photo, known).paint[..., 0][cheeks()]) - np.median(lightness(photo)[cheeks()]))
    assert lit[0] > lit[1] + 3
    assert lit[1] < 4


def test_the_form_of_a_face_stays_and_fine_spots_go() -> None:
    plain, known = portrait()
    formed, spotted = plain.copy(), plain.copy()
    fill_shape(formed, ellipse(0.22, 0.06, 0.16, 0.14, 40), SKINS[4])
    formed = np.asarray(cv2.GaussianBlur(formed, (0, 0), 3), np.uint8)
    for side in (-0.2, 0.2):
        fill_shape(spotted, ellipse(side, 0.06, 0.015, 0.015, 12), darker(SKINS[3], 0.7))
    seen = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(seen, ellipse(0.22, 0.06, 0.08, 0.07, 40), 255)
    paint, with_form, with_spots = (draw(one, known).paint for one in (plain, formed, spotted))
    gained = (lightness(formed) - lightness(plain))[seen > 0].mean()
    assert (with_form - paint)[..., 0][seen > 0].mean() > 0.3 * gained
    assert np.abs(with_spots - paint)[..., 0][cheeks()].max() < 4


def test_a_fringe_is_no_skin() -> None:
    photo, known = portrait()
    fringe = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(fringe, ellipse(0, -0.36, 0.5, 0.14, 40), 255)
    photo[fringe > 0] = (40, 30, 25)
    drawn = draw(photo, known)
    within = cv2.erode(fringe, np.ones((7, 7), np.uint8)) > 0
    assert drawn.skin[within].mean() < 0.1
    assert drawn.paint[..., 0][within].mean() < 22


def test_darker_skin_stays_the_darker() -> None:
    drawn = [render_all(*portrait(skin)) for skin in SKINS[::2]]
    for style in GRADES:
        assert (np.diff([lightness(pictures[style])[cheeks()].mean() for pictures in drawn]) > 4).all()


def test_there_is_no_ink_in_skin_and_a_crease_is_smoothed_away() -> None:
    photo, known = portrait()
    cv2.line(photo, (98, 163), (107, 185), darker(SKINS[3], 0.72), 1, cv2.LINE_AA)  # below where glasses would be
    drawing = draw(photo, known)
    assert max(drawing.ink[cheeks()].max(), drawing.brush[cheeks()].max()) < 0.1
    drawn = render(photo, "hinata", known)
    before, after = (np.ptp(lightness(picture)[172, 85:112]) for picture in (photo, drawn))
    assert after < 0.5 * before


def test_skin_has_a_light_and_a_shaded_tone_with_a_narrow_edge_between() -> None:
    photo, known = portrait()
    column = np.arange(WIDTH)[None, :, None]
    photo = np.where(column < MIDDLE[0], photo, photo * 0.65).astype(np.uint8)
    painted = draw(photo, known).paint[175, 90:171, 0]
    assert painted[:25].mean() - painted[-25:].mean() > 10
    assert max(np.ptp(painted[:25]), np.ptp(painted[-25:])) < 4


def test_only_light_from_a_side_gets_a_crisp_border() -> None:
    photo, known = portrait()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    across, down = (columns - MIDDLE[0]) / FACE, (rows - MIDDLE[1]) / FACE
    lights = 1 - 0.45 * np.clip(across + 0.5, 0, 1), 1 - 0.8 * np.clip(across**2 + down**2, 0, 0.4)
    steepest = []
    for light in lights:
        painted = draw((photo * light[..., None]).astype(np.uint8), known).paint[..., 0]
        steepest.append(np.abs(np.diff(painted[175, 90:171])).max())
    assert steepest[0] > 2 * steepest[1]


def test_eyes_get_lids_and_a_light_and_brows_and_mouth_stay() -> None:
    photo, known = portrait()
    drawing, drawn = draw(photo, known), render(photo, "hinata", known)
    left, right = (slice(124, 140), slice(92, 118)), (slice(124, 140), slice(142, 168))
    for eye in (left, right):
        assert drawing.pen[eye].max() > 0.5
        assert lightness(drawn)[eye].min() < 30
    _, moved = redraw_proportions(photo, known)
    for iris in (LEFT_IRIS, RIGHT_IRIS):
        x, y = (moved.faces[0, iris[0]] * (WIDTH, HEIGHT)).round().astype(int)
        drawn_iris = drawing.paint[y - 4 : y + 5, x - 3 : x + 4, 0]
        assert drawn_iris.max() > 85  # its light
        assert drawn_iris.min() < 15  # its pupil
    assert drawing.pen[185:195, 120:140].max() > 0.3  # between the lips
    assert 0.2 < drawing.pen[165:174, 115:146].max() <= 0.75  # below the nose
    assert drawing.pen[cv2.dilate(head().astype(np.uint8), np.ones((7, 7), np.uint8)) == 0].max() == 0
    for row, column in ((116, 105), (190, 130)):
        assert lightness(drawn)[row, column] < lightness(drawn)[160, 105] - 10


def test_faces_get_larger_eyes_a_smaller_nose_and_mouth_and_a_slimmer_jaw() -> None:
    photo, known = portrait()
    warped, moved = redraw_proportions(photo, known)
    before, after = (analysis.faces[0] * (WIDTH, HEIGHT) for analysis in (known, moved))
    jaw, forehead = OVAL[15:22], OVAL[:4] + OVAL[-3:]
    grown = {part: np.ptp(after[list(part)], axis=0) / np.ptp(before[list(part)], axis=0) for part in (LIPS, NOSE, jaw)}
    for eye in (LEFT_EYE, RIGHT_EYE):
        wider, higher = np.ptp(after[list(eye)], axis=0) / np.ptp(before[list(eye)], axis=0)
        assert 1.05 < wider < higher < 1.7
    assert 0.8 < grown[NOSE][0] < 0.95
    assert 0.85 < grown[LIPS][0] < 0.97
    assert 0.85 < grown[jaw][0] < 0.97
    np.testing.assert_allclose(after[list(forehead)], before[list(forehead)], atol=1e-3)
    white = [(lightness(picture)[120:145, 90:170] > 80).sum() for picture in (photo, warped)]
    assert white[1] > 1.1 * white[0]
    np.testing.assert_array_equal(warped[:80], photo[:80])


def test_masks_are_warped_with_the_photo() -> None:
    photo, known = portrait()
    sky = (lightness(photo) > 45).astype(np.float32)
    warped, moved = redraw_proportions(photo, replace(known, sky=sky, person=1 - sky))
    followed = (lightness(warped) > 45) == (moved.sky > 0.5)
    assert followed[180:240].mean() > 0.98
    np.testing.assert_allclose(moved.person, 1 - moved.sky, atol=1e-5)


@pytest.mark.parametrize("why", ["brown glasses", "blue glasses that mirror", "closed"])
@pytest.mark.parametrize("tilt", [0, 20])
def test_eyes_that_are_not_seen_are_left_alone(why: str, tilt: int) -> None:
    photo, known = portrait()
    faces = known.faces.copy()
    for eye, side in ((LEFT_EYE, -0.17), (RIGHT_EYE, 0.17)):
        lens = {"brown glasses": (60, 40, 30), "closed": SKINS[3]}.get(why, (25, 40, 60))
        fill_shape(photo, ellipse(side, -0.12, 0.3, 0.26, 40), lens)
        if why == "blue glasses that mirror":
            fill_shape(photo, ellipse(side + 0.02, -0.13, 0.05, 0.04, 20), (200, 215, 235))
        if why == "closed":
            x, y = (MIDDLE + FACE * np.array((side, -0.12))).astype(int).tolist()
            cv2.line(photo, (x - 11, y), (x + 11, y), (60, 40, 30), 1)
            faces[0, list(eye), 1] = y / HEIGHT + (faces[0, list(eye), 1] - y / HEIGHT) / 5
    photo, known = tilted(photo, replace(known, faces=faces), tilt)
    warped, moved = redraw_proportions(photo, known)
    eyes, size = [*LEFT_EYE, *RIGHT_EYE], (WIDTH, HEIGHT)
    np.testing.assert_allclose(moved.faces[0, eyes] * size, known.faces[0, eyes] * size, atol=1)
    top = int((known.faces[0, eyes, 1] * HEIGHT).max())
    np.testing.assert_array_equal(warped[: top - 30], photo[: top - 30])


def test_eyes_of_a_tilted_head_grow_like_others() -> None:
    grown = []
    for tilt in (0, 20):
        photo, known = tilted(*portrait(), tilt)
        _, moved = redraw_proportions(photo, known)
        sizes = [
            np.linalg.norm(np.subtract(*(analysis.faces[0, [33, 133]] * (WIDTH, HEIGHT))))
            for analysis in (known, moved)
        ]
        grown.append(sizes[1] / sizes[0])
    assert grown[0] == pytest.approx(grown[1], abs=0.02)
    assert grown[0] > 1.05


def tilted(photo: Rgb, known: Analysis, degrees: float) -> tuple[Rgb, Analysis]:
    """The picture and its analysis, rotated about the centre."""
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1)
    size = np.array((WIDTH, HEIGHT), np.float32)
    points = known.faces[0] * size @ turn[:, :2].T + turn[:, 2]
    turned, person = (
        cv2.warpAffine(image, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101)
        for image in (photo, known.person)
    )
    faces = (points / size).astype(np.float32)[None]
    return np.asarray(turned, np.uint8), replace(known, faces=faces, person=np.asarray(person, np.float32))


def test_a_short_shadow_falls_from_the_jaw_on_the_neck() -> None:
    photo, known = portrait()
    column = draw(photo, known).paint[:, int(MIDDLE[0]), 0]
    neck = int(MIDDLE[1] + FACE / 2)
    shadow, below = column[neck + 6 : neck + 16], column[neck + 30 : neck + 38]
    assert shadow.mean() < below.mean() - 3


def test_a_nose_is_drawn_alike_whatever_the_photo_has_of_it() -> None:
    plain, known = portrait()
    spotted = plain.copy()
    for side in (-0.04, 0.04):
        fill_shape(spotted, ellipse(side, 0.11, 0.05, 0.04, 20), (60, 30, 25))
    nose = slice(158, 172), slice(120, 141)
    noses = [draw(photo, known).paint[..., 0][nose] for photo in (plain, spotted)]
    assert noses[0].min() < np.median(draw(plain, known).paint[..., 0][cheeks()]) - 5
    assert np.abs(np.subtract(*noses)).mean() < 2


def test_deep_folds_stay_as_soft_lines_and_shallow_ones_go() -> None:
    photo, known = portrait()
    smooth = draw(photo, known).paint
    depths = []
    for share in (0.93, 0.75):
        folded = photo.copy()
        cv2.line(folded, (98, 168), (106, 190), darker(SKINS[3], share), 3, cv2.LINE_AA)
        depths.append((smooth - draw(folded, known).paint)[172:186, 98:106, 0].max())
    shallow, deep = depths
    assert shallow < 3
    assert 6 < deep < 20


def test_creases_of_a_forehead_go_and_a_fringe_stays() -> None:
    photo, known = portrait()
    creased, fringed = photo.copy(), photo.copy()
    cv2.line(creased, (110, 98), (150, 98), darker(SKINS[3], 0.45), 5, cv2.LINE_AA)
    for x in range(108, 154, 7):
        cv2.line(fringed, (x, 85), (x, 108), (40, 30, 25), 3, cv2.LINE_AA)
    lines = [
        np.ptp(draw(picture, known).paint[95:102, 115:146, 0], axis=axis)
        for picture, axis in ((creased, 0), (fringed, 1))
    ]
    assert lines[0].max() < 8
    assert lines[1].min() > 20


def test_dark_glasses_hide_the_eyes_and_stay_as_they_are() -> None:
    photo, known = portrait()
    lenses = np.zeros((HEIGHT, WIDTH), np.uint8)
    for side in (-0.17, 0.17):
        fill_shape(photo, ellipse(side, -0.12, 0.3, 0.24, 40), (35, 33, 38))
        fill_shape(lenses, ellipse(side, -0.12, 0.22, 0.16, 40), 255)
    painted = draw(photo, known).paint[..., 0]
    assert painted[lenses > 127].max() < 30


def test_teeth_are_one_light_shape() -> None:
    photo, known = portrait()
    faces, (x, y) = known.faces.copy(), (MIDDLE + FACE * np.array((0, 0.27))).astype(int).tolist()
    fill_shape(photo, ellipse(0, 0.27, 0.2, 0.06, 40), (240, 235, 225))
    for gap in range(-12, 13, 4):
        photo[y - 3 : y + 4, x + gap] = (120, 70, 60)
    for corner in (slice(x - 16, x - 6), slice(x + 7, x + 17)):  # of the mouth
        photo[y - 5 : y + 6, corner] = (60, 25, 25)
    faces[0, list(INNER_LIPS)] = ellipse(0, 0.27, 0.2, 0.06, len(INNER_LIPS), start=0.5) / (WIDTH, HEIGHT)
    painted = draw(photo, replace(known, faces=faces)).paint[y, :, 0]
    left, right, teeth = painted[x - 12 : x - 9], painted[x + 10 : x + 13], painted[x - 3 : x + 4]
    assert np.ptp(teeth) < 5
    assert teeth.mean() - max(left.mean(), right.mean()) > 40


def test_nothing_is_inked_between_teeth() -> None:
    photo, known = portrait()
    x, y = (MIDDLE + FACE * np.array((0, 0.27))).astype(int).tolist()
    fill_shape(photo, ellipse(0, 0.27, 0.24, 0.07, 40), (240, 235, 225))
    for gap in range(-12, 13, 4):
        photo[y - 3 : y + 4, x + gap] = (60, 30, 30)
    assert draw(photo, known).ink[y - 2 : y + 3, x - 12 : x + 13].max() < 0.1


def test_skin_in_green_light_does_not_turn_olive() -> None:
    photo, known = portrait((140, 140, 90))
    a, b = (draw(photo, known).paint[..., channel][cheeks()].mean() for channel in (1, 2))
    assert a > 0.45 * b


def test_a_beard_stays_dark_and_smooth_shade_as_dark_is_evened_out() -> None:
    photo, known = portrait()
    below = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(below, ellipse(0, 0.36, 0.5, 0.3, 40), 255)
    share = cv2.GaussianBlur(below, (0, 0), 4)[..., None] / 255
    grain = np.random.default_rng(1).normal(0, 14, (HEIGHT, WIDTH, 1))
    darker = []
    for chin in (np.array((116, 106, 100)) + grain, cv2.GaussianBlur(photo, (0, 0), 3) * 0.72):
        picture = np.clip(photo * (1 - share) + chin * share, 0, 255).astype(np.uint8)
        painted = draw(picture, known).paint[..., 0]
        darker.append(np.median(painted[cheeks()]) - painted[208:218, 115:146].mean())
    of_beard, of_shade = darker
    assert of_beard > of_shade + 4


def test_a_grey_beard_stays_grey() -> None:
    photo, known = portrait()
    beard = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(beard, ellipse(0, 0.36, 0.6, 0.3, 40), 255)
    grain = np.random.default_rng(1).normal(0, 16, (HEIGHT, WIDTH, 1))
    grey = np.clip(np.add(grain, (172, 160, 150)), 0, 255)
    bearded = np.where(beard[..., None] > 127, grey, photo).astype(np.uint8)
    chin = slice(206, 218), slice(115, 146)
    of_skin, of_beard = (
        np.hypot(*np.median(draw(one, known).paint[chin][..., 1:], axis=(0, 1))) for one in (photo, bearded)
    )
    assert of_beard < 0.4 * of_skin


def test_a_moustache_stays() -> None:
    photo, known = portrait()
    grain = np.random.default_rng(1).normal(0, 14, (HEIGHT, WIDTH, 1))
    hair = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(hair, ellipse(0, 0.19, 0.26, 0.06, 40), 255)
    photo = np.where(hair[..., None] > 127, np.clip(np.add(grain, (96, 78, 66)), 0, 255), photo).astype(np.uint8)
    row = draw(photo, known).paint[int(MIDDLE[1] + 0.19 * FACE), :, 0]
    assert row[122:139].mean() < row[80:90].mean() - 8


def test_shade_on_one_side_of_a_mouth_is_no_beard() -> None:
    photo, known = portrait()
    grain = np.random.default_rng(1).normal(0, 14, (HEIGHT, WIDTH, 1))
    hair = np.clip(np.add(grain, darker(SKINS[3], 0.76)), 0, 255)
    beside, mirrored_too = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
    for mask, sides in ((beside, (1,)), (mirrored_too, (1, -1))):
        for side in sides:
            fill_shape(mask, ellipse(side * 0.17, 0.33, 0.18, 0.16, 40), 255)
    seen = np.nonzero(cv2.erode(beside, np.ones((9, 9), np.uint8)))
    of_shade, of_beard = (
        np.median(draw(np.where(mask[..., None] > 127, hair, photo).astype(np.uint8), known).paint[..., 0][seen])
        for mask in (beside, mirrored_too)
    )
    assert of_shade > of_beard + 4


def test_a_neck_in_deep_shade_is_skin_and_what_lies_on_clothes_is_none() -> None:
    photo, known = portrait()
    neck, patch = (slice(238, 250), slice(122, 139)), (slice(288, 300), slice(100, 112))
    photo[232:260, 108:153] = darker(SKINS[3], 0.5)
    photo[patch] = SKINS[3]
    skin = look_at(photo, known).skin
    assert skin[neck].mean() > 0.9
    assert skin[patch].max() < 0.1


def test_skin_is_known_by_how_it_looks_where_it_is_lit() -> None:
    photo, known = portrait()
    shaded = photo.copy()
    shaded[160:] = (shaded[160:] * 0.75).astype(np.uint8)
    light = np.percentile(lightness(photo)[cheeks()], 80)
    lit = draw(shaded, known).paint[140:150, 85:112, 0]
    assert lit.mean() > light - 6


def test_a_line_parts_the_jaw_from_the_neck_but_not_in_a_beard() -> None:
    photo, known = portrait()
    _, moved = redraw_proportions(photo, known)
    x, y = (moved.faces[0, CHIN[0]] * (WIDTH, HEIGHT)).round().astype(int)
    chin = slice(y - 3, y + 4), slice(x - 6, x + 7)
    assert draw(photo, known).pen[chin].max() > 0.3
    beard = np.zeros((HEIGHT, WIDTH), np.uint8)
    fill_shape(beard, ellipse(0, 0.36, 0.6, 0.3, 40), 255)
    grain = np.random.default_rng(1).normal(0, 14, (HEIGHT, WIDTH, 1))
    bearded = np.where(beard[..., None] > 127, np.clip(np.add(grain, (70, 62, 58)), 0, 255), photo).astype(np.uint8)
    assert draw(bearded, known).pen[chin].max() < 0.35


def test_a_faint_stroke_comes_back_where_it_is_calm_and_not_in_a_crowd() -> None:
    painted, threshold = np.full((60, 60, 3), (50, 0, 0), np.float32), np.full((60, 60), 8, np.float32)
    calm, crowded = painted.copy(), painted.copy()
    calm[30:32, 5:55, 0] += 6
    crowded[..., 0] += np.where(np.indices((60, 60)).sum(0) // 3 % 2, 6, -6)
    assert restore(painted, calm, threshold, 1.0)[30, 30, 0] > 54
    assert np.abs(restore(painted, crowded, threshold, 1.0)[..., 0] - 50).max() < 1.5


@pytest.mark.parametrize("bridge", ["bridge", None])
def test_frames_are_thin_lines_around_eyes_that_cross_the_nose(bridge: str | None) -> None:
    photo, known = portrait()
    for x in (105, 155):
        cv2.circle(photo, (x, 134), 19, (30, 30, 30), 2, cv2.LINE_AA)
    if bridge:
        cv2.line(photo, (124, 130), (136, 130), (30, 30, 30), 2, cv2.LINE_AA)
    assert (look_at(photo, known).glasses[151:156, 100:110].max() > 0.5) == bool(bridge)


def test_wrinkles_all_over_a_face_are_no_frames() -> None:
    photo, known = portrait()
    faces = find_faces(known.faces, (HEIGHT, WIDTH))
    wrinkled = lightness(photo)
    wrinkled[90:220:6, 80:180] -= 20
    assert find_frames(wrinkled, faces).max() == 0


def test_frames_stay() -> None:
    photo, known = portrait()
    for x in (105, 155):
        cv2.circle(photo, (x, 134), 19, (30, 30, 30), 2, cv2.LINE_AA)
    cv2.line(photo, (124, 130), (136, 130), (30, 30, 30), 2, cv2.LINE_AA)
    drawn = lightness(render(photo, "hinata", known))
    assert drawn[151:156, 100:110].min() < drawn[168, 105] - 20


@pytest.mark.parametrize(("why", "hidden"), [("dark lenses", True), ("closed", False), ("small", False)])
def test_lenses_hide_eyes_and_nothing_else_does(why: str, hidden: bool) -> None:  # noqa: FBT001 - a parameter
    photo, known = portrait()
    faces = known.faces.copy()
    for eye, side in ((LEFT_EYE, -0.17), (RIGHT_EYE, 0.17)):
        fill_shape(photo, ellipse(side, -0.12, 0.3, 0.26, 40), (60, 40, 30) if why == "dark lenses" else SKINS[3])
        if why == "closed":
            y = (MIDDLE + FACE * np.array((side, -0.12)))[1]
            faces[0, list(eye), 1] = y / HEIGHT + (faces[0, list(eye), 1] - y / HEIGHT) / 5
    if why == "small":
        photo = np.asarray(cv2.resize(photo, None, fx=0.18, fy=0.18, interpolation=cv2.INTER_AREA), np.uint8)
    lenses = find_lenses(to_lab(photo.astype(np.float32) / 255), find_faces(faces, photo.shape[:2]))
    assert (lenses.max() > 0.5) == hidden


def test_a_face_outside_and_one_of_a_single_value_spoil_nothing() -> None:
    photo, known = portrait()
    outside = known.faces + np.array((0.75, 0), np.float32)
    both = replace(known, faces=np.concatenate((known.faces, outside)), person=np.ones_like(known.person))
    for picture in (photo, np.full_like(photo, 255), np.zeros_like(photo)):
        assert np.isfinite(draw(picture, both).paint).all()


def test_a_tongue_is_no_teeth() -> None:
    photo, known = portrait()
    faces, (x, y) = known.faces.copy(), (MIDDLE + FACE * np.array((0, 0.27))).astype(int).tolist()
    fill_shape(photo, ellipse(0, 0.27, 0.2, 0.07, 40), (50, 18, 18))
    fill_shape(photo, ellipse(0, 0.28, 0.14, 0.05, 40), (190, 90, 90))
    faces[0, list(INNER_LIPS)] = ellipse(0, 0.27, 0.2, 0.07, len(INNER_LIPS), start=0.5) / (WIDTH, HEIGHT)
    assert draw(photo, replace(known, faces=faces)).paint[y, x, 0] < 70


@pytest.mark.parametrize("style", GRADES)
def test_a_smooth_wall_gets_no_contour_bands(style: str) -> None:
    ramp = np.linspace(120, 200, 320)[None, :, None] * np.array((1, 0.97, 0.9)) * np.ones((200, 1, 1))
    assert steepest(render(grainy(ramp), style)) <= 3


@pytest.mark.parametrize("style", GRADES)
def test_a_sky_gets_no_contour_bands(style: str) -> None:
    photo, known = landscape()
    for drawn in (render(photo, style, known), render(photo, style)):
        assert steepest(drawn[:185]) <= 6


def test_a_sky_is_painted_where_it_is_known() -> None:
    photo, known = landscape()
    plain, painted = render_all(photo), render_all(photo, known)
    shift = {style: np.abs(painted[style].astype(int) - plain[style])[:150].mean() for style in GRADES}
    assert min(shift.values()) > 3
    assert shift["yoi"] > 18


@pytest.mark.parametrize("style", GRADES)
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("end", [(300, 60), (300, 150), (20, 150)])
def test_a_wire_survives(end: tuple[int, int], width: int, style: str) -> None:
    photo = np.full((180, 320, 3), 150, np.uint8)
    cv2.line(photo, (20, 60), end, (40, 40, 40), width, cv2.LINE_AA)
    x, y = (20 + end[0]) // 2, (60 + end[1]) // 2
    wire = slice(y - 2, y + 3), slice(x - 2, x + 3)
    before, after = (np.median(light) - light[wire].min() for light in map(lightness, (photo, render(photo, style))))
    assert after > 0.3 * before


def test_texture_becomes_masses() -> None:
    photo = foliage()
    for drawn in render_all(photo).values():
        assert shares(drawn)[0] > 3 * shares(photo)[0]


def test_foliage_has_lines_in_an_ink_drawing_alone() -> None:
    drawing = draw(foliage())
    assert drawing.ink.mean() < 0.5 * drawing.ink_drawing.mean()


def test_nothing_right_behind_a_person_gets_a_second_line() -> None:
    people, behind = (np.zeros((80, 80), np.float32) for _ in range(2))
    people[:, 40:] = 1
    behind[:, [20, 35]] = 1
    inked = outlines(behind, 60 * behind, people)[40]
    assert inked[18:23].max() > 0.8
    assert inked[38:42].max() > 0.7
    assert inked[33:38].max() < 0.4


def test_the_green_cast_of_sand_is_not_made_stronger() -> None:
    sand = np.full((64, 96, 3), (178, 182, 150), np.uint8)
    before, after = (
        cv2.cvtColor((one / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[..., 1:].mean((0, 1))
        for one in (sand, render(sand, "hinata"))
    )
    assert after[0] > before[0]
    assert np.hypot(*after) < 1.45 * np.hypot(*before)


def test_an_edge_out_of_focus_is_not_outlined() -> None:
    step = np.full((60, 120, 3), 60, np.uint8)
    step[:, 60:] = 180
    sharp, soft = (draw(blurred(step, sigma)).ink[10:50].max() for sigma in (0.6, 5.0))
    assert sharp > 0.3
    assert soft < 0.05


def test_areas_meet_softly_where_the_photo_has_no_edge_between_them() -> None:
    painted = np.full((60, 120, 3), (40, 0, 0), np.float32)
    painted[:, 60:, 0] = 52
    ramp = painted.copy()
    ramp[..., 0] = np.linspace(36, 56, 120)
    softened, kept = (soften(painted, photo, 1.0)[30, :, 0] for photo in (ramp, painted))
    assert np.abs(np.diff(softened)).max() < 2
    np.testing.assert_allclose(softened[[0, -1]], (40, 52), atol=0.1)
    np.testing.assert_allclose(kept, painted[30, :, 0], atol=0.1)


def test_soft_shading_gets_no_crisp_tones() -> None:
    columns = np.arange(240)
    shading = (120 + 30 * np.sin(2 * np.pi * columns / 60)).astype(np.uint8)
    painted = draw(np.tile(shading[None, :, None], (200, 1, 3))).paint[100, :, 0]
    steepest = np.abs(np.diff(shading / 2.55)).max()
    assert np.abs(np.diff(painted)).max() < 1.5 * steepest


def test_clouds_are_white_and_leaves_are_green_by_day() -> None:
    photo, known = landscape()
    photo[60:120, 100:220] = (235, 225, 190)
    cloud = to_lab(render(photo, "hinata", known)[75:105, 120:200].astype(np.float32) / 255)
    assert np.hypot(cloud[..., 1], cloud[..., 2]).mean() < 8
    leaves, drawn = (to_lab(picture.astype(np.float32) / 255) for picture in (foliage(), render(foliage(), "hinata")))
    assert drawn[..., 1].mean() < leaves[..., 1].mean() - 4


def test_the_dark_is_lifted_by_day_and_stays_dark_at_night() -> None:
    photo, known = landscape()
    night = (photo * (0.08, 0.12, 0.35)).astype(np.uint8)
    lifted = lightness(render(night, "hinata")).mean() - lightness(night).mean()
    kept = lightness(render(night, "hinata", known)).mean() - lightness(night).mean()
    assert lifted > kept + 2


def test_red_stays_red_in_the_evening() -> None:
    red = np.full((96, 96, 3), (170, 40, 24), np.uint8)
    _, a, b = np.median(to_lab(render(red, "yoi").astype(np.float32) / 255).reshape(-1, 3), axis=0)
    assert a > 35
    assert b > 0.4 * a


def test_the_styles_differ_clearly() -> None:
    for photo, known in (portrait(), landscape()):
        means = [drawn.mean((0, 1)) for drawn in render_all(photo, known).values()]
        apart = [np.abs(one - other).max() for number, one in enumerate(means) for other in means[:number]]
        assert min(apart) > 12


def test_all_styles_at_once_are_those_one_by_one_and_the_same_every_time() -> None:
    photo, known = portrait()
    before = photo.copy()
    together = render_all(photo, known)
    assert list(together) == list(GRADES)
    for style, drawn in together.items():
        np.testing.assert_array_equal(render(photo, style, known), drawn)
    np.testing.assert_array_equal(photo, before)


@pytest.mark.parametrize("shape", [(64, 64), (33, 200), (97, 31), (12, 9)])
def test_any_size_is_kept(shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for drawn in render_all(photo).values():
        assert drawn.shape == photo.shape
        assert drawn.dtype == np.uint8


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_grey_stays_flat_up_to_the_border(level: int) -> None:
    for drawn in render_all(np.full((64, 80, 3), level, np.uint8)).values():
        assert np.ptp(drawn.reshape(-1, 3), axis=0).max() <= 1


def test_a_face_at_the_edge_and_one_too_small_to_draw_do_no_harm() -> None:
    photo, known = portrait()
    moved = known.faces + np.array((0.55, 0.3), np.float32)
    tiny = 0.1 * known.faces
    outside = known.faces - np.float32(2)
    faces = np.concatenate((moved, tiny, outside))
    drawn = render(photo, "hinata", Analysis(faces, known.person, known.sky))
    without = render(photo, "hinata", Analysis(outside, known.person, known.sky))
    assert np.abs(drawn[:80, :80].astype(int) - without[:80, :80]).max() <= 1


def test_a_photo_in_greys_with_a_face_can_be_drawn() -> None:
    photo, known = portrait()
    grey = np.asarray(cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    drawn = render(grey, "hinata", known)
    assert lightness(drawn)[cheeks()].mean() == pytest.approx(lightness(grey)[cheeks()].mean(), abs=12)


def test_a_black_and_white_photo_keeps_its_sky() -> None:
    ramp = np.linspace(200, 120, 160)[:, None, None]
    photo = grainy(np.broadcast_to(ramp, (160, 120, 3)))
    grey = np.repeat(photo[..., :1], 3, 2)
    known = nothing_found(160, 120)
    known.sky[:] = 1
    hazy = grey.copy()
    hazy[130:150, 40:60] = (150, 60, 50)  # somebody in red, in the fog
    for style in GRADES:
        assert np.array_equal(render(grey, style, known), render(grey, style)), style
        assert not np.array_equal(render(hazy, style, known), render(hazy, style)), style


def test_steepened_borders_are_steeper_and_nothing_overshoots() -> None:
    border = np.zeros((20, 30, 3), np.float32)
    border[:, 15:] = (60, 20, -10)
    soft = np.asarray(cv2.GaussianBlur(border, (0, 0), 1.2), np.float32)
    steep = steepen(soft)
    assert np.abs(np.diff(steep, axis=1)).max() > 1.2 * np.abs(np.diff(soft, axis=1)).max()
    assert steep.min() >= soft.min()
    assert steep.max() <= soft.max()
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[None, :, None], (20, 30, 3)).copy()
    np.testing.assert_allclose(steepen(ramp)[:, 1:-1], ramp[:, 1:-1], atol=1e-4)


def test_two_colours_are_two_regions_and_a_ramp_is_one() -> None:
    picture = np.zeros((60, 90, 3), np.float32)
    picture[:, :30, 0] = 60
    picture[:, 30:, 0] = np.linspace(10, 40, 60)
    labels = segment(picture, scale=60, min_size=20, threshold=9)
    assert len(np.unique(labels[:, :30])) == len(np.unique(labels[:, 30:85])) == 1
    assert labels[0, 0] != labels[0, 50]
    filled = fill(picture, labels)
    np.testing.assert_allclose(filled[:, :30, 0], 60, rtol=1e-5)
    assert (np.diff(filled[10, 35:80, 0]) > 0.1).all()


def test_a_spike_on_a_border_is_rounded_off() -> None:
    labels = np.zeros((30, 30), np.int32)
    labels[15:] = 1
    labels[10:15, 14] = 1
    smooth = rounded(labels)
    assert not smooth[:14].any()
    assert smooth[15:].all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_line_is_found_across_and_kept_along_whichever_way_it_runs(axis: int) -> None:
    plane = np.full((40, 40), 80, np.float32)
    plane[20, 5:35] = 20
    plane = np.moveaxis(plane, 0, axis)
    flow = edge_flow(plane)
    assert abs((flow.y, flow.x)[axis][22, 22]) > 0.99
    assert difference_across(plane / 100, flow, sigma=1, length=3)[20, 20] < -0.05
    assert smooth_along(plane, flow, 3)[20, 20] == pytest.approx(20, abs=1)
