"""The features of a face: eyes, brows, nose, mouth and jaw."""

import numpy as np

from training.eyes import Eye, draw_closed_eye, draw_eye, eyes_of, seen_of
from training.faces import (
    BELOW_TIP,
    CORNERS_OF_MOUTH,
    INNER_LIPS,
    JAW_LINE,
    LEFT_NOSTRIL,
    LEFT_OF_NOSE,
    LIPS,
    LOWER_INNER_LIP,
    MIDDLE_OF_LIPS,
    NOSE_BASE,
    NOSE_EXTENT,
    RIGHT_NOSTRIL,
    RIGHT_OF_NOSE,
    TIP,
    UPPER_INNER_LIP,
    Face,
    grown,
    skin_at,
    tinted,
)
from training.mouths import HOLE, MIN_MOUTH, OPEN_MOUTH, draw_mouth
from training.planes import (
    Colour,
    Floats,
    Plane,
    bilateral,
    blend,
    blur,
    chroma,
    closed,
    masked_blur,
    masked_mean,
    smoothstep,
    smoothstep_down,
)
from training.strokes import Window, draw_stroke, ellipse, is_empty, polygon_in, window

_STRONGER = np.array((1.3, 1.25, 1.25), np.float32)  # times the contrast of features to their surroundings, Lab
_NOSE_SHADE = np.array((-14, 5, 2), np.float32)  # Lab, than the skin
_NOSE_LIGHT = np.array((6, 0, 0), np.float32)
_TIP_RADII = 0.018, 0.022  # heights of a face, of the light on the tip of a nose
_SIDES_DIFFER = 1.5, 5.0  # of L*: above the first a nose has a darker side, above the second fully
_MIN_FACE = 40  # pixels of a face with a nose and a line along its jaw
_WITHIN_JAW = 0.9  # of the way from the middle of a face to its jaw
_JAW_WIDTH, _JAW_INK = 0.015, 0.75  # heights of a face; 0..1
_MOUTH = 1.25, 1.4  # times its lips, in x and y
_TEETH_LIGHTER = 16  # of L*, than the dark parts of the mouth
_TEETH_FROM = 0.4  # of the way from the darkest to the lightest part of a mouth
_TONGUE = 26.0, 38.0  # chroma: below the first it may be teeth, above the second not
_MAX_TEETH = 88  # L* of teeth
_WHITE = 2, 5  # a and b of teeth
_GAP = 2.2  # times `sigma`: the maximum width of a gap between teeth


def draw_features(painted: Colour, photo: Colour, faces: list[Face]) -> tuple[Colour, Plane]:
    """Draw the features of faces, a little stronger than in the photo; returns the picture and the ink in it."""
    drawn, ink = painted.copy(), np.zeros(painted.shape[:2], np.float32)
    for face in faces:
        _draw_stronger(drawn, photo, face)
        _draw_eyes(drawn, ink, photo, face)
        draw = _draw_mouth_in_profile if face.is_turned else draw_mouth
        draw(drawn, ink, photo, face)
        _draw_nose(drawn, ink, photo, face)
        _line_jaw(ink, drawn, face)
    return drawn, ink


def _draw_eyes(drawn: Colour, ink: Plane, photo: Colour, face: Face) -> None:
    """Draw the eyes of a face, in place; closed ones as a line, unless one of the eyes is covered."""
    skin = skin_at(face.points, photo)
    eyes, seen = eyes_of(face.points), seen_of(face.points, photo, is_turned=face.is_turned)
    for eye, is_seen in zip(eyes, seen, strict=True):
        if is_seen:
            draw_eye(drawn, ink, photo, eye=eye, skin=skin)
        elif eye.is_closed and not face.is_turned and all(map(_is_seen_or_closed, eyes, seen)):
            draw_closed_eye(ink, eye)


def _is_seen_or_closed(eye: Eye, is_seen: bool) -> bool:  # noqa: FBT001 - paired with its eye
    return is_seen or eye.is_closed


def _line_jaw(ink: Plane, drawn: Colour, face: Face) -> None:
    """Draw a tapered line between jaw and neck, in place; none in a beard or of a face seen from the side."""
    if face.is_turned or face.height < _MIN_FACE:
        return
    jaw = face.part(JAW_LINE)
    within = face.middle + _WITHIN_JAW * (jaw - face.middle)
    height, width = ink.shape
    columns, rows = within.round().astype(int).T
    lightness = drawn[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1), 0]
    shaven = smoothstep_down(skin_at(face.points, drawn)[0] - lightness, 8, 16)
    tapered = np.sin(np.linspace(0, np.pi, len(jaw))) ** 0.6
    draw_stroke(ink, jaw, face.height * _JAW_WIDTH * tapered * shaven, _JAW_INK)


def _draw_stronger(drawn: Colour, photo: Colour, face: Face) -> None:
    """Put the features of the photo back, with more contrast and less grain."""
    sigma = max(2.0, 0.05 * face.height)
    rows, columns = np.nonzero(face.features)
    if not len(rows):
        return
    near = window(np.array([(columns.min(), rows.min()), (columns.max(), rows.max())]), 4 * sigma + 8, drawn)
    around, painted = blur(photo[near], sigma), blur(drawn[near], sigma)
    stronger = bilateral(painted + (photo[near] - around) * _STRONGER, colour=14, space=2, size=5)
    strengthened = face.features[near]
    if not face.is_turned:  # a mouth is drawn anew
        strengthened = strengthened * (1 - polygon_in(near, grown(face.part(LIPS), _MOUTH), 0.012 * face.height))
    drawn[near] = blend(drawn[near], stronger, strengthened)


