"""The rendered target of a style: the picture that the generator is taught to make of a photo.

Faces get the proportions of anime (`proportions`); the photo is analysed (`view`, `hair`), divided into regions
(`regions`) and painted (`painting`, `skin`, `locks`); faces are drawn (`features`) and lines added (`lines`); each
style adds its colours (`grades`). Lengths are meant for a picture of 640 pixels; the larger ones follow its size.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from training.analysis import Analysis, nothing_found
from training.complexion import paint_skin
from training.features import draw_features
from training.flow import smooth_along
from training.grades import Drawing, hinata, sumi, yoi
from training.hair import find_hair, with_foreheads
from training.lines import draw_lines, in_focus
from training.locks import paint_hair
from training.painting import add_tones, masses, restore, round_edges, soften, steepen
from training.planes import Colour, Labels, Plane, Rgb, bilateral, blend, blur, closed, opened, smoothstep
from training.proportions import redraw_proportions
from training.regions import fill, rounded, segment
from training.view import View, look_at

GRADES: dict[str, Callable[[Drawing], Colour]] = {"hinata": hinata, "yoi": yoi, "sumi": sumi}

_COLOUR_WEIGHT = np.array((1, 1.4, 1.4), np.float32)  # of Lab: colour separates regions more than lightness does
_APART = 22.0  # distance of skin from all else, and of sky from all else; of a person it is 9
_IN_SKIN = 60  # units of Lab by which detail in skin must be stronger to come back
_MIN_TONE = 9  # pixels of width
_MIN_DIFFERENCE = 10.0  # of adjacent regions


def render(photo: Rgb, style: str, analysis: Analysis | None = None) -> Rgb:
    """Draw the photo in a style. Same size and type; deterministic. No analysis means no faces, people or sky."""
    return _rgb(GRADES[style](draw(photo, analysis)))


def render_all(photo: Rgb, analysis: Analysis | None = None) -> dict[str, Rgb]:
    """Draw the photo in every style; they share most of the work."""
    drawing = draw(photo, analysis)
    return {style: _rgb(grade(drawing)) for style, grade in GRADES.items()}


def draw(photo: Rgb, analysis: Analysis | None = None) -> Drawing:
    """Draw all that the styles share."""
    view = look_at(*redraw_proportions(photo, analysis or nothing_found(photo.shape[0], photo.shape[1])))
    hair = find_hair(view)
    view = replace(view, skin=with_foreheads(view.skin, hair))
    base = masses(masses(view.even, view.texture, radius=6), view.texture, radius=4)
    labels = _regions(base, view)
    toned = add_tones(fill(base, labels), labels, _lightness(base, view), _without_tones(view))
    areas = soften(toned, view.lab, view.unit)
    painted_skin, skin = paint_skin(base, view.skin, view.faces, view.roughness)
    painted = bilateral(blend(areas, painted_skin, skin), colour=7, space=1.6, size=5)
    detailed = steepen(round_edges(_with_detail(painted, view, skin), view.features))
    combed = paint_hair(detailed, view.lab, hair)
    paint, pen = draw_features(combed.paint, view.lab, view.faces)
    lines, without_hair = draw_lines(view, base, labels, skin), 1 - combed.share
    return Drawing(
        paint=paint,
        ink=np.maximum(lines.few * without_hair, combed.ink),
        ink_drawing=np.maximum(lines.many * without_hair, combed.ink),
        brush=np.maximum(lines.broad * (1 - 0.8 * combed.share), 0.5 * combed.ink),
        pen=pen,
        borders=lines.borders,
        skin=skin,
        features=view.features,
        sky=view.sky,
        night=view.night,
    )


def _regions(base: Colour, view: View) -> Labels:
    """Regions of similar colour; none is both skin and clothes, person and background, or sky and ground."""
    known = _APART * view.skin, 9 * smoothstep(view.person, 0.3, 0.7), _APART * view.sky
    features = np.dstack((base * _COLOUR_WEIGHT, *known))
    min_size = int(14 * view.unit) + 6
    return rounded(segment(features, scale=60 * view.unit, min_size=min_size, threshold=_MIN_DIFFERENCE))


def _without_tones(view: View) -> Plane:
    """The mask of what gets no tones: skin has its own, and what is out of focus is painted smoothly."""
    blurred = 1 - in_focus(view.lab[..., 0] / 100, reach=int(24 * view.unit) | 1)
    return np.maximum(view.skin, blur(blurred, 6 * view.unit))


def _lightness(base: Colour, view: View) -> Plane:
    """The lightness that tones follow: even along edges, without what is too small to be a tone of its own."""
    size, even = _MIN_TONE * view.unit, smooth_along(base[..., 0].copy(), view.flow, 6)
    return blur(closed(opened(even, size), size), 2.5 * view.unit)


def _with_detail(painted: Colour, view: View, skin: Plane) -> Colour:
    """Bring back detail that is strong or line-like: less where there is much of it, and hardly any in skin."""
    fine = smooth_along(bilateral(view.lab, colour=4.5, space=2, size=5), view.flow, 1.2)
    calm = skin * (1 - view.glasses)
    threshold = 8 - 5 * view.flow.coherence + 4 * view.texture + _IN_SKIN * calm
    return restore(painted, masses(fine, view.texture, radius=2), threshold, view.unit)


def _rgb(picture: Colour) -> Rgb:
    rgb: Rgb = (picture * 255).round().astype(np.uint8)
    return rgb
