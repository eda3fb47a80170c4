"""What makes a face a person: eyes, lids, brows, nostrils, mouth and glasses. Imported by `training` only."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from training.faces import (
    LEFT_EYE,
    LEFT_IRIS,
    LEFT_LID,
    RIGHT_EYE,
    RIGHT_IRIS,
    RIGHT_LID,
    Face,
    around_eyes,
)
from training.planes import Colour, Floats, Plane, Points, bilateral, blend, blur, polygon, smoothstep

_STRONGER = np.array((1.3, 1.25, 1.25), np.float32)  # how much more features differ from what is around them, Lab
_LIGHT_IN_EYE = np.array((97, 0, 0), np.float32)  # Lab
_NARROWEST = 7  # pixels of an eye that gets a lid
_SMALLEST_IRIS = 2.2  # pixels of the radius
_LID = 0.85  # ink of it
_FINER = 4  # strokes are drawn this many times larger and shrunk

Window = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class _Eye:
    """The points of an eye, in pixels of the photo."""

    outline: Points
    lid: Points
    iris: Points

    @property
    def width(self) -> float:
        """From corner to corner."""
        return float(np.ptp(self.outline[:, 0]))

    @property
    def radius(self) -> float:
        """The mean radius of the iris."""
        return float(np.linalg.norm(self.iris[1:] - self.iris[0], axis=1).mean())

    @property
    def shows_iris(self) -> bool:
        """Whether it is wide open, large enough and well measured."""
        opening = float(np.ptp(self.outline[:, 1])) / self.width
        return (
            opening > 0.16 and self.radius > _SMALLEST_IRIS and 0.2 * self.width < 2.6 * self.radius < 1.3 * self.width
        )


def draw_features(painted: Colour, photo: Colour, faces: list[Face]) -> tuple[Colour, Plane]:
    """Draw the features of faces, a little stronger than in the photo; returns the picture and the ink of the lids."""
    drawn, lids = painted.copy(), np.zeros(painted.shape[:2], np.float32)
    for face in faces:
        _draw_stronger(drawn, photo, face)
        skin = float(np.median(photo[..., 0][face.bare])) if face.bare.any() else 60.0
        for eye in _eyes(face):
            if eye.width < _NARROWEST or not _is_seen(eye, photo[..., 0], skin):
                continue
            _draw_lid(lids, eye)
            if eye.shows_iris:
                _draw_iris(drawn, eye)
    return drawn, lids


def find_glasses(lightness: Plane, faces: list[Face], skin: Plane, unit: float) -> Plane:
    """Find thin dark or light lines on the skin around eyes: frames."""
    if not faces:
        return np.zeros_like(lightness)
    size = max(5, int(7 * unit) | 1)
    square = np.ones((size, size), np.uint8)
    dark, light = (cv2.morphologyEx(lightness, way, square) for way in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT))
    thin = blur(np.maximum(dark, light), 0.8)
    glasses: Plane = smoothstep(thin, 6, 12) * around_eyes(faces, skin.shape) * skin
    return glasses


def _eyes(face: Face) -> list[_Eye]:
    numbers = ((LEFT_EYE, LEFT_LID, LEFT_IRIS), (RIGHT_EYE, RIGHT_LID, RIGHT_IRIS))
    return [_Eye(face.part(outline), face.part(lid), face.part(iris)) for outline, lid, iris in numbers]


def _draw_stronger(drawn: Colour, photo: Colour, face: Face) -> None:
    """Put the features of the photo back, with more contrast and less grain."""
    sigma = max(2.0, 0.05 * face.height)
    rows, columns = np.nonzero(face.features)
    if not len(rows):
        return
    near = _window(np.array([(columns.min(), rows.min()), (columns.max(), rows.max())]), 4 * sigma + 8, drawn)
    around = blur(photo[near], sigma)
    stronger = bilateral(around + (photo[near] - around) * _STRONGER, colour=14, space=2, size=5)
    drawn[near] = blend(drawn[near], stronger, face.features[near])


def _is_seen(eye: _Eye, lightness: Plane, skin: float) -> bool:
    """Whether something in the outline is nearly as light as skin: not so behind dark glasses or closed lids."""
    near = _window(eye.outline, 2, lightness)
    if not lightness[near].size:
        return False  # beyond the edge of the photo
    inside = lightness[near][_polygon(near, eye.outline) > 0.5]
    return len(inside) >= 8 and float((inside > skin - 8).mean()) >= 0.12


def _draw_lid(ink: Plane, eye: _Eye) -> None:
    """Draw the upper lid as a tapered stroke, strongest beside the outer corner."""
    t = np.linspace(0, 1, 24)
    given = np.linspace(0, 1, len(eye.lid))
    path = np.stack([np.interp(t, given, eye.lid[:, axis]) for axis in (0, 1)], 1)
    path[:, 1] -= 0.02 * eye.width
    _stroke(ink, path, 0.085 * eye.width * np.sin(np.pi * (0.12 + 0.8 * t)) * (1.25 - 0.5 * t))


def _draw_iris(drawn: Colour, eye: _Eye) -> None:
    """Draw an iris in its own colour, darker above, with a pupil and a light in it."""
    middle, radius = eye.iris[0], eye.radius
    near = _window(np.concatenate((eye.outline, _circle(middle, radius))), 8, drawn)
    opening = _polygon(near, eye.outline, 0.4)
    iris = _polygon(near, _circle(middle, 1.02 * radius), 0.5) * opening
    pupil = _polygon(near, _circle(middle, 0.48 * radius), 0.6) * opening
    light = _polygon(near, _circle(middle - np.array((0.32, 0.38)) * radius, max(0.9, 0.27 * radius), 12), 0.35)
    coloured = blend(drawn[near], _iris_colours(drawn[near], iris, near, middle[1], radius), 0.7 * iris)
    coloured[..., 0] -= 0.6 * pupil * np.clip(coloured[..., 0] - 10, 0, 60)
    drawn[near] = blend(coloured, np.broadcast_to(_LIGHT_IN_EYE, coloured.shape), 0.9 * light)


def _iris_colours(photo: Colour, iris: Plane, near: Window, middle: float, radius: float) -> Colour:
    """The mean colour of an iris, deeper, and lighter towards its lower rim."""
    mean = (photo * iris[..., None]).sum((0, 1)) / (iris.sum() + 1e-3)
    deep = np.array((np.clip(0.8 * mean[0], 10, 42), 1.35 * mean[1], 1.35 * mean[2]), np.float32)
    rows = np.arange(near[0].start, near[0].stop, dtype=np.float32)
    down = np.clip((rows - middle) / np.float32(radius), -1, 1)[:, None, None]
    colours: Colour = np.broadcast_to(deep + down * np.array((9, 0, 2), np.float32), photo.shape)
    return colours


def _stroke(ink: Plane, path: Points, widths: Floats) -> None:
    """Draw a line whose width changes on its way."""
    near = _window(path, 4, ink)
    height, width = ink[near].shape
    if not height or not width:
        return
    canvas = np.zeros((height * _FINER, width * _FINER), np.uint8)
    course = np.round((path - _corner(near)) * _FINER * 8).astype(int).tolist()
    for (start, end), thickness in zip(pairwise(course), widths, strict=False):
        cv2.line(canvas, start, end, 255, max(1, round(thickness * _FINER)), cv2.LINE_AA, 3)
    stroke = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    ink[near] = np.maximum(ink[near], _LID * stroke)


def _window(points: Points, margin: float, picture: Floats) -> Window:
    """The rows and columns around points, as far as they are in the picture."""
    (left, top), (right, bottom) = np.floor(points.min(0) - margin), np.ceil(points.max(0) + margin) + 1
    height, width = picture.shape[:2]
    return _between(top, bottom, height), _between(left, right, width)


def _between(start: float, end: float, length: int) -> slice:
    first = min(max(0, int(start)), length)
    return slice(first, max(first, min(length, int(end))))


def _corner(near: Window) -> Points:
    """Where a window begins, x and y."""
    return np.array((near[1].start, near[0].start))


def _polygon(near: Window, points: Points, softness: float = 0.0) -> Plane:
    """A polygon as it is seen in a window."""
    shape = near[0].stop - near[0].start, near[1].stop - near[1].start
    return polygon(shape, points - _corner(near), softness)


def _circle(middle: Points, radius: float, corners: int = 20) -> Points:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    circle: Points = middle + radius * np.stack((np.cos(angles), np.sin(angles)), 1)
    return circle
