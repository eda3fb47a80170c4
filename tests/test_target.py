"""The rendered target: what a photo is drawn as, tried on pictures with one thing in them."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from training.analysis import MESH_POINTS, Analysis, nothing_found
from training.faces import (
    LEFT_BROW,
    LEFT_EYE,
    LEFT_IRIS,
    LIPS,
    NOSTRILS,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_IRIS,
)
from training.figures import shares
from training.flow import difference_across, edge_flow, smooth_along
from training.painting import steepen
from training.regions import fill, rounded, segment
from training.target import GRADES, draw, render, render_all

Rgb = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Points = npt.NDArray[np.float32]

SKINS = [(92, 58, 42), (128, 84, 60), (164, 112, 82), (198, 146, 112), (224, 176, 144)]
HEIGHT, WIDTH = 320, 260
MIDDLE, FACE = np.array((130.0, 150.0)), 150.0  # of the drawn face: where, and how high


def ellipse(x: float, y: float, width: float, height: float, corners: int, start: float = 0.0) -> Points:
    """Points around (x, y) of the face, in units of its height, clockwise from the right and `start` turns on."""
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
    points[list(LIPS)] = ellipse(0, 0.27, 0.26, 0.08, len(LIPS))
    points[list(NOSTRILS)] = ellipse(0, 0.1, 0.14, 0.06, len(NOSTRILS))
    return points


def mirrored(points: Points) -> Points:
    return np.stack((2 * MIDDLE[0] - points[:, 0], points[:, 1]), 1).astype(np.float32)


def darker(colour: Colour, share: float) -> Colour:
    red, green, blue = (round(level * share) for level in colour)
    return red, green, blue


def portrait(skin: Colour = SKINS[3]) -> tuple[Rgb, Analysis]:
    """A drawn face, lit from the left, before a grey-blue wall, and what is known of it."""
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
    """Where the drawn face is bare."""
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    for side in (-1, 1):
        fill_shape(canvas, ellipse(side * 0.2, 0.1, 0.2, 0.2, 20), 255)
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


def test_darker_skin_stays_the_darker() -> None:
    drawn = [render_all(*portrait(skin)) for skin in SKINS[::2]]
    for style in GRADES:
        assert (np.diff([lightness(pictures[style])[cheeks()].mean() for pictures in drawn]) > 4).all()


def test_there_is_no_ink_in_skin_and_a_crease_is_smoothed_away() -> None:
    photo, known = portrait()
    cv2.line(photo, (93, 150), (107, 185), darker(SKINS[3], 0.72), 1, cv2.LINE_AA)  # from nose to mouth
    drawing = draw(photo, known)
    assert max(drawing.ink[cheeks()].max(), drawing.brush[cheeks()].max()) < 0.1
    drawn = render(photo, "hinata", known)
    before, after = (np.ptp(lightness(picture)[165, 85:112]) for picture in (photo, drawn))
    assert after < 0.5 * before


def test_skin_has_a_light_and_a_shaded_tone_with_a_narrow_edge_between() -> None:
    photo, known = portrait()
    column = np.arange(WIDTH)[None, :, None]
    photo = np.where(column < MIDDLE[0], photo, photo * 0.75).astype(np.uint8)
    painted = draw(photo, known).paint[175, 90:171, 0]
    assert painted[:25].mean() - painted[-25:].mean() > 10
    assert max(np.ptp(painted[:25]), np.ptp(painted[-25:])) < 4


def test_eyes_get_lids_and_a_light_and_brows_and_mouth_stay() -> None:
    photo, known = portrait()
    drawing, drawn = draw(photo, known), render(photo, "hinata", known)
    left, right = (slice(124, 140), slice(92, 118)), (slice(124, 140), slice(142, 168))
    for eye in (left, right):
        assert drawing.lids[eye].max() > 0.5
        assert lightness(drawn)[eye].min() < 30
    assert drawing.lids.sum() == pytest.approx(drawing.lids[left].sum() + drawing.lids[right].sum(), rel=0.05)
    for row, column in ((117, 105), (190, 130)):
        assert lightness(drawn)[row, column] < lightness(drawn)[160, 105] - 10


def test_glasses_stay() -> None:
    photo, known = portrait()
    for x in (105, 155):
        cv2.circle(photo, (x, 134), 19, (30, 30, 30), 2, cv2.LINE_AA)
    drawn = lightness(render(photo, "hinata", known))
    assert drawn[151:156, 100:110].min() < drawn[168, 105] - 20


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


def test_an_edge_out_of_focus_is_not_outlined() -> None:
    step = np.full((60, 120, 3), 60, np.uint8)
    step[:, 60:] = 180
    sharp, soft = (draw(blurred(step, sigma)).ink[10:50].max() for sigma in (0.6, 5.0))
    assert sharp > 0.3
    assert soft < 0.05


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
    faces = np.concatenate((moved, tiny, known.faces - np.float32(2)))
    drawn = render(photo, "hinata", Analysis(faces, known.person, known.sky))
    without = render(photo, "hinata", Analysis(known.faces[:0], known.person, known.sky))
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
    labels = segment(picture, scale=60, smallest=20, threshold=9)
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
