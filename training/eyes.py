"""Eyes as anime draws them: large, with a clear iris under a strong lid."""

from dataclasses import dataclass

import numpy as np

from training.faces import (
    LEFT_EYE,
    LEFT_IRIS,
    LEFT_LID,
    RIGHT_EYE,
    RIGHT_IRIS,
    RIGHT_LID,
    grown,
    skin_at,
)
from training.planes import Colour, Floats, Plane, Points, blend, smoothstep, smoothstep_down
from training.strokes import Window, draw_stroke, ellipse, is_empty, polygon_in, window

_MIN_WIDTH = 5  # pixels; narrower eyes neither grow nor are drawn
_MIN_RADIUS = 1.7  # pixels of an iris
_OPEN = 0.16  # widths of an eye: the minimum opening of an open one
_PLAIN = 4  # of L*, between the same percentiles as below: no more in what covers just one eye
_ALIKE = 2.1  # times as open, by their widths: the maximum ratio of two open eyes
_MIN_PIXELS = 6  # pixels of an eye
_LENS = 4  # of L*, by which a lens around a hidden eye is darker than the skin
_MIN_CONTRAST = 7  # of L*, between the 10th and the 90th percentile within an eye
# An eye itself, with its lids, and with its socket: times its outline, in x and y.
_IN_AND_AROUND = ((1.0, 1.0), (1.1, 1.35), (1.25, 2.1))
_WHITE = np.array((97, 0, 0), np.float32)  # Lab
_RIM, _PUPIL = np.array((0.5, 0.8, 0.8), np.float32), np.array((0.25, 0.5, 0.5), np.float32)  # of an iris's Lab
_LIGHTER_BELOW = np.array((15, 2, 5), np.float32)  # Lab, from the middle of an iris to its lower rim
_COLD = np.array((-5, -9), np.float32)  # a and b, for cold irises: small ones mix with the skin and lashes around
_SECOND_LIGHT = 4  # pixels of radius; larger irises have two highlights


@dataclass(frozen=True, slots=True)
class Eye:
    """The points of an eye, in pixels of the photo."""

    outline: Points
    lid: Points  # the upper one, from the outer corner to the inner
    iris: Points  # its middle, then four points of its rim

    @property
    def middle(self) -> Points:
        """The mean of its outline."""
        middle: Points = self.outline.mean(0)
        return middle

    @property
    def width(self) -> float:
        """From corner to corner."""
        return float(np.linalg.norm(self.lid[0] - self.lid[-1]))

    @property
    def outwards(self) -> Points:
        """The direction from the inner corner to the outer, of length 1."""
        outwards: Points = (self.lid[0] - self.lid[-1]) / np.float32(max(self.width, 1e-3))
        return outwards

    @property
    def up(self) -> Points:
        """The direction across that, towards the brow, of length 1."""
        x, y = self.outwards
        across = np.array((y, -x), np.float32)
        return across if (self.lid.mean(0) - self.middle) @ across > 0 else -across

    @property
    def opening(self) -> float:
        """From lid to lid, across the line of the corners."""
        return float(np.ptp(self.outline @ self.up))

    @property
    def radius(self) -> float:
        """The mean radius of the iris."""
        return float(np.linalg.norm(self.iris[1:] - self.iris[0], axis=1).mean())

    @property
    def shows_iris(self) -> bool:
        """True if its iris is large enough and well measured."""
        return self.radius > _MIN_RADIUS and 0.2 * self.width < 2.6 * self.radius < 1.3 * self.width

    def is_seen(self, lab: Colour, skin: Floats) -> bool:
        """Return whether it is open and uncovered, given the photo (H, W, 3) and the face's skin (3,), both Lab."""
        covered = self._cover(lab, skin)
        return self._is_open and covered is not None and not covered.hides

    def is_behind_lens(self, lab: Colour, skin: Floats) -> bool:
        """Return whether a dark or coloured lens hides it; False if it is closed, or too small to tell."""
        covered = self._cover(lab, skin)
        return self._is_open and covered is not None and covered.is_lens

    def is_alike(self, other: "Eye") -> bool:
        """Return whether it is about as open as another eye, or more."""
        return self.width >= _MIN_WIDTH and _ALIKE * self.opening / self.width > other.opening / other.width

    def is_plain(self, lab: Colour) -> bool:
        """Return whether lightness hardly varies within its outline."""
        near = window(self.outline, self.width, lab)
        inside = polygon_in(near, self.outline) > 0.5
        if np.count_nonzero(inside) < _MIN_PIXELS:
            return True
        darkest, lightest = np.percentile(lab[near][..., 0][inside], (10, 90))
        return bool(lightest - darkest <= _PLAIN)

    @property
    def is_closed(self) -> bool:
        """True if it is large enough to be drawn, but its lids meet."""
        return self.width >= _MIN_WIDTH and not self._is_open

    @property
    def _is_open(self) -> bool:
        return self.width >= _MIN_WIDTH and self.opening >= _OPEN * self.width

    def _cover(self, lab: Colour, skin: Floats) -> "_Cover | None":
        """Return what covers it, if anything; None if it is too small, or outside the picture."""
        near = window(self.outline, self.width, lab)
        if is_empty(near):
            return None
        inside, with_lids, with_socket = (
            polygon_in(near, grown(self.outline, growth)) > 0.5 for growth in _IN_AND_AROUND
        )
        beside = with_socket & ~with_lids
        if np.count_nonzero(inside) < _MIN_PIXELS or not beside.any():
            return None
        darkest, lightest = np.percentile(lab[near][..., 0][inside], (10, 90))
        around = np.median(lab[near][beside], axis=0)
        is_plain = bool(lightest - darkest <= _MIN_CONTRAST)
        is_coloured = bool(around[1:] @ skin[1:] < 0)  # its hue is more than a right angle from the skin's
        return _Cover(hides=is_plain or is_coloured, is_lens=is_coloured or (is_plain and around[0] < skin[0] - _LENS))


