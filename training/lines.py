"""Lines: thin, at borders, none in skin, none where the photo is out of focus.

A painting has few, and hardly any in foliage and ground: backgrounds of films are painted. A drawing in ink has many.

Sources: Kang, Lee, Chui, "Coherent line drawing" (2007): the difference of Gaussians along a flow. Winnemöller, "XDoG"
(2011): its soft threshold.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from training.faces import all_mouths, jaws
from training.flow import difference_across
from training.planes import Colour, Labels, Plane, bilateral, blur, dilate, erode, gradient, smoothstep, smoothstep_down
from training.regions import borders, spread
from training.view import View

_CONTRAST = np.array((1, 1.2, 1.2), np.float32)  # weights of Lab in judging whether a border deserves an outline
_SILHOUETTE, _NO_SECOND = 0.85, 0.8  # ink of the outline of people; share of ink removed from lines right behind it
_MOSTLY, _ROUNDED = 0.7, 2.0  # root mean square of the mask of people in a region; pixels
_LINELESS, _STRAIGHT = 0.8, 0.7  # share of ink removed from rough things; of that, the share that continuous edges keep
_FAINT = 0.5, 0.9  # ink of a line that is not at a border, in a painting and in an ink drawing
_ROUGH_INK = 0.2  # share of ink removed from rough things in an ink drawing


@dataclass(frozen=True, slots=True)
class Lines:
    """Ink 0..1: fine lines, few and many, and broad strokes of a brush; and closeness to a border between regions."""

    few: Plane
    many: Plane
    broad: Plane
    borders: Plane


def draw_lines(view: View, base: Colour, labels: Labels, skin: Plane) -> Lines:
    """Draw the lines of a photo, given the base of its paint, its regions and its painted skin."""
    edge, contrast = borders(labels, base * _CONTRAST)
    near = np.clip(2.2 * blur(dilate(edge, 3), 1.2), 0, 1)
    (fine, broad), clear_lines = _ink(view), outlines(edge, contrast, _people(view.person, labels))
    jaw = jaws(view.faces, edge.shape)
    bare = erode(skin, 5) * (1 - view.features) * (1 - jaw)
    clear = (1 - 0.95 * erode(view.sky, 5)) * (1 - all_mouths(view.faces, edge.shape))
    wanted = np.maximum(np.maximum(near, 0.8 * jaw), view.glasses)
    few, many = (np.maximum(fine * (faint + (1 - faint) * wanted), clear_lines) for faint in _FAINT)
    allowed = in_focus(view.lab[..., 0] / 100) * (1 - 0.97 * bare * (1 - 0.8 * view.glasses)) * clear
    few *= allowed * (1 - _painted(view))
    many *= allowed * (1 - _ROUGH_INK * view.texture)
    broad *= (0.3 + 0.7 * near) * (1 - 0.97 * bare) * clear * (1 - 0.5 * view.texture)
    few, many, broad = (np.clip(ink, 0, 1) for ink in (few, many, broad))
    return Lines(few, many, broad, borders=near)


def _painted(view: View) -> Plane:
    """Share of lines that gives way to paint (H, W), 0..1: little in rough clothes, most in trees before the sky."""
    people = smoothstep(view.person, 0.3, 0.7)
    rough = blur(dilate(view.texture, 5), 3 * view.unit) * (1 - people) * (1 - _STRAIGHT * blur(view.flow.coherence, 2))
    before_sky = blur(dilate(view.sky, 9), 2)
    drawn = (1 - _LINELESS * rough) * (1 - 0.5 * before_sky * rough) * (1 - 0.55 * view.texture * people)
    return 1 - drawn


def _ink(view: View) -> tuple[Plane, Plane]:
    """Fine and broad dark lines of a photo; dark areas need less difference (Weber's law)."""
    grey = bilateral(view.lab, colour=8, space=3)[..., 0] / 100
    weber = 0.8 / (0.3 + grey)
    needed = 1.8 - view.flow.coherence
    fine = difference_across(grey, view.flow, sigma=view.unit + 0.05, length=4) * weber
    broad = difference_across(grey, view.flow, sigma=1.9 * view.unit, length=5) * weber
    return _soft_threshold(fine, 0.0045 * needed, slope=75), _soft_threshold(broad, 0.012 * needed, slope=26)


def _soft_threshold(difference: Plane, needed: Plane, slope: float) -> Plane:
    """Ink where the difference is more negative than needed."""
    ink: Plane = np.tanh(slope * np.clip(-difference - needed, 0, None)).astype(np.float32)
    return ink


def outlines(edge: Plane, contrast: Plane, people: Plane) -> Plane:
    """Thin lines along borders with much contrast, and one around people (1 in `people`), whatever is behind them."""
    thin = np.asarray(cv2.dilate(edge, np.ones((2, 2), np.uint8), anchor=(0, 0)), np.float32)
    around = _silhouette(people)
    beside = blur(dilate(around, 13), 1) * (1 - people)
    deserved = smoothstep(blur(dilate(contrast, 3), 1.5), 9, 22) * (1 - _NO_SECOND * beside)
    inked: Plane = np.maximum(np.clip(1.6 * blur(thin, 0.75), 0, 1) * deserved, _SILHOUETTE * around)
    return inked


def _people(person: Plane, labels: Labels) -> Plane:
    """The regions (H, W) that are mostly part of people, 1, with a rounded outline: the mask itself is coarse."""
    mostly = (spread(person, labels) > _MOSTLY).astype(np.float32)
    return (blur(mostly, _ROUNDED) > 0.5).astype(np.float32)


def _silhouette(people: Plane) -> Plane:
    """An even line along the outline of people."""
    away: Plane = np.abs(blur(people, 1.2) - 0.5)
    return smoothstep_down(away, 0.12, 0.42)


def in_focus(grey: Plane, reach: int = 5) -> Plane:
    """1 beside edges that are in focus, 0 beside others: nobody outlines a blurred background."""
    sharp, soft = (dilate(np.hypot(*gradient(blur(grey, sigma))), reach) for sigma in (0.8, 2.8))
    return smoothstep(sharp / (soft + np.float32(1e-3)), 1.02, 1.45)
