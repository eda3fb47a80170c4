"""Finding skin."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.beards import BLACK
from training.faces import JAW, OUTER_CORNERS, OVAL, Face, all_ovals, around_eyes, nose
from training.planes import (
    Colour,
    Floats,
    Plane,
    blend,
    blur,
    closed,
    erode,
    odd,
    opened,
    polygon,
    smoothstep,
    smoothstep_down,
)

_NO_GLASSES = 0.5  # of `around_eyes`
MIN_PIXELS = 30  # of a face, to know its skin by
_EARS = 0.62, 0.75  # heights of a face from its middle to the ends of its ears
_MAX_REACH = 4.0  # heights of a face from its middle to the farthest hands and shoulders
_HAIRLINE = 0.12  # heights of a face
_CREASE = 0.055  # heights of a face: the maximum width of a crease
_SPECK, _HOLE, _PIECE = 0.08, 0.03, 0.32  # heights of a face: the size of what is tidied away
_NECK = 0.7, 0.45  # its width below, of the jaw's; its length in heights of the face


@dataclass(frozen=True, slots=True)
class _Complexion:
    """The skin of a face: its lightness, its colours, and its roughness."""

    median: Floats  # Lab
    darkest: float
    lightest: float
    precision: Floats  # inverse covariance of a and b
    roughness: float

    @classmethod
    def of(cls, face: Face, lab: Colour, roughness: Plane) -> "_Complexion":
        """Measure a face where it is bare and free of glasses; the darkest eighth counts as hair or shade."""
        bare = face.bare & (around_eyes([face], roughness.shape) < _NO_GLASSES)
        bare &= _below_eyes(face, roughness.shape) > 0.5  # a fringe may hang over the forehead
        pixels = lab[bare if np.count_nonzero(bare) >= MIN_PIXELS else face.bare]
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
    """Find what has the colour of one of the faces' skin and is about as smooth: (H, W), 0..1."""
    found = np.zeros_like(person)
    for face in faces:
        if np.count_nonzero(face.bare) >= MIN_PIXELS:
            found = np.maximum(found, _skin_of(face, lab, person, roughness))
    return _tidied(found, faces) if found.max() > 0 else found


def _skin_of(face: Face, lab: Colour, person: Plane, roughness: Plane) -> Plane:
    complexion = _Complexion.of(face, lab, roughness)
    light, strange = lab[..., 0], complexion.strangeness(lab)
    rough = roughness / complexion.roughness
    away = distance(face, person.shape)
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
    alike = np.maximum(alike, _in_shade_of_chin(face, lab, complexion) * smoothstep_down(rough, 1.6, 2.4))
    below_eyes = _below_eyes(face, person.shape)
    near = np.maximum(smoothstep_down(away, *_EARS), _below_chin(face, person.shape))  # a hat is beside the eyes
    body = alike * np.maximum(below_eyes * near, bald) * smoothstep_down(away, _MAX_REACH - 1, _MAX_REACH)
    # Within the oval everything is skin, except what is dark (a fringe, a beard) or has quite another colour.
    face_itself = (
        face.oval
        * _below_hairline(face, person.shape)
        * smoothstep_down(strange, 12, 22)
        * smoothstep(without_creases(light, face) - complexion.darkest, -13 - 17 * below_eyes, -6 - 15 * below_eyes)
    )
    if not face.is_turned:
        face_itself = np.maximum(face_itself, nose(face, light.shape))  # nostrils, too: they are drawn anew
    skin: Plane = np.maximum(body * smoothstep(person, 0.4, 0.7), face_itself)
    return skin


def _in_shade_of_chin(face: Face, lab: Colour, complexion: _Complexion) -> Plane:
    """The neck (H, W), however dark: coloured like skin in shade, which dims its chroma, too."""
    jaw, (wide, long) = face.part(JAW[3:-3]), _NECK
    collar = face.middle + wide * (jaw - face.middle) + long * face.height * face.down
    within = polygon(lab.shape[:2], np.concatenate((jaw, collar[::-1])), softness=0.03 * face.height)
    dimmed = (lab[..., 0] + BLACK) / (complexion.median[0] + BLACK)
    away = lab[..., 1:] / np.maximum(dimmed, 0.3)[..., None] - complexion.median[1:]
    strangeness = (away @ complexion.precision * away).sum(-1)
    return (
        within
        * smoothstep_down(strangeness, 4, 9)
        * smoothstep(dimmed, 0.3, 0.45)
        * smoothstep_down(dimmed, 1.05, 1.15)
    )


def without_creases(light: Plane, face: Face) -> Plane:
    """Lightness without thin dark lines; above the eyes, where hair hangs, only level ones are removed."""
    size = _CREASE * face.height
    upright = np.ones((odd(size), 1), np.uint8)
    level = np.asarray(cv2.morphologyEx(light, cv2.MORPH_CLOSE, upright), np.float32)
    return blend(level, closed(light, size), _below_eyes(face, light.shape))


def _below_hairline(face: Face, shape: tuple[int, ...]) -> Plane:
    """0 at the top of a face, where hair may begin, 1 from the middle of the forehead downwards."""
    top, down = face.part(OVAL)[0], face.down
    rows, columns = (np.arange(length, dtype=np.float32) for length in shape)
    below = (rows[:, None] - top[1]) * down[1] + (columns - top[0]) * down[0]
    return smoothstep(below / np.float32(face.height), 0.0, _HAIRLINE)


def _below_eyes(face: Face, shape: tuple[int, ...]) -> Plane:
    """0 above the eyes, where blond hair looks like skin; 1 below."""
    eyes = float(face.part(OUTER_CORNERS)[:, 1].mean())
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    return smoothstep(rows, eyes - 0.02 * face.height, eyes + 0.06 * face.height)


def _below_chin(face: Face, shape: tuple[int, ...]) -> Plane:
    """0 above the mouth, 1 below the chin."""
    lowest = float(face.part(OVAL)[:, 1].max())
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    return smoothstep(rows, lowest - 0.2 * face.height, lowest)


def distance(face: Face, shape: tuple[int, ...]) -> Plane:
    """The distance of every pixel from the middle of a face, in heights of the face."""
    x, y = face.middle
    rows, columns = (np.arange(length, dtype=np.float32) for length in shape)
    distance: Plane = np.hypot(rows[:, None] - y, columns - x).astype(np.float32) / np.float32(face.height)
    return distance


def _tidied(skin: Plane, faces: list[Face]) -> Plane:
    """Skin without specks and holes; within the faces nothing is too small to be skin."""
    height = max(face.height for face in faces)
    ovals = erode(all_ovals(faces, skin.shape), 3)
    without_specks = np.maximum(opened(skin, _SPECK * height), skin * ovals)
    tidied = smoothstep(blur(closed(without_specks, _HOLE * height), 1.5), 0.3, 0.7)
    return tidied * _in_large_pieces(tidied, ovals, (_PIECE * height) ** 2)


def _in_large_pieces(skin: Plane, ovals: Plane, least: float) -> Plane:
    """1 where skin is part of a face or a piece of `least` pixels, as hands are; smaller pieces are clothes or hair."""
    _, pieces, stats, _ = cv2.connectedComponentsWithStats((skin > 0.02).astype(np.uint8))
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[np.unique(pieces[(ovals > 0.5) & (skin > 0.5)])] = True
    large[0] = False
    kept: Plane = large.astype(np.float32)[pieces]
    return kept
