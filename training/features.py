"""What makes a face a person: eyes, brows, nose, mouth and glasses. Imported by `training` only."""

import cv2
import numpy as np

from training.eyes import draw_eye, eyes_of, hides_eyes
from training.faces import (
    BELOW_TIP,
    CORNERS_OF_MOUTH,
    INNER_CORNERS,
    INNER_LIPS,
    LEFT_NOSTRIL,
    LEFT_OF_NOSE,
    LIPS,
    LOWER_INNER_LIP,
    MIDDLE_OF_LIPS,
    NOSE_BASE,
    NOSE_OUTLINE,
    RIGHT_NOSTRIL,
    RIGHT_OF_NOSE,
    TIP,
    UPPER_INNER_LIP,
    Face,
    around_eyes,
    grown,
    skin_at,
)
from training.planes import Colour, Plane, bilateral, blend, blur, closed, masked_blur, smoothstep
from training.strokes import draw_stroke, ellipse, is_empty, polygon_in, window

_STRONGER = np.array((1.3, 1.25, 1.25), np.float32)  # how much more features differ from what is around them, Lab
_LEAST_BRIDGE = 9.5  # of L*, between the bridge of glasses and the nose
_NOSE_SHADE = np.array((-13, 4, 2), np.float32)  # Lab, than the skin
_COLOURED = 12.0  # chroma of skin; that of a black-and-white photo has less
_NOSE_LIGHT = np.array((6, 0, 0), np.float32)
_OPEN_MOUTH = 0.018  # heights of a face between the lips
_TEETH_LIGHTER = 16  # of L*, than the dark of the mouth
_GAP = 2.2  # times `sigma` that a gap between teeth is wide at the most
_HOLE = 1.02, 1.15  # what is seen between lips, times what the mesh says, in x and y
_SMALLEST_MOUTH = 10  # pixels wide


def draw_features(painted: Colour, photo: Colour, faces: list[Face]) -> tuple[Colour, Plane]:
    """Draw the features of faces, a little stronger than in the photo; returns the picture and the ink in it."""
    drawn, ink = painted.copy(), np.zeros(painted.shape[:2], np.float32)
    for face in faces:
        _draw_stronger(drawn, photo, face)
        for eye in eyes_of(face.points):
            draw_eye(drawn, ink, photo, eye=eye, skin=skin_at(face.points, photo))
        _draw_mouth(drawn, ink, photo, face)
        _draw_nose(drawn, ink, photo, face)
    return drawn, ink


def find_glasses(lab: Colour, faces: list[Face]) -> Plane:
    """Find thin dark or light lines around eyes: frames; and all that hides the eyes."""
    lightness = lab[..., 0]
    glasses = np.zeros_like(lightness)
    for face in faces:
        if hides_eyes(face.points, lab):
            glasses = np.maximum(glasses, around_eyes([face], lightness.shape))
            continue
        if not _has_bridge(lightness, face):
            continue
        size = max(5, int(0.045 * face.height) | 1)
        square = np.ones((size, size), np.uint8)
        dark, light = (cv2.morphologyEx(lightness, way, square) for way in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
        thin = blur(np.maximum(dark, 0.7 * light), 0.8)
        glasses = np.maximum(glasses, smoothstep(thin, 6, 12) * around_eyes([face], thin.shape))
    return glasses


def _has_bridge(lightness: Plane, face: Face) -> bool:
    """Whether a thin dark or light line runs across the nose between the eyes, as the bridge of glasses does."""
    reach = 0.12 * face.height
    middle = face.part(INNER_CORNERS).mean(0)
    near = window(middle[None], reach, lightness)
    if is_empty(near):
        return False
    upright = np.ones((max(5, int(0.09 * face.height) | 1), 1), np.uint8)
    thin = np.max(
        [cv2.morphologyEx(lightness[near], way, upright) for way in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)], 0
    )
    width = max(1, int(0.03 * face.height))
    column = min(max(int(middle[0]) - near[1].start, 0), thin.shape[1] - 1)
    across = thin[:, max(0, column - width) : column + width + 1].max(0)
    return bool(np.percentile(across, 25) > _LEAST_BRIDGE)


def _draw_stronger(drawn: Colour, photo: Colour, face: Face) -> None:
    """Put the features of the photo back, with more contrast and less grain."""
    sigma = max(2.0, 0.05 * face.height)
    rows, columns = np.nonzero(face.features)
    if not len(rows):
        return
    near = window(np.array([(columns.min(), rows.min()), (columns.max(), rows.max())]), 4 * sigma + 8, drawn)
    around = blur(photo[near], sigma)
    stronger = bilateral(around + (photo[near] - around) * _STRONGER, colour=14, space=2, size=5)
    drawn[near] = blend(drawn[near], stronger, face.features[near])


