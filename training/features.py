"""What makes a face a person: eyes, brows, nose, mouth and glasses. Imported by `training` only."""

import cv2
import numpy as np

from training.eyes import draw_eye, eyes_of
from training.faces import (
    CORNERS_OF_MOUTH,
    INNER_LIPS,
    LIPS,
    LOWER_INNER_LIP,
    MIDDLE_OF_LIPS,
    NOSE_BASE,
    UPPER_INNER_LIP,
    Face,
    around_eyes,
    skin_at,
)
from training.planes import Colour, Plane, bilateral, blend, blur, masked_blur, smoothstep
from training.strokes import draw_stroke, is_empty, polygon_in, window

_STRONGER = np.array((1.3, 1.25, 1.25), np.float32)  # how much more features differ from what is around them, Lab
_OPEN_MOUTH = 0.018  # heights of a face between the lips
_TEETH_LIGHTER = 16  # of L*, than the dark of the mouth
_SMALLEST_MOUTH = 10  # pixels wide


def draw_features(painted: Colour, photo: Colour, faces: list[Face]) -> tuple[Colour, Plane]:
    """Draw the features of faces, a little stronger than in the photo; returns the picture and the ink in it."""
    drawn, ink = painted.copy(), np.zeros(painted.shape[:2], np.float32)
    for face in faces:
        _draw_stronger(drawn, photo, face)
        for eye in eyes_of(face.points):
            draw_eye(drawn, ink, photo, eye=eye, skin=skin_at(face.points, photo))
        _draw_mouth(drawn, ink, photo, face)
        _draw_nose(ink, face)
    return drawn, ink


def find_glasses(lightness: Plane, faces: list[Face]) -> Plane:
    """Find thin dark or light lines around eyes: frames."""
    glasses = np.zeros_like(lightness)
    for face in faces:
        size = max(5, int(0.045 * face.height) | 1)
        square = np.ones((size, size), np.uint8)
        dark, light = (cv2.morphologyEx(lightness, way, square) for way in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
        thin = blur(np.maximum(dark, 0.7 * light), 0.8)
        glasses = np.maximum(glasses, smoothstep(thin, 6, 12) * around_eyes([face], thin.shape))
    return glasses


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
    whole, hole = polygon_in(near, lips, 0.006 * face.height), polygon_in(near, face.part(INNER_LIPS), 0.4)
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
    """What is seen between lips: teeth as one light shape, the dark beside them as another."""
    within = photo[..., 0][hole > 0.5] if (hole > 0.5).any() else photo[..., 0]
    dark, light = np.percentile(within, (12, 85))
    smooth = masked_blur(photo, hole, sigma)
    if light - dark < _TEETH_LIGHTER:
        return smooth
    middle = (dark + light) / 2
    share = smoothstep(smooth[..., 0], middle - 5, middle + 5)
    smooth[..., 0] = dark + (min(light + 6, 96) - dark) * share
    smooth[..., 1:] *= (1 - 0.65 * share)[..., None]
    return smooth


def _draw_nose(ink: Plane, face: Face) -> None:
    """Draw a short line at the base of a nose."""
    draw_stroke(ink, face.part(NOSE_BASE), face.height * np.array((0.003, 0.009, 0.003)), 0.35)
