"""Glasses: thin frames, and dark lenses that hide the eyes."""

import cv2
import numpy as np
import numpy.typing as npt

from training.eyes import eyes_of
from training.faces import INNER_CORNERS, Face, around_eyes, skin_at
from training.planes import Colour, Plane, blur, odd, smoothstep
from training.strokes import is_empty, window

_FRAME = 0.045  # heights of a face: the maximum width of a frame
_BRIDGE = 0.09  # the same for its bridge over the nose, which may be thick
_BRIDGE_REACH = 0.12  # heights of a face above and below the corners of the eyes where a bridge may be
_BRIDGE_WIDTH = 0.03  # heights of a face on either side of the middle that a bridge crosses
_MIN_BRIDGE = 9.5  # of L*, between a bridge and the nose
_MORE = 0.14  # share of the skin around the eyes covered with lines, less that of the cheeks
_FRAME_SHOWS = 6.0, 12.0  # of L*, between a frame and its surroundings: it begins to show, and shows fully


def find_frames(lightness: Plane, faces: list[Face]) -> Plane:
    """Find thin dark or light lines around eyes (H, W), 0..1, given lightness 0..100.

    They are frames if one of them runs across the nose as well, and there are more of them than on the cheeks:
    wrinkles are everywhere.
    """
    frames = np.zeros_like(lightness)
    for face in faces:
        if _has_bridge(lightness, face):
            size = odd(_FRAME * face.height, least=5)
            dark, light = _thin(lightness, (size, size))
            thin = smoothstep(blur(np.maximum(dark, 0.7 * light), 0.8), *_FRAME_SHOWS)
            around = around_eyes([face], thin.shape)
            if _share(thin, (around > 0.5) & (face.features < 0.2)) - _share(thin, face.bare & (around < 0.3)) > _MORE:
                frames = np.maximum(frames, thin * around)
    return frames


def _share(thin: Plane, where: npt.NDArray[np.bool_]) -> float:
    """The share of a part of a face that thin lines cover."""
    return float(thin[where].mean()) if where.any() else 0.0


def find_lenses(lab: Colour, faces: list[Face]) -> Plane:
    """Find where dark or coloured lenses hide both eyes of a face: the whole band around its eyes (H, W), 0..1."""
    hidden = [face for face in faces if _hides_eyes(lab, face)]
    return around_eyes(hidden, (lab.shape[0], lab.shape[1]))


def _hides_eyes(lab: Colour, face: Face) -> bool:
    skin = skin_at(face.points, lab)
    return all(eye.is_behind_lens(lab, skin) for eye in eyes_of(face.points))


def _has_bridge(lightness: Plane, face: Face) -> bool:
    """Return whether a thin dark or light line runs across the nose between the eyes."""
    middle = face.part(INNER_CORNERS).mean(0)
    near = window(middle[None], _BRIDGE_REACH * face.height, lightness)
    if is_empty(near):
        return False
    thin = np.maximum(*_thin(lightness[near], (odd(_BRIDGE * face.height, least=5), 1)))
    width = max(1, int(_BRIDGE_WIDTH * face.height))
    column = min(max(int(middle[0]) - near[1].start, 0), thin.shape[1] - 1)
    across = thin[:, max(0, column - width) : column + width + 1].max(0)
    return bool(np.percentile(across, 25) > _MIN_BRIDGE)


def _thin(lightness: Plane, size: tuple[int, int]) -> tuple[Plane, Plane]:
    """Contrast, dark and light, of what is smaller than (height, width) pixels to its surroundings."""
    square = np.ones(size, np.uint8)
    dark, light = (cv2.morphologyEx(lightness, way, square) for way in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    return np.asarray(dark, np.float32), np.asarray(light, np.float32)
