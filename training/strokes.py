"""Shapes and strokes in a window of a picture, so that a small one costs little."""

from itertools import pairwise

import cv2
import numpy as np

from training.planes import Floats, Plane, Points, polygon

Window = tuple[slice, slice]

_FINER = 4  # times larger that strokes are drawn before they are shrunk
_SHIFT = 3  # there they are drawn at 1/8 of a pixel
_STEPS = 24  # points of a stroke


def window(points: Points, margin: float, picture: Floats) -> Window:
    """The rows and columns within `margin` pixels of points, as far as they are in the picture."""
    (left, top), (right, bottom) = np.floor(points.min(0) - margin), np.ceil(points.max(0) + margin) + 1
    height, width = picture.shape[:2]
    return _between(top, bottom, height), _between(left, right, width)


def is_empty(near: Window) -> bool:
    """Return whether a window lies outside the picture."""
    return any(side.start == side.stop for side in near)


def polygon_in(near: Window, points: Points, softness: float = 0.0) -> Plane:
    """A polygon, 0..1, as it is seen in a window: (rows, columns); `softness` pixels blur its edge."""
    shape = near[0].stop - near[0].start, near[1].stop - near[1].start
    return polygon(shape, points - _corner(near), softness)


def ellipse(middle: Points, radii: tuple[float, float], corners: int = 24) -> Points:
    """The points of an ellipse."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    points: Points = middle + np.array(radii) * np.stack((np.cos(angles), np.sin(angles)), 1)
    return points


def draw_stroke(ink: Plane, path: Points, widths: Floats, strength: float) -> None:
    """Draw a stroke through a path (N, 2) into `ink` (H, W), in place, where that has less than `strength` 0..1.

    The widths, in pixels, are spread evenly along it, and change evenly between.
    """
    t = np.linspace(0, 1, _STEPS)
    course = np.stack([np.interp(t, np.linspace(0, 1, len(path)), path[:, axis]) for axis in (0, 1)], 1)
    thickness = np.interp(t, np.linspace(0, 1, len(widths)), widths)
    near = window(course, 4, ink)
    if is_empty(near):
        return
    height, width = ink[near].shape
    canvas = np.zeros((height * _FINER, width * _FINER), np.uint8)
    stops = np.round((course - _corner(near)) * _FINER * (1 << _SHIFT)).astype(int).tolist()
    for (start, end), wide in zip(pairwise(stops), thickness[:-1], strict=True):
        cv2.line(canvas, start, end, 255, max(1, round(wide * _FINER)), cv2.LINE_AA, _SHIFT)
    stroke = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    ink[near] = np.maximum(ink[near], np.float32(strength) * stroke)


def _between(start: float, end: float, length: int) -> slice:
    first = min(max(0, int(start)), length)
    return slice(first, max(first, min(length, int(end))))


def _corner(near: Window) -> Points:
    """The upper left corner of a window, x and y."""
    return np.array((near[1].start, near[0].start))
