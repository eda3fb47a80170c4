"""The proportions of faces in anime: large eyes, a small nose and mouth, a slim jaw.

The photo is warped before it is analysed, so what is drawn over it fits.
"""

from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import numpy.typing as npt

from training.analysis import Analysis
from training.eyes import Eye, eyes_of
from training.faces import CHIN, LIPS, MIN_FACE_HEIGHT, NOSE, OUTER_CORNERS, skin_at
from training.planes import BORDER, Colour, Floats, Points, Rgb, smoothstep_down, to_lab
from training.strokes import window

# Growth, across and along the face: to about 1 / (1 - this) of the size.
_EYE = np.array((0.22, 0.3), np.float32)
_LARGE = 0.085, 0.13  # opening of an eye in heights of the face: above the first it grows less, above the second not
_EYE_REACH = 1.15  # widths of an eye
# The same for the nose, the mouth and the jaw, with their reach in heights of the face.
_OTHERS = (
    (NOSE, np.array((-0.1, -0.05), np.float32), 0.2),
    (LIPS, np.array((-0.05, -0.03), np.float32), 0.26),
    (CHIN, np.array((-0.07, 0.0), np.float32), 0.62),
)


@dataclass(frozen=True, slots=True)
class _Scaling:
    """Growth, or shrinking, of what is within `reach` pixels of a point, along two axes (2, 2) of length 1.

    It is `growth` in the middle and fades out like Tukey's biweight.
    """

    middle: Points
    axes: Points
    growth: Points
    reach: float

    @classmethod
    def of_eye(cls, eye: Eye, face_height: float) -> Self:
        """Enlarge an eye, less the larger it is."""
        growth = _EYE * smoothstep_down(np.array(eye.opening / face_height), *_LARGE)
        return cls(eye.middle, np.stack((eye.outwards, eye.up)), growth, _EYE_REACH * eye.width)

    def shift(self, points: Points) -> Points:
        """The distance, x and y, by which points (…, 2) are read closer to the middle than they are shown."""
        offset = points - self.middle
        squares = np.square(offset).sum(-1, keepdims=True)
        fading = np.clip(1 - squares / np.float32(self.reach**2), 0, 1) ** 2
        shift: Points = (offset @ self.axes.T * self.growth) @ self.axes * fading
        return shift


def redraw_proportions(photo: Rgb, analysis: Analysis) -> tuple[Rgb, Analysis]:
    """Warp the faces of a photo (H, W, 3), and the points of their meshes and the masks along."""
    if not len(analysis.faces):
        return photo, analysis
    height, width = photo.shape[:2]
    size = np.array((width, height), np.float32)
    lab = to_lab(photo.astype(np.float32) / 255)
    places = np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))
    sources = places.copy()
    meshes = [mesh.astype(np.float32) * size for mesh in analysis.faces]
    scalings = [_scalings(mesh, lab) for mesh in meshes]
    for scaling in (scaling for of_face in scalings for scaling in of_face):
        near = window(scaling.middle[None], scaling.reach + 2, sources)
        sources[near] -= scaling.shift(places[near])
    shown = [_shown(mesh, of_face) / size for mesh, of_face in zip(meshes, scalings, strict=True)]

    def warped(image: Floats | Rgb, method: int) -> npt.NDArray[Any]:
        return np.asarray(cv2.remap(image, sources[..., 0], sources[..., 1], method, borderMode=BORDER), image.dtype)

    person, sky = (warped(mask, cv2.INTER_LINEAR) for mask in (analysis.person, analysis.sky))
    found = Analysis(np.stack(shown).astype(np.float32), person, sky)
    return np.asarray(warped(photo, cv2.INTER_CUBIC), np.uint8), found


def _scalings(points: Points, lab: Colour) -> list[_Scaling]:
    """The scalings of a face, given the points of its mesh in pixels and the photo."""
    height = float(np.ptp(points[:, 1]))
    if height < MIN_FACE_HEIGHT:
        return []
    skin = skin_at(points, lab)
    eyes = [_Scaling.of_eye(eye, height) for eye in eyes_of(points) if eye.is_seen(lab, skin)]
    axes = _axes(points)
    others = [_Scaling(points[list(part)].mean(0), axes, growth, reach * height) for part, growth, reach in _OTHERS]
    return eyes + others


def _axes(points: Points) -> Points:
    """Across a face and along it, (2, 2)."""
    left, right = points[list(OUTER_CORNERS)]
    x, y = (right - left) / np.float32(max(float(np.linalg.norm(right - left)), 1e-3))
    return np.array(((x, y), (-y, x)), np.float32)


def _shown(points: Points, scalings: list[_Scaling]) -> Points:
    """Places where points (N, 2) are shown: solves shown - shift(shown) = points by fixed-point iteration."""
    shown = points.copy()
    for _ in range(16):
        shown = points + np.sum([scaling.shift(shown) for scaling in scalings], axis=0)
    return shown