def _draw_mouth(drawn: Colour, ink: Plane, photo: Colour, face: Face) -> None:
    """Draw a mouth into `drawn` and `ink`, in place, unless it is too small."""
    if np.ptp(face.part(LIPS)[:, 0]) < _SMALLEST_MOUTH:
        return
    is_open = float(np.linalg.norm(np.subtract(*face.part(MIDDLE_OF_LIPS)))) > _OPEN_MOUTH * face.height
    _paint_mouth(drawn, photo, face, is_open=is_open)
    _line_mouth(ink, face, is_open=is_open)


def _paint_mouth(drawn: Colour, photo: Colour, face: Face, *, is_open: bool) -> None:
    """Paint lips in one colour, and teeth without gaps."""
    lips = face.part(LIPS)
    near = window(lips, 0.1 * face.height + 4, drawn)
    if is_empty(near):
        return
    whole, hole = (
        polygon_in(near, lips, 0.006 * face.height),
        polygon_in(near, grown(face.part(INNER_LIPS), _HOLE), 0.4),
    )
    sigma = max(1.0, 0.022 * face.height)
    if is_open:
        drawn[near] = blend(drawn[near], _teeth(photo[near], hole, sigma), hole)
    rim = np.clip(whole - hole, 0, 1) if is_open else whole
    drawn[near] = blend(drawn[near], masked_blur(photo[near], rim, sigma), 0.6 * rim)


def _line_mouth(ink: Plane, face: Face, *, is_open: bool) -> None:
    """Draw a line between the lips, or one below the upper and one above the lower."""
    left, right = face.part(CORNERS_OF_MOUTH)
    upper = np.concatenate((left[None], face.part(UPPER_INNER_LIP), right[None]))
    strength = 0.35 if is_open else 0.6
    draw_stroke(ink, upper, face.height * np.array((0.006, 0.013, 0.011, 0.013, 0.006)), strength)
    if is_open:
        draw_stroke(ink, face.part(LOWER_INNER_LIP), face.height * np.array((0.004, 0.008, 0.004)), strength)


def _teeth(photo: Colour, hole: Plane, sigma: float) -> Colour:
    """What is seen between lips: all teeth as one white shape, or the dark where there are none."""
    within = photo[..., 0][hole > 0.5] if (hole > 0.5).any() else photo[..., 0]
    dark, light = np.percentile(within, (12, 85))
    smooth = masked_blur(photo, hole, sigma)
    if light - dark < _TEETH_LIGHTER:
        return smooth
    middle = 0.6 * dark + 0.4 * light
    filled = masked_blur(closed(photo[..., 0], _GAP * sigma), hole, sigma)
    share = smoothstep(filled, middle - 6, middle + 2)
    white = np.broadcast_to(np.array((min(light + 8, 96), 1, 3), np.float32), smooth.shape)
    smooth[..., 0] = np.minimum(smooth[..., 0], dark + 8)
    return blend(smooth, white, share)


def _draw_nose(drawn: Colour, ink: Plane, photo: Colour, face: Face) -> None:
    """Draw a nose into `drawn` and `ink`, in place: the shade below its tip and beside it, and a line at its base."""
    if face.is_turned:
        return
    near = window(face.part(NOSE_OUTLINE), 0.06 * face.height + 4, drawn)
    if is_empty(near):
        return
    skin = skin_at(face.points, drawn)
    softness = max(0.4, 0.005 * face.height)
    below = polygon_in(near, face.part(BELOW_TIP), softness)
    beside = polygon_in(near, face.part(_darker_side(photo, face)), 2 * softness)
    tip = polygon_in(near, ellipse(face.part(TIP)[0], (0.018 * face.height, 0.022 * face.height)), 2 * softness)
    shaded = skin + _NOSE_SHADE * (1, *2 * [min(1, float(np.hypot(*skin[1:])) / _COLOURED)])
    for colour, share in ((shaded, 0.85 * np.maximum(below, 0.55 * beside)), (skin + _NOSE_LIGHT, 0.6 * tip)):
        drawn[near] = blend(drawn[near], np.broadcast_to(colour, drawn[near].shape), share)
    draw_stroke(ink, face.part(NOSE_BASE), face.height * np.array((0.003, 0.009, 0.003)), 0.45)
    for nostril in (LEFT_NOSTRIL, RIGHT_NOSTRIL):
        draw_stroke(ink, face.part(nostril), face.height * np.array((0.004, 0.012, 0.004)), 0.5)


def _darker_side(photo: Colour, face: Face) -> tuple[int, ...]:
    """The side of a nose that is in shade."""
    sides = LEFT_OF_NOSE, RIGHT_OF_NOSE
    height, width = photo.shape[:2]
    light = []
    for side in sides:
        x, y = face.part(side).mean(0).round().astype(int)
        light.append(photo[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1), 0])
    return sides[int(light[1] < light[0])]
