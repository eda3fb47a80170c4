"""Mouths as anime draws them: two clean lips, a tapered line between, one band of teeth.

Source: Chaikin, "An algorithm for high-speed curve generation" (1974), for the round outlines.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from training.faces import (
    LIPS,
    LOWER_LIP_BELOW,
    LOWER_LIP_INSIDE,
    UPPER_LIP_ABOVE,
    UPPER_LIP_INSIDE,
    Face,
    grown,
    skin_at,
    tinted,
)
from training.planes import BORDER, Colour, Floats, Plane, Points, blend, masked_blur, smoothstep, smoothstep_down
from training.strokes import Window, draw_stroke, is_empty, polygon_in, window

MIN_MOUTH = 10  # pixels; narrower mouths are not drawn
OPEN_MOUTH = 0.018  # heights of a face between the lips
HOLE = 1.02, 1.15  # size of the gap between the lips, times that in the mesh, in x and y
_AROUND = (1.1, 1.2), (1.45, 2.4)  # the skin that lips are compared with: times their outline, in x and y
_MIN_PIXELS = 12  # pixels of lips and of the skin around them
_CLEARER = 1.25  # times the difference between the colours of lips and skin
_UPPER, _LOWER = (-26.0, -6.0), (-18.0, 5.0)  # of L*, than the skin: an upper lip, and a lower one
_MIN_APART = 4.0  # of L*, between the two
_MIN_RED, _MIN_YELLOW = 7.0, -2.0  # of a and b, than the skin
_MAX_PAINT = 0.94  # share of paint in the lips
_BELOW_LIP = np.array((-10, 3, 1), np.float32)  # Lab, than the skin: the shadow of the lower lip …
_SHADOW, _SHADOW_SPAN = 0.028, (0.22, 0.78)  # … its length in heights of a face; from and to, along the lip
# Widths of the line, heights of a face, and how far it runs past the corners.
_LINE = np.array((0.004, 0.015, 0.011, 0.009, 0.011, 0.009, 0.011, 0.015, 0.004), np.float32)
_PAST_CORNERS, _MIN_LINE = 0.006, 0.7  # heights of a face; pixels
# Lightness, share of the skin's colour, and a and b to add: so it follows coloured light.
_CAVITY, _TONGUE, _WHITE = (20.0, 0.45, 8.0, -2.0), (42.0, 0.6, 18.0, 0.0), (0.0, 0.12, 0.0, 1.0)
_TEETH, _LIGHTER_THAN_SKIN = (78, 93), 16  # L* of teeth
_SHADE_OF_LIP = np.array((12, 0, 0), np.float32)  # on teeth, Lab
_AS_LIGHT_AS_SKIN = 0.45, 0.6  # times the L* of skin: below the first there are no teeth, above the second there are
_AT_CORNERS = 0.06  # of the width of a mouth
_ACROSS, _DOWN = 32, 12  # samples taken between the lips


@dataclass(frozen=True, slots=True)
class _Mouth:
    """The outlines of lips, from the left corner to the right, in pixels of the photo."""

    above: Points  # of the upper lip
    upper: Points  # the edges of the lips towards each other
    lower: Points
    below: Points  # of the lower lip
    height: float  # of the face

    @classmethod
    def of(cls, face: Face) -> "_Mouth":
        """The mouth of a face, in smooth curves."""
        inside = grown(face.part(UPPER_LIP_INSIDE + LOWER_LIP_INSIDE), HOLE)
        upper, lower = inside[: len(UPPER_LIP_INSIDE)], inside[len(UPPER_LIP_INSIDE) :]
        above, below = face.part(UPPER_LIP_ABOVE), face.part(LOWER_LIP_BELOW)
        return cls(_rounded(above), _rounded(upper), _rounded(lower), _rounded(below), face.height)

    @property
    def opening(self) -> float:
        """From lip to lip, in the middle, in pixels."""
        middle = len(self.upper) // 2
        return float(np.linalg.norm(self.lower[middle] - self.upper[middle]))

    @property
    def is_open(self) -> bool:
        return self.opening > OPEN_MOUTH * HOLE[1] * self.height

    def between(self, across: Floats, down: Floats) -> Points:
        """Places between the lips (…, 2): `across` 0..1 from corner to corner, `down` 0..1 from lip to lip."""
        upper, lower = (_along(line, across) for line in (self.upper, self.lower))
        places: Points = upper + down[..., None] * (lower - upper)
        return places


def draw_mouth(drawn: Colour, ink: Plane, photo: Colour, face: Face) -> None:
    """Draw a mouth into `drawn` (H, W, 3; Lab) and `ink` (H, W; 0..1), in place, unless it is too small."""
    near = window(face.part(LIPS), 0.12 * face.height + 4, drawn)
    if np.ptp(face.part(LIPS)[:, 0]) < MIN_MOUTH or is_empty(near):
        return
    mouth = _Mouth.of(face)
    _paint_lips(drawn[near], photo[near], face, mouth, near)
    if mouth.is_open:
        _paint_inside(drawn, photo, face, mouth, near)
    _draw_line(ink, mouth)


def _paint_lips(drawn: Colour, photo: Colour, face: Face, mouth: _Mouth, near: Window) -> None:
    """Paint both lips in a tone each, and the shadow below them, in place."""
    crisp = max(0.4, 0.003 * face.height)
    upper, lower = (
        polygon_in(near, np.concatenate((outer, inner[::-1])), crisp)
        for outer, inner in ((mouth.above, mouth.upper), (mouth.below, mouth.lower))
    )
    closest, farthest = (polygon_in(near, grown(face.part(LIPS), growth)) for growth in _AROUND)
    around = farthest * (1 - closest) * face.oval[near]
    if min((mask > 0.5).sum() for mask in (around, np.maximum(upper, lower))) < _MIN_PIXELS:
        return
    skin = masked_blur(drawn, around, 0.05 * face.height)
    shadow = np.concatenate((_cut(mouth.below), _cut(mouth.below)[::-1] + _SHADOW * face.height * face.down))
    drawn[:] = blend(drawn, drawn + _BELOW_LIP, polygon_in(near, shadow, 0.009 * face.height))
    for lip, difference in zip((upper, lower), _lips(photo, upper, lower, around), strict=True):
        drawn[:] = blend(drawn, skin + difference, _MAX_PAINT * lip)


def _lips(photo: Colour, upper: Plane, lower: Plane, around: Plane) -> tuple[Floats, Floats]:
    """The difference of each painted lip from the skin around it: Lab (3,)."""
    skin = np.median(photo[around > 0.5], axis=0)
    tint = tinted(skin)
    both = np.median(photo[np.maximum(upper, lower) > 0.5], axis=0) - skin
    lights = [
        float(np.median(photo[lip > 0.5][:, 0]) - skin[0]) if (lip > 0.5).any() else float(both[0])
        for lip in (upper, lower)
    ]
    red, yellow = _CLEARER * both[1:]
    colour = max(red, _MIN_RED * tint), max(yellow, (_MIN_YELLOW - 0.6 * max(red - _MIN_RED, 0.0)) * tint)
    darker = float(np.clip(lights[0], *_UPPER))
    lighter = float(np.clip(max(lights[1], darker + _MIN_APART), *_LOWER))
    return np.array((darker, *colour), np.float32), np.array((lighter, *colour), np.float32)


def _paint_inside(drawn: Colour, photo: Colour, face: Face, mouth: _Mouth, near: Window) -> None:
    """Paint the inside of an open mouth, in place: a dark warm cavity, a tongue and a band of teeth."""
    skin, skin_painted = (skin_at(face.points, picture) for picture in (photo, drawn))
    hole = polygon_in(near, np.concatenate((mouth.upper, mouth.lower[::-1])), 0.4)
    inside = np.broadcast_to(_coloured(_CAVITY, skin_painted), drawn[near].shape)
    seen = _Inside.of(photo, mouth, skin)
    if seen.tongue > 0:
        form = polygon_in(near, _tongue(mouth), 0.012 * face.height)
        tongue = np.broadcast_to(_coloured(_TONGUE, skin_painted), inside.shape)
        inside = blend(inside, tongue, seen.tongue * form)
    if seen.teeth > 0 and seen.edge > 0:
        white = _coloured(_WHITE, skin_painted)
        lightest = seen.light + max(0.0, float(skin_painted[0] - skin[0])) + 8
        white[0] = np.clip(max(lightest, float(skin_painted[0]) + _LIGHTER_THAN_SKIN), *_TEETH)
        inside = blend(inside, _shaded_teeth(mouth, near, white), seen.teeth * _band(mouth, near, seen))
    drawn[near] = blend(drawn[near], inside, hole)


def _coloured(paint: tuple[float, float, float, float], skin: Floats) -> Floats:
    """A colour (3,) as it is in the light that falls on the skin."""
    lightness, share, a, b = paint
    tint = tinted(skin)
    return np.array((lightness, share * skin[1] + a * tint, share * skin[2] + b * tint), np.float32)


@dataclass(frozen=True, slots=True)
class _Inside:
    """The visible contents of an open mouth."""

    teeth: float  # 0..1: the certainty that there are any
    first: float  # from here …
    last: float  # … to here of the way from corner to corner
    edge: float  # of the way from lip to lip that they reach down
    light: float  # their L*
    tongue: float  # 0..1

    @classmethod
    def of(cls, photo: Colour, mouth: _Mouth, skin: Floats) -> "_Inside":
        """Look between lips: teeth are light and less red than skin (3,), a tongue is red."""
        across, down = np.meshgrid((np.arange(_ACROSS) + 0.5) / _ACROSS, (np.arange(_DOWN) + 0.5) / _DOWN)
        places = mouth.between(across, down).astype(np.float32)
        looked = cv2.remap(photo, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=BORDER)
        patch = np.asarray(looked, np.float32)
        dark, light = np.percentile(patch[..., 0], (8, 88))
        low, high = dark + 0.3 * (light - dark), dark + 0.55 * (light - dark)
        is_light = smoothstep(patch[..., 0], max(low, 0.3 * skin[0]), max(high, 0.45 * skin[0]) + 1)
        red = 0.5 * float(skin[1] + _lower_lip(photo, mouth)[1])
        white = is_light * smoothstep_down(patch[..., 1], 0.5 * red + 2, 0.8 * red + 4)
        light = np.percentile(patch[..., 0][white > 0.5], 80) if (white > 0.5).any() else dark
        as_skin = np.array(light / max(skin[0], 1))
        sure = float(smoothstep(np.array(light - dark), 8, 16)) * float(smoothstep(as_skin, *_AS_LIGHT_AS_SKIN))
        return cls(sure, *_extent(white), float(light), _tongue_seen(patch, white, mouth))


def _lower_lip(photo: Colour, mouth: _Mouth) -> Floats:
    """The colour (3,) of the middle of a lower lip."""
    places = _along((mouth.lower + mouth.below) / 2, np.linspace(0.3, 0.7, 9)).astype(np.float32)
    colours = cv2.remap(photo, places[:, :1], places[:, 1:], cv2.INTER_LINEAR, borderMode=BORDER)
    colour: Floats = np.median(colours[:, 0], axis=0)
    return colour


def _extent(white: Plane) -> tuple[float, float, float]:
    """The extent of teeth in a white mask (down, across): from, to, and how far down."""
    columns = white[1 : _DOWN // 2 + 1].mean(0)
    places = np.flatnonzero(np.convolve(columns, np.ones(3) / 3, "same") > 0.28)
    if len(places) < _ACROSS // 4:
        return 0.5, 0.5, 0.0
    first, last = float(places[0]) / _ACROSS, float(places[-1] + 1) / _ACROSS
    first = min(first, 1 - last)  # one side may be in shade
    wider = _AT_CORNERS * float(smoothstep(np.array(1 - 2 * first), 0.35, 0.55))  # corners are always in shade
    rows = white[:, places[len(places) // 4 : -(len(places) // 4)]].mean(1)
    gone = np.flatnonzero(rows[2:] < 0.4)
    edge = (gone[0] + 2) / _DOWN if len(gone) else 1.0
    first = float(max(first - wider, 0.05))
    return first, 1 - first, float(np.clip(edge, 0.4, 0.85))


def _tongue_seen(patch: Colour, white: Plane, mouth: _Mouth) -> float:
    """The certainty, 0..1, of a tongue in the lower half of a mouth: red, and lighter than the cavity."""
    low, middle = slice(_DOWN // 2, None), slice(_ACROSS // 4, -_ACROSS // 4)
    lower = patch[low, middle]
    lighter = float(np.median(lower[..., 0]) - np.percentile(patch[..., 0], 8))
    red = float(smoothstep(np.array(lighter), 4, 12)) * (1 - float(white[low, middle].mean()))
    return red * float(smoothstep(np.array(mouth.opening / mouth.height), 0.035, 0.06))


def _tongue(mouth: _Mouth) -> Points:
    """The outline of a tongue that lies behind the lower lip."""
    across = np.linspace(0.18, 0.82, 16)
    top = mouth.between(across, 1 - 0.42 * np.sin(np.linspace(0, np.pi, 16)))
    outline: Points = np.concatenate((top, mouth.between(across, np.full(16, 1.2))[::-1]))
    return outline


def _band(mouth: _Mouth, near: Window, seen: _Inside) -> Plane:
    """The mask of one band of teeth below the upper lip, round at its ends."""
    t = np.linspace(0, 1, 24)
    across = seen.first + t * (seen.last - seen.first)
    edge = seen.edge * np.sqrt(1 - np.abs(2 * t - 1) ** 5)
    outline = np.concatenate((mouth.between(across, np.full(24, -0.1)), mouth.between(across, edge)[::-1]))
    return polygon_in(near, outline, 0.35)


def _shaded_teeth(mouth: _Mouth, near: Window, white: Floats) -> Colour:
    """White (H, W, 3), in soft shade below the upper lip."""
    above, below = (np.array((0, length), np.float32) for length in (0.1 * mouth.height, 0.18 * mouth.opening))
    shade = np.concatenate((mouth.upper - above, mouth.upper[::-1] + below))
    dark = polygon_in(near, shade, max(0.5, 0.12 * mouth.opening))
    teeth: Colour = white - dark[..., None] * _SHADE_OF_LIP
    return teeth


def _draw_line(ink: Plane, mouth: _Mouth) -> None:
    """Draw a tapered line between the lips, a little thicker at the corners; of open ones, below the upper."""
    between = mouth.upper if mouth.is_open else (mouth.upper + mouth.lower) / 2
    corners = mouth.above[[0, -1]]
    outwards = (corners[1] - corners[0]) / np.float32(max(float(np.linalg.norm(corners[1] - corners[0])), 1e-3))
    past = _PAST_CORNERS * mouth.height * outwards
    path = np.concatenate(((corners[0] - past)[None], between[1:-1], (corners[1] + past)[None]))
    draw_stroke(ink, path, np.maximum(mouth.height * _LINE, _MIN_LINE), 0.8)


def _rounded(line: Points) -> Points:
    """A line (N, 2) without its corners, twice cut; its ends stay."""
    for _ in range(2):
        cut = np.stack((0.75 * line[:-1] + 0.25 * line[1:], 0.25 * line[:-1] + 0.75 * line[1:]), 1).reshape(-1, 2)
        line = np.concatenate((line[:1], cut, line[-1:]))
    return line


def _along(line: Points, share: Floats) -> Points:
    """The points (…, 2) at shares 0..1 of a line (N, 2)."""
    t = np.linspace(0, 1, len(line))
    return np.stack([np.interp(share, t, line[:, axis]) for axis in (0, 1)], -1)


def _cut(line: Points) -> Points:
    """The middle of a lip's outline, below which its shadow falls."""
    return _along(line, np.linspace(*_SHADOW_SPAN, 12))