@dataclass(frozen=True, slots=True)
class _Cover:
    """A cover of an eye, such as a lens, if there is one."""

    hides: bool  # nothing of the eye is visible
    is_lens: bool  # it is darker than the skin, or of quite another hue


def draw_closed_eye(ink: Plane, eye: Eye) -> None:
    """Draw closed lids as one curved line of lashes, tapered and thickest beyond its middle, into `ink`, in place."""
    lower = eye.outline[:9]  # from the outer corner to the inner, along the lower lid
    flick = lower[:1] + eye.width * (0.1 * eye.outwards - 0.02 * eye.up)
    lashes = np.concatenate((flick, 0.35 * eye.lid + 0.65 * lower))
    draw_stroke(ink, lashes, eye.width * np.array((0.02, 0.085, 0.105, 0.095, 0.085, 0.06, 0.025)), 0.95)
    if eye.width >= 3 * _MIN_WIDTH:
        fold = eye.lid[1:-1] + 0.14 * eye.width * eye.up
        draw_stroke(ink, fold, eye.width * np.array((0.01, 0.03, 0.025, 0.01)), 0.3)


def seen_of(points: Points, lab: Colour, *, is_turned: bool) -> list[bool]:
    """Return whether each eye of a face is seen; unless it is turned, an eye about as open as a seen one is, too.

    Dark make-up and shade look like a lens, but lenses hide both eyes, and what hides only one eye is plain.
    """
    skin, eyes = skin_at(points, lab), eyes_of(points)
    seen = [eye.is_seen(lab, skin) for eye in eyes]
    if is_turned or seen[0] == seen[1]:
        return seen
    clear, other = eyes if seen[0] else eyes[::-1]
    if other.is_alike(clear) and not other.is_plain(lab):
        return [True, True]
    return seen


def eyes_of(points: Points) -> list[Eye]:
    """The eyes of a face, given the points of its mesh."""
    numbers = ((LEFT_EYE, LEFT_LID, LEFT_IRIS), (RIGHT_EYE, RIGHT_LID, RIGHT_IRIS))
    return [Eye(*(points[list(part)] for part in parts)) for parts in numbers]


def draw_eye(drawn: Colour, ink: Plane, photo: Colour, *, eye: Eye, skin: Floats) -> None:
    """Draw a visible eye into `drawn` (H, W, 3; Lab) and `ink` (H, W; 0..1), in place; `skin` is Lab (3,)."""
    if eye.shows_iris:
        _draw_white(drawn, photo, eye, skin)
        _draw_iris(drawn, photo, eye, skin)
    _draw_lids(ink, eye)


def _draw_white(drawn: Colour, photo: Colour, eye: Eye, skin: Floats) -> None:
    """Paint the white of an eye evenly, as light as the photo has it, in the shade of the lid above."""
    near = window(eye.outline, 6, drawn)
    inside = polygon_in(near, eye.outline, 0.4)
    lightest = float(np.percentile(photo[near][..., 0][inside > 0.5], 90))
    below_lid = _below(near, eye, eye.middle) / np.float32(eye.opening) + np.float32(0.5)
    white = np.empty_like(drawn[near])
    white[..., 0] = np.clip(max(lightest + 6, float(skin[0]) + 10), 55, 95) - 14 * smoothstep_down(below_lid, 0.1, 0.55)
    white[..., 1:] = 0.25 * skin[1:]
    drawn[near] = blend(drawn[near], white, 0.8 * inside)


