"""The paint of hair: three tones, parted into pointed locks, with few lines and an outline."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.beards import BLACK
from training.flow import Flow, difference_across, edge_flow, smooth_along
from training.hair import Hair
from training.planes import (
    Colour,
    Plane,
    blend,
    blur,
    dilate,
    erode,
    masked_blur,
    masked_mean,
    odd,
    smoothstep,
    smoothstep_down,
)

# Heights of a face:
_COURSES, _COMBED = (0.012, 0.016, 0.02), 0.065  # smoothness of the course of hair in each pass; how far it is combed
_STRAND, _LOCK, _MASS, _FORM = 0.03, 0.05, 0.12, 0.25  # the sizes of these
_MIN_PATCH, _MIN_LINE = 0.12, 0.1  # lengths of a patch of a tone, and of a line
_LINE = 0.009

_STRANDS_IN_SHADE, _STRANDS_IN_LIGHT = 0.55, 0.45  # share of strands, rather than locks, in deciding where a tone ends
_IN_SHADE, _IN_LIGHT = 36, 86  # percentiles of hair
_CRISP = 0.12  # half the width of a border between tones
_FAINTEST = 0.35  # of L*; fainter strands count less
_DARKER, _LIGHTER = (6.0, 20.0), (6.0, 24.0)  # of L*, compared with the hair itself: shade and light
_STRONGER = 1.15  # times the contrast of the photo
_LIVELIER = 1.08
_MIN_RED = 0.18  # ratio of a to b, Lab: blond hair in green light does not turn olive
_MIN_PIXELS = 200
_UNLIKE = 14.0, 20.0  # units of Lab between paint and photo: a pattern is no hair
_DARK_COUNTS = 0.6  # weight of a difference where the photo is darker, as it is between curls
_IN_FACE_COUNTS = 1.5  # the same in the face: a forehead shows between the strands of a thin fringe
_LINES, _MIN_VALLEY = 4, 0.35  # percentile of valleys; of L*
_LINE_DARKER, _LINE_INK = 0.5, 0.45  # share of the darkness of shade; 0..1
_OUTLINE, _OUTLINED = 0.8, (6.0, 14.0)  # ink 0..1; units of Lab that hair and what is beside it differ by


@dataclass(frozen=True, slots=True)
class Combed:
    """A picture with its hair painted, the mask of that hair, and the ink in it, 0..1."""

    paint: Colour
    share: Plane
    ink: Plane


def paint_hair(painted: Colour, photo: Colour, hair: list[Hair]) -> Combed:
    """Paint the hair of a photo (H, W, 3), Lab, into its painting."""
    combed, share, ink = painted.copy(), np.zeros_like(painted[..., 0]), np.zeros_like(painted[..., 0])
    for one in hair:
        near, height = one.near, one.near.height
        lab = near.shrunk(photo)
        if np.count_nonzero(one.share > 0.5) < _MIN_PIXELS:
            continue
        paint, lines = _locks(lab, one.share, height)
        mass = one.share * _like_hair(lab, paint, one)
        soft = blur(near.enlarged(mass), 1.3)
        crisp = smoothstep(soft, 0.3, 0.7)
        window = near.window
        combed[window] = blend(combed[window], near.enlarged(paint), crisp)
        outline = _outline(soft, combed[window])
        ink[window] = np.maximum(ink[window], np.maximum(outline, _LINE_INK * near.enlarged(lines) * crisp))
        share[window] = np.maximum(share[window], crisp)
    return Combed(combed, share, ink)


def _like_hair(lab: Colour, paint: Colour, hair: Hair) -> Plane:
    """1 where the paint looks like the photo, 0 where it does not: a patterned headband, a forehead behind strands."""
    height = hair.near.height
    fine, coarse = (_distance(seen, paint) for seen in (lab, blur(lab, 0.01 * height)))
    distance = blend(coarse, _IN_FACE_COUNTS * fine, hair.face)
    return smoothstep_down(masked_blur(distance, hair.share, 0.045 * height), *_UNLIKE)


def _distance(lab: Colour, paint: Colour) -> Plane:
    difference = lab - paint
    difference[..., 0] *= np.where(difference[..., 0] < 0, np.float32(_DARK_COUNTS), 1)
    distance: Plane = np.linalg.norm(difference, axis=2).astype(np.float32)
    return distance


def _locks(lab: Colour, mass: Plane, height: float) -> tuple[Colour, Plane]:
    """Hair in three tones (H, W, 3), and the lines between its locks (H, W), 0..1."""
    inner = erode(mass, 3)
    filled = blend(masked_blur(lab, inner, _LOCK * height), lab, inner)
    combed, flow = _comb(filled[..., 0], height)
    shade, light = _tones(combed, filled[..., 0], mass, height)
    lines = _lines(combed, flow, mass, height)
    own = mass * (1 - shade) * (1 - light)
    itself, darkest, lightest = (masked_mean(lab[..., 0], mass * tone) for tone in (own, shade, light))
    darker = np.clip(_STRONGER * (itself - darkest), *_DARKER)
    lighter = np.clip(_STRONGER * (lightest - itself), *_LIGHTER)
    spread = float(combed[mass > 0.5].std())
    base = 0.5 * itself + 0.5 * masked_blur(filled[..., 0], own, _FORM * height) + 0.12 * spread
    lightness = base - darker * (shade + _LINE_DARKER * lines) + lighter * light
    return _tinted(lightness, filled, mass, spread, height), lines


def _comb(light: Plane, height: float) -> tuple[Plane, Flow]:
    """Smooth lightness far along the strands; their course gets clearer with every pass."""
    for course in _COURSES:
        flow = edge_flow(light, outer=max(1.2, course * height), reach=max(8, int(2 * _COMBED * height)))
        light = smooth_along(light, flow, _COMBED * height)
    return light, flow


def _tones(combed: Plane, light: Plane, mass: Plane, height: float) -> tuple[Plane, Plane]:
    """The shaded and the shining parts of hair, 0..1: locks to which strands give points."""
    inside = mass > 0.5
    strands = combed - masked_blur(combed, mass, _STRAND * height)
    power = np.maximum(masked_blur(strands * strands, mass, 0.1 * height), 0)
    strands = strands / (np.sqrt(power) + np.float32(_FAINTEST))
    form = masked_blur(light, mass, _FORM * height)
    locks = masked_blur(combed, mass, _LOCK * height) - form + 0.5 * (form - masked_mean(form, mass))
    locks = 1.5 * np.tanh(locks / np.float32(1.5 * (float(locks[inside].std()) + 1)))
    dark, bright = locks + _STRANDS_IN_SHADE * strands, locks + _STRANDS_IN_LIGHT * strands
    below, above = np.percentile(dark[inside], _IN_SHADE), np.percentile(bright[inside], _IN_LIGHT)
    shade = smoothstep_down(dark, float(below) - _CRISP, float(below) + _CRISP)
    shine = smoothstep(bright, float(above) - _CRISP, float(above) + _CRISP)
    return _without_specks(shade, _MIN_PATCH * height), _without_specks(shine, _MIN_PATCH * height)


def _tinted(lightness: Plane, lab: Colour, mass: Plane, spread: float, height: float) -> Colour:
    """Give tones the colour of the hair where it is lit; chroma falls with lightness."""
    mean = masked_mean(lab[..., 0], mass)
    lit = mass * (0.1 + smoothstep(lab[..., 0], mean - 0.5 * spread, mean + 1.5 * spread + 0.1))
    tint = masked_blur(lab, lit, _MASS * height)
    dimmed = np.clip((lightness + BLACK) / (np.maximum(tint[..., 0], 1) + BLACK), 0.6, 1.25)
    a, b = (_LIVELIER * tint[..., channel] * dimmed for channel in (1, 2))
    return np.dstack((lightness, np.maximum(a, _MIN_RED * b), b)).astype(np.float32)


def _lines(combed: Plane, flow: Flow, mass: Plane, height: float) -> Plane:
    """The darkest valleys between locks."""
    valleys = difference_across(combed, flow, sigma=max(1.0, _LINE * height), length=_LOCK * height)
    deep = max(_MIN_VALLEY, -float(np.percentile(valleys[mass > 0.5], _LINES)))
    return _without_specks(smoothstep(-valleys, deep, 1.6 * deep) * erode(mass, 3), _MIN_LINE * height)


def _without_specks(tone: Plane, shortest: float) -> Plane:
    """A tone without patches and holes shorter than `shortest`."""
    for _ in range(2):
        tone = 1 - tone * _long(tone > 0.3, shortest)
    return tone


def _long(tone: npt.NDArray[np.bool_], shortest: float) -> Plane:
    _, pieces, stats, _ = cv2.connectedComponentsWithStats(tone.astype(np.uint8))
    long = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]) >= shortest
    long[0] = False
    return blur(long.astype(np.float32)[pieces], 0.7)


def _outline(soft: Plane, paint: Colour) -> Plane:
    """Ink along the rim of hair, where it differs from what is beside it."""
    contrast = np.linalg.norm(dilate(paint, odd(5)) - erode(paint, odd(5)), axis=2).astype(np.float32)
    rim = smoothstep_down(np.abs(soft - 0.45), 0.12, 0.42)
    outline: Plane = _OUTLINE * rim * smoothstep(blur(contrast, 1), *_OUTLINED)
    return outline
