"""Skin: where it is, its two tones, and beards. Imported by `training` only.

Source: Otsu, "A threshold selection method from gray-level histograms" (1979), for where light ends and shade begins.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.faces import BELOW_NOSE, JAW, OUTER_CORNERS, OVAL, Face, all_ovals, around_eyes, nose, tinted
from training.planes import (
    Colour,
    Floats,
    Plane,
    blend,
    blur,
    chroma,
    closed,
    erode,
    masked_blur,
    odd,
    opened,
    polygon,
    smoothstep,
    smoothstep_down,
)

_NO_GLASSES = 0.5  # of what `around_eyes` says
_FEWEST = 30  # pixels of a face to know its skin by
_FARTHEST = 4.0  # heights of a face from its middle: where its hands and shoulders end
# A beard shows from the first on, and wholly from the second: L* darker than skin, and how unlike shade it is.
_DARKER, _UNLIKE_SHADE = (4.5, 10.0), (0.75, 1.05)
_DULL = 2.0  # of L* in roughness for a chroma that falls by all of skin's
_BLACK = 16  # of L*: CIE's L* is 116 f - 16, a and b are differences of f
_LEAST_RED = 0.52  # least a for one of b, Lab: skin in green or yellow light is no olive
_DEEPEST = 18.0  # of lightness, between the two tones
_HAIRLINE = 0.12  # heights of a face that a hairline is high
_CREASE = 0.055  # heights of a face that a crease is wide at the most
_SHADOW_OF_CHIN = 0.14  # heights of a face that it is long
_IN_SHADOW = np.array((-11, 2, 1), np.float32)  # Lab, than the light tone


@dataclass(frozen=True, slots=True)
class _Complexion:
    """What the skin of a face is like: lightness, colours, and how rough it looks."""

    median: Floats  # Lab
    darkest: float
    lightest: float
    precision: Floats  # inverse covariance of a and b
    roughness: float

    @classmethod
    def of(cls, face: Face, lab: Colour, roughness: Plane) -> "_Complexion":
        """What is seen where the face is bare and no glasses are; the darkest eighth is hair or shade."""
        bare = face.bare & (around_eyes([face], roughness.shape) < _NO_GLASSES)
        pixels = lab[bare if np.count_nonzero(bare) >= _FEWEST else face.bare]
        darkest, lightest = np.percentile(pixels[:, 0], (12, 98))
        lit = pixels[pixels[:, 0] >= darkest]
        median = np.median(lit, axis=0).astype(np.float32)
        covariance = 0.8 * np.cov((lit[:, 1:] - median[1:]).T) + 5 * np.eye(2)
        precision = np.linalg.inv(covariance).astype(np.float32)
        return cls(median, float(darkest), float(lightest), precision, max(1.0, float(np.median(roughness[face.bare]))))

    def strangeness(self, lab: Colour) -> Plane:
        """The squared Mahalanobis distance of a and b; where light glances off, skin loses its colour."""
        away = lab[..., 1:] - self.median[1:]
        distance = (away @ self.precision * away).sum(-1)
        strangeness: Plane = distance / (1 + np.clip(lab[..., 0] - self.median[0] - 6, 0, 40) / 8)
        return strangeness


def find_skin(lab: Colour, faces: list[Face], person: Plane, roughness: Plane) -> Plane:
    """Find what is coloured like the skin of one of the faces and about as smooth: (H, W), 0..1."""
    found = np.zeros_like(person)
    for face in faces:
        if np.count_nonzero(face.bare) >= _FEWEST:
            found = np.maximum(found, _skin_of(face, lab, person, roughness))
    return _tidied(found, faces) if found.max() > 0 else found


def paint_skin(lab: Colour, skin: Plane, faces: list[Face], roughness: Plane) -> tuple[Colour, Plane]:
    """Paint skin in two tones with a soft edge between, given how rough the photo is (H, W) in L*.

    Returns the picture (H, W, 3) and where it was painted (H, W), 0..1.
    """
    painted, done = lab.copy(), np.zeros_like(skin)
    for face, own in zip(faces, _nearest(faces, skin.shape), strict=True):
        bare = skin * own * (1 - 0.9 * face.features)
        if np.count_nonzero(bare > 0.5) < _FEWEST or np.count_nonzero(face.bare) < _FEWEST:
            continue
        tones = _two_tones(lab, bare, face.height)
        _cast_shadow_of_chin(tones, bare, face)
        tones[..., 1] = np.maximum(tones[..., 1], _LEAST_RED * tones[..., 2])
        beard, share = _facial_hair(lab, tones, bare, face, roughness)
        painted = blend(painted, blend(tones, beard, share), skin * own)
        done = np.maximum(done, skin * own)
    return painted, done


def _skin_of(face: Face, lab: Colour, person: Plane, roughness: Plane) -> Plane:
    complexion = _Complexion.of(face, lab, roughness)
    light, strange = lab[..., 0], complexion.strangeness(lab)
    rough = roughness / complexion.roughness
    away = _distance(face, person.shape)
    alike = (
        smoothstep_down(strange, 3, 7)
        * smoothstep(light, complexion.darkest - 9, complexion.darkest - 2)
        * smoothstep_down(light, complexion.lightest + 4, complexion.lightest + 12)
        * smoothstep_down(rough, 1.3, 2.1)
    )
    median = float(complexion.median[0])
    bald = (
        smoothstep_down(strange, 2.5, 5)
        * smoothstep(light, median - 15, median - 8)
        * smoothstep_down(rough, 1.1, 1.7)
        * smoothstep_down(away, 0.75, 0.95)
    )
    body = alike * np.maximum(_below_eyes(face, person.shape), bald) * smoothstep_down(away, _FARTHEST - 1, _FARTHEST)
    # Within the oval all is skin but what is dark (a fringe, a beard) or of quite another colour.
    face_itself = (
        face.oval
        * _below_hairline(face, person.shape)
        * smoothstep_down(strange, 12, 22)
        * smoothstep(_without_creases(light, face), complexion.darkest - 20, complexion.darkest - 12)
    )
    if not face.is_turned:
        face_itself = np.maximum(face_itself, nose(face, light.shape))  # nostrils, too: they are drawn anew
    skin: Plane = np.maximum(body * smoothstep(person, 0.4, 0.7), face_itself)
    return skin


def _without_creases(light: Plane, face: Face) -> Plane:
    """Lightness without thin dark lines; above the eyes, where hair hangs, without level ones alone."""
    size = _CREASE * face.height
    upright = np.ones((odd(size), 1), np.uint8)
    level = np.asarray(cv2.morphologyEx(light, cv2.MORPH_CLOSE, upright), np.float32)
    return blend(level, closed(light, size), _below_eyes(face, light.shape))


def _below_hairline(face: Face, shape: tuple[int, ...]) -> Plane:
    """0 at the top of a face, where hair may begin, 1 from the middle of the forehead on down."""
    top, down = face.part(OVAL)[0], face.down
    rows, columns = (np.arange(length, dtype=np.float32) for length in shape)
    below = (rows[:, None] - top[1]) * down[1] + (columns - top[0]) * down[0]
    return smoothstep(below / np.float32(face.height), 0.0, _HAIRLINE)


def _below_eyes(face: Face, shape: tuple[int, ...]) -> Plane:
    """0 above the eyes, where blond hair looks like skin; 1 below."""
    eyes = float(face.part(OUTER_CORNERS)[:, 1].mean())
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    return smoothstep(rows, eyes - 0.02 * face.height, eyes + 0.06 * face.height)


def _distance(face: Face, shape: tuple[int, ...]) -> Plane:
    """How far every pixel is from the middle of a face, in heights of it."""
    x, y = face.middle
    rows, columns = (np.arange(length, dtype=np.float32) for length in shape)
    distance: Plane = np.hypot(rows[:, None] - y, columns - x).astype(np.float32) / np.float32(face.height)
    return distance


def _nearest(faces: list[Face], shape: tuple[int, ...]) -> list[npt.NDArray[np.bool_]]:
    """For each face, the pixels that it is the nearest to."""
    if len(faces) < 2:
        return [np.ones(shape, np.bool_) for _ in faces]
    nearest = np.argmin([_distance(face, shape) for face in faces], axis=0)
    return [nearest == number for number in range(len(faces))]


def _tidied(skin: Plane, faces: list[Face]) -> Plane:
    """Without specks and holes; within the faces nothing is too small to be skin."""
    height = max(face.height for face in faces)
    ovals = erode(all_ovals(faces, skin.shape), 3)
    without_specks = np.maximum(opened(skin, 0.045 * height), skin * ovals)
    return smoothstep(blur(closed(without_specks, 0.03 * height), 1.5), 0.3, 0.7)


def _two_tones(lab: Colour, bare: Plane, height: float) -> Colour:
    """The skin of a face: light and shade as the photo parts them, about their mean; evenly lit skin stays one tone."""
    smooth = masked_blur(lab[..., 0], bare, max(1.6, 0.15 * height))
    clear = bare > 0.5
    middle, difference = _otsu(smooth[clear])
    shade = 1 / (1 + np.exp(np.clip((smooth - np.float32(middle)) / np.float32(0.35 + 0.02 * difference), -30, 30)))
    depth = min(difference, _DEEPEST * float(np.tanh(difference / _DEEPEST)) + 2)
    mean = float(smooth[clear].mean())
    light = mean + float(shade[clear].mean()) * depth
    parted = 0.86 * (light - depth * shade) + 0.14 * smooth
    even = 0.55 * mean + 0.45 * masked_blur(lab[..., 0], bare, 0.12 * height)
    share = smoothstep(np.array(difference), 8.5, 13.5)
    tint = masked_blur(lab[..., 1:], bare, 0.05 * height + 1)
    return np.dstack((share * parted + (1 - share) * even, tint)).astype(np.float32)


def _cast_shadow_of_chin(tones: Colour, bare: Plane, face: Face) -> None:
    """Paint the shadow of a jaw on the neck, in place; what is darker stays as it is."""
    jaw = face.part(JAW)
    down = _SHADOW_OF_CHIN * face.height * face.down
    light = np.median(tones[bare > 0.5], axis=0)
    shape = bare.shape
    shadow = polygon(shape, np.concatenate((jaw, jaw[::-1] + down)), softness=0.006 * face.height)
    shadow *= 1 - polygon(shape, jaw, softness=0.006 * face.height)
    shaded = np.minimum(tones[..., 0], light[0] + _IN_SHADOW[0])
    tones[:] = blend(tones, np.dstack((shaded, tones[..., 1:] + _IN_SHADOW[1:])), shadow)


def _facial_hair(lab: Colour, tones: Colour, bare: Plane, face: Face, roughness: Plane) -> tuple[Colour, Plane]:
    """Beards as soft masses (H, W, 3), and their share (H, W) 0..1: what is dark below the nose, and no shade.

    Shade is smooth, and dimmed light takes as much of chroma as of L* + 16, the linear part of CIE Lab.
    """
    mass = masked_blur(lab, bare, max(1.0, 0.016 * face.height))
    skin, smoothest = np.median(lab[face.bare], axis=0), np.percentile(roughness[face.bare], 10)
    of_shade = chroma(skin) * (mass[..., 0] + _BLACK) / (skin[0] + _BLACK)
    duller = (1 - chroma(mass) / np.maximum(of_shade, 1)) * tinted(skin)
    unlike_shade = blur((roughness - smoothest + _DULL * duller).astype(np.float32), 0.06 * face.height)
    below = polygon(bare.shape, face.part(BELOW_NOSE), softness=0.012 * face.height)
    is_darker = smoothstep(tones[..., 0] - mass[..., 0], *_DARKER)
    return mass, below * is_darker * smoothstep(unlike_shade, *_UNLIKE_SHADE)


def _otsu(values: Floats) -> tuple[float, float]:
    """Where values part best into two groups, and how far the means of the two are apart."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    distance = (total[-1] - total) / np.maximum(above, 1) - total / np.maximum(below, 1)
    best = int((below * above * distance**2)[:-1].argmax())
    return float(middles[best]), float(distance[best])
