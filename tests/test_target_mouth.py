"""Mouths of the rendered target, tested on a drawn face."""

from dataclasses import replace

import numpy as np

from tests.test_target import FACE, HEIGHT, MIDDLE, SKINS, WIDTH, Points, ellipse, fill_shape, portrait
from training.analysis import Analysis
from training.faces import LEFT_EYE, LOWER_LIP_INSIDE, RIGHT_EYE, UPPER_LIP_INSIDE
from training.target import draw

MOUTH = (MIDDLE + FACE * np.array((0, 0.27))).astype(int).tolist()


def opened(known: Analysis, height: float) -> Analysis:
    """The face with lips as far apart as `height`, in heights of it."""
    faces, t = known.faces.copy(), np.linspace(-1, 1, len(UPPER_LIP_INSIDE))
    for lip, side in ((UPPER_LIP_INSIDE, -1), (LOWER_LIP_INSIDE, 1)):
        y = 0.27 + side * height / 2 * np.sqrt(1 - t**2)
        points: Points = (MIDDLE + FACE * np.stack((0.1 * t, y), 1)).astype(np.float32)
        faces[0, list(lip)] = points / (WIDTH, HEIGHT)
    return replace(known, faces=faces)


def test_an_upper_lip_is_darker_than_the_lower_and_both_are_even_and_red() -> None:
    photo, known = portrait()
    paint, (x, y) = draw(photo, known).paint, MOUTH
    upper, lower, skin = paint[y - 4, x - 4 : x + 5], paint[y + 3, x - 4 : x + 5], paint[y - 14, x - 20]
    assert upper[:, 0].mean() < lower[:, 0].mean() - 2
    assert max(np.ptp(upper[:, 0]), np.ptp(lower[:, 0])) < 3
    assert min(upper[:, 1].mean(), lower[:, 1].mean()) > skin[1] + 3


def test_teeth_are_a_white_band_below_the_upper_lip_with_the_dark_below_them() -> None:
    photo, known = portrait()
    x, y = MOUTH
    fill_shape(photo, ellipse(0, 0.27, 0.2, 0.12, 40), (50, 20, 20))
    photo[y - 8 : y - 1, x - 12 : x + 13] = (240, 235, 225)
    column = draw(photo, opened(known, 0.12)).paint[y - 7 : y + 8, x, 0]
    assert column[2:5].min() > 70
    assert column[-5:].max() < 45


def test_a_mouth_without_teeth_gets_none() -> None:
    photo, known = portrait(SKINS[2])
    x, y = MOUTH
    fill_shape(photo, ellipse(0, 0.27, 0.2, 0.12, 40), (40, 15, 15))
    assert draw(photo, opened(known, 0.12)).paint[y - 5 : y + 6, x - 6 : x + 7, 0].max() < 55


def test_closed_eyes_are_drawn_as_a_line_of_lashes() -> None:
    photo, known = portrait()
    faces = known.faces.copy()
    for eye, side in ((LEFT_EYE, -0.17), (RIGHT_EYE, 0.17)):
        fill_shape(photo, ellipse(side, -0.12, 0.3, 0.2, 40), SKINS[3])
        y = (MIDDLE + FACE * np.array((side, -0.12)))[1] / HEIGHT
        faces[0, list(eye), 1] = y + (faces[0, list(eye), 1] - y) / 5
    pen = draw(photo, replace(known, faces=faces)).pen
    for x in (104, 156):
        assert pen[125:140, x].max() > 0.7
        assert (pen[118:145, x] > 0.5).sum() < 6