def _draw_iris(drawn: Colour, photo: Colour, eye: Eye, skin: Floats) -> None:
    """Draw an iris in its own colour, large, darker above and at its rim, with a pupil and lights in it."""
    wide = max(1.04 * eye.radius, 0.28 * eye.width)
    high = max(1.12 * wide, 0.56 * eye.opening)
    looks = eye.iris[0] - eye.middle
    middle = eye.middle + (looks @ eye.outwards) * eye.outwards + (0.4 * (looks @ eye.up) + 0.05 * eye.opening) * eye.up
    near = window(np.concatenate((eye.outline, ellipse(middle, (wide, high)))), 8, drawn)
    opening = polygon_in(near, eye.outline, 0.4)

    def within(share: float, at: Points = middle, softness: float = 0.5) -> Plane:
        return polygon_in(near, ellipse(at, (share * wide, share * high)), softness) * opening

    own = polygon_in(near, ellipse(eye.iris[0], (eye.radius, eye.radius)), 0.5) * opening
    colour = _iris_colour(photo[near], own, skin)
    colours = _shaded(colour, _below(near, eye, middle) / np.float32(high))
    iris = blend(drawn[near], colours * _RIM, within(1.0))
    iris = blend(iris, colours, 0.95 * within(0.86))
    iris = blend(iris, colours * _PUPIL, 0.9 * within(0.45 - 0.13 * _lightness_of(colour)))
    above = middle + np.array((-0.32 * wide, -0.34 * high))
    iris = blend(iris, np.broadcast_to(_WHITE, iris.shape), 0.95 * within(max(0.29, 1 / wide), above, 0.35))
    if wide > _SECOND_LIGHT:
        below = middle + np.array((0.34 * wide, 0.46 * high))
        iris = blend(iris, np.broadcast_to(_WHITE, iris.shape), 0.7 * within(0.17, below, 0.35))
    drawn[near] = iris


def _below(near: Window, eye: Eye, middle: Points) -> Plane:
    """The distance of each pixel of a window below a point, across the eye."""
    rows, columns = (np.arange(side.start, side.stop, dtype=np.float32) for side in near)
    below: Plane = (rows[:, None] - middle[1]) * -eye.up[1] + (columns - middle[0]) * -eye.up[0]
    return below.astype(np.float32)


def _iris_colour(photo: Colour, own: Plane, skin: Floats) -> Floats:
    """The mean colour of an iris, clearer; one that is nearly black is as warm as the skin beside it."""
    mean = (photo * own[..., None]).sum((0, 1)) / (own.sum() + 1e-3)
    warm = 0.6 * float(smoothstep_down(mean[0], 16, 34)) * skin[1:]
    # Blue, green and grey irises are lighter than they measure; dark ones measure as grey, too, so lightness decides.
    is_cold = smoothstep_down(mean[2] - 0.15 * skin[2], 1, 8) * smoothstep(mean[0], 25, 35)
    light = np.clip((1.05 + 0.25 * is_cold) * mean[0], 20, 46 + 12 * is_cold)
    return np.array((light, *np.clip(2.1 * mean[1:] + (1 - is_cold) * warm + is_cold * _COLD, -45, 45)), np.float32)


def _lightness_of(iris: Floats) -> float:
    """0 for a dark iris, 1 for a light one."""
    return float(smoothstep(np.array(iris[0]), 30, 52))


def _shaded(colour: Floats, below: Plane) -> Colour:
    """A colour that grows lighter from the upper rim of an iris, at -1, to the lower one, at 1."""
    shaded: Colour = colour + np.clip(below, -1, 1)[..., None] * _LIGHTER_BELOW
    return shaded


def _draw_lids(ink: Plane, eye: Eye) -> None:
    """Draw the upper lid as a tapered stroke past the outer corner, its fold above, and the lower lid faintly."""
    width, up = eye.width, eye.up
    flick = eye.lid[:1] + 0.09 * width * eye.outwards + 0.02 * width * up
    upper = np.concatenate((flick, eye.lid + 0.025 * width * up))
    draw_stroke(ink, upper, width * np.array((0.02, 0.1, 0.125, 0.115, 0.1, 0.075, 0.03)), 0.95)
    if width < 3 * _MIN_WIDTH:
        return
    fold = eye.lid[1:-1] + (0.3 * eye.opening + 0.02 * width) * up
    draw_stroke(ink, fold, width * np.array((0.015, 0.035, 0.03, 0.01)), 0.4)
    from_outer_corner = eye.outline[1:6]
    draw_stroke(ink, from_outer_corner, width * np.array((0.04, 0.03, 0.01)), 0.4)