def _draw_mouth_in_profile(drawn: Colour, ink: Plane, photo: Colour, face: Face) -> None:
    """Draw a mouth that is seen from the side, close to the photo, in place, unless it is too small."""
    if np.ptp(face.part(LIPS)[:, 0]) < MIN_MOUTH:
        return
    is_open = float(np.linalg.norm(np.subtract(*face.part(MIDDLE_OF_LIPS)))) > OPEN_MOUTH * face.height
    _paint_mouth(drawn, photo, face, is_open=is_open)
    _line_mouth(ink, face, is_open=is_open)


def _paint_mouth(drawn: Colour, photo: Colour, face: Face, *, is_open: bool) -> None:
    """Paint lips in one colour, and teeth without gaps."""
    lips = face.part(LIPS)
    near = window(lips, 0.1 * face.height + 4, drawn)
    if is_empty(near):
        return
    rim, sigma = polygon_in(near, lips, 0.006 * face.height), max(1.0, 0.022 * face.height)
    if is_open:
        hole = polygon_in(near, grown(face.part(INNER_LIPS), HOLE), 0.4)
        brighter = max(0.0, float(skin_at(face.points, drawn)[0] - skin_at(face.points, photo)[0]))
        drawn[near] = blend(drawn[near], _teeth(photo[near], hole, sigma, brighter), hole)
        rim = np.clip(rim - hole, 0, 1)
    drawn[near] = blend(drawn[near], masked_blur(photo[near], rim, sigma), 0.6 * rim)


def _line_mouth(ink: Plane, face: Face, *, is_open: bool) -> None:
    """Draw a line between the lips, or one below the upper and one above the lower."""
    left, right = face.part(CORNERS_OF_MOUTH)
    upper = np.concatenate((left[None], face.part(UPPER_INNER_LIP), right[None]))
    strength = 0.35 if is_open else 0.6
    draw_stroke(ink, upper, face.height * np.array((0.006, 0.013, 0.011, 0.013, 0.006)), strength)
    if is_open:
        draw_stroke(ink, face.part(LOWER_INNER_LIP), face.height * np.array((0.004, 0.008, 0.004)), strength)


def _teeth(photo: Colour, hole: Plane, sigma: float, brighter: float) -> Colour:
    """The inside of a mouth (H, W, 3): white teeth with a hint of their gaps, or the dark where there are none.

    They are as much brighter than in the photo as the skin is, `brighter` of L*.
    """
    within = photo[..., 0][hole > 0.5] if (hole > 0.5).any() else photo[..., 0]
    dark, light = np.percentile(within, (12, 85))
    smooth = masked_blur(photo, hole, sigma)
    if light - dark < _TEETH_LIGHTER:
        return smooth
    border = dark + _TEETH_FROM * (light - dark)
    filled = masked_blur(closed(photo[..., 0], _GAP * sigma), hole, sigma)
    share = smoothstep(filled, border - 6, border + 2) * smoothstep_down(chroma(smooth), *_TONGUE)
    white = np.broadcast_to(np.array((min(light + 4 + brighter, _MAX_TEETH), *_WHITE), np.float32), smooth.shape).copy()
    white[..., 0] += 0.3 * (smooth[..., 0] - light)  # gaps and gums remain faintly visible
    smooth[..., 0] = np.minimum(smooth[..., 0], dark + 8)
    return blend(smooth, white, 0.92 * share)


def _draw_nose(drawn: Colour, ink: Plane, photo: Colour, face: Face) -> None:
    """Draw a nose into `drawn` and `ink`, in place, unless it is too small or seen from the side."""
    near = window(face.part(NOSE_EXTENT), 0.06 * face.height + 4, drawn)
    if face.is_turned or is_empty(near) or face.height < _MIN_FACE:
        return
    _shade_nose(drawn[near], photo[near], face, near, skin_at(face.points, drawn))
    draw_stroke(ink, face.part(NOSE_BASE), face.height * np.array((0.004, 0.012, 0.004)), 0.6)
    for nostril in (LEFT_NOSTRIL, RIGHT_NOSTRIL):
        draw_stroke(ink, face.part(nostril), face.height * np.array((0.005, 0.014, 0.005)), 0.7)


def _shade_nose(drawn: Colour, photo: Colour, face: Face, near: Window, skin: Floats) -> None:
    """Paint the shade below the tip of a nose and on its darker side, and the light on its tip, in place."""
    softness = max(0.4, 0.005 * face.height)
    below = polygon_in(near, face.part(BELOW_TIP), softness)
    shade = 0.85 * np.maximum(below, 0.55 * _shaded_side(photo[..., 0], face, near, 2 * softness))
    tint = tinted(skin)
    shaded = np.broadcast_to(skin + _NOSE_SHADE * (1, tint, tint), drawn.shape).copy()
    shaded[..., 0] = np.minimum(shaded[..., 0], drawn[..., 0])
    radii = _TIP_RADII[0] * face.height, _TIP_RADII[1] * face.height
    tip = polygon_in(near, ellipse(face.part(TIP)[0], radii), 2 * softness)
    drawn[:] = blend(drawn, shaded, shade)
    drawn[:] = blend(drawn, drawn + _NOSE_LIGHT, 0.6 * tip)


def _shaded_side(lightness: Plane, face: Face, near: Window, softness: float) -> Plane:
    """The side of a nose that is in shade (H, W), fainter the less the two differ."""
    sides = [polygon_in(near, face.part(side), softness) for side in (LEFT_OF_NOSE, RIGHT_OF_NOSE)]
    left, right = (masked_mean(lightness, side) for side in sides)
    darker: Plane = sides[int(right < left)] * smoothstep(np.array(abs(left - right)), *_SIDES_DIFFER)
    return darker
