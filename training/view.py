"""The contents of a photo, found before anything is painted: edges, texture, people and sky."""

from dataclasses import dataclass

import numpy as np

from shared.photos.sizes import drawn_side
from training.analysis import Analysis
from training.faces import Face, all_features, find_faces
from training.flow import Flow, edge_flow
from training.glasses import find_frames, find_lenses
from training.planes import (
    Colour,
    Plane,
    Rgb,
    bilateral,
    blur,
    chroma,
    masked_mean,
    smoothstep,
    smoothstep_down,
    to_lab,
)
from training.skin import find_skin

SIDE = 640  # pixels of the longest side of a photo without large faces; all lengths are meant for it

_STUDIO_FACE = 0.38  # of the photo's height; with a larger face in it …
_STUDIO_SKY = 0.2  # … and more sky than this, the sky is a backdrop
_MIN_CHROMA = 4.0  # of the most colourful hundredth, in CIE Lab; a photo with less is black and white


@dataclass(frozen=True, slots=True)
class View:
    """The contents of a photo; planes are 0..1."""

    lab: Colour
    even: Colour  # without grain and the finest texture
    unit: float  # pixels of the photo for each pixel at the size at which it is drawn
    flow: Flow
    texture: Plane
    roughness: Plane  # units of L*
    faces: list[Face]
    features: Plane  # eyes, brows and mouths
    glasses: Plane  # frames, and lenses that hide the eyes
    person: Plane
    skin: Plane
    sky: Plane
    night: float  # darkness of the sky, 0..1


def look_at(photo: Rgb, analysis: Analysis) -> View:
    """Find the contents of a photo."""
    shape = photo.shape[0], photo.shape[1]
    unit = max(shape) / drawn_side(shape, SIDE, analysis.face_heights(shape[::-1]))
    lab = to_lab(photo.astype(np.float32) / 255)
    even = bilateral(lab, colour=9, space=5, times=3)
    roughness = blur(np.abs(lab[..., 0] - even[..., 0]), 5 * unit)
    faces = find_faces(analysis.faces, shape)
    lenses = find_lenses(lab, faces)
    skin = find_skin(bilateral(lab, colour=10, space=4), faces, analysis.person, blur(roughness, 2))
    sky = _sky(analysis, even)
    return View(
        lab=lab,
        even=even,
        unit=unit,
        flow=edge_flow(even[..., 0]),
        texture=smoothstep(roughness, 1.1, 2.6),
        roughness=roughness,
        faces=faces,
        features=all_features(faces, shape),
        person=analysis.person,
        glasses=np.maximum(find_frames(lab[..., 0], faces), lenses),
        skin=_beside_lenses(skin, lenses, lab[..., 0]),
        sky=sky,
        night=_night(lab[..., 0], sky),
    )


def _beside_lenses(skin: Plane, lenses: Plane, lightness: Plane) -> Plane:
    """Skin without dark lenses: without what is darker than most of the skin in the bands around the eyes."""
    seen = (skin > 0.5) & (lenses < 0.5)
    if not (seen.any() and lenses.any()):
        return skin
    usual = float(np.median(lightness[seen]))
    beside: Plane = skin * (1 - lenses * smoothstep_down(lightness, usual - 14, usual - 6))
    return beside


def _sky(analysis: Analysis, even: Colour) -> Plane:
    """The sky behind people, if there is one; nothing as red as a poppy or as green as a leaf.

    A black-and-white photo gets no painted sky.
    """
    if np.percentile(chroma(even), 99) < _MIN_CHROMA:
        return np.zeros_like(analysis.sky)
    largest = max((float(np.ptp(face[:, 1])) for face in analysis.faces), default=0.0)
    if largest > _STUDIO_FACE and analysis.sky.mean() > _STUDIO_SKY:
        return np.zeros_like(analysis.sky)
    a, b = (blur(even[..., channel], 2) for channel in (1, 2))
    possible = smoothstep_down(a + 0.4 * b, 24, 40) * smoothstep_down(0.5 * b - a, 28, 44)
    sky: Plane = smoothstep(analysis.sky, 0.35, 0.75) * smoothstep_down(analysis.person, 0.4, 0.7) * possible
    return sky


def _night(lightness: Plane, sky: Plane) -> float:
    if sky.max() <= 0.5:
        return 0.0
    return float(smoothstep_down(np.array(masked_mean(lightness, sky)), 12, 32))
