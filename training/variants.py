"""Pictures made of training photos: a piece of a large one, and a person of one photo before another.

What is known of the photos is carried over, so nothing has to be analysed again. Imported by `training` only.
"""

import cv2
import numpy as np
import numpy.typing as npt

from training.analysis import Analysis
from training.photos import Rgb

LARGEST_GAIN = 1.25  # of the light that a scene casts on a person
PLACED = (0.5, 1.0)  # height of a person's photo, as a share of the scene's

Plane = npt.NDArray[np.float32]


def is_sitter(analysis: Analysis) -> bool:
    """Whether a photo shows one person who can be put before another photo: large, and with some room around."""
    share = float(analysis.person.mean())
    return len(analysis.faces) == 1 and np.ptp(analysis.faces[0][:, 1]) > 0.2 and 0.2 < share < 0.75


def is_scene(analysis: Analysis) -> bool:
    """Whether a person can be put before a photo: nobody else is in it."""
    return len(analysis.faces) == 0 and float(analysis.person.mean()) < 0.02


def cut_piece(photo: Rgb, analysis: Analysis, side: int, rng: np.random.Generator) -> tuple[Rgb, Analysis]:
    """Cut a piece of the photo's proportions, `side` pixels on its longer side, somewhere."""
    share = min(1.0, side / max(photo.shape[:2]))
    height, width = (round(length * share) for length in photo.shape[:2])
    top, left = (
        int(rng.integers(0, length - part + 1)) for length, part in zip(photo.shape, (height, width), strict=False)
    )
    cut = slice(top, top + height), slice(left, left + width)
    whole = np.array((photo.shape[1], photo.shape[0]), np.float32)
    faces = (analysis.faces * whole - (left, top)) / (width, height)
    middles = faces.mean(1)
    inside = ((middles > 0) & (middles < 1)).all(1)
    return photo[cut], Analysis(faces[inside].astype(np.float32), analysis.person[cut], analysis.sky[cut])


def place_person(
    sitter: tuple[Rgb, Analysis], scene: tuple[Rgb, Analysis], rng: np.random.Generator
) -> tuple[Rgb, Analysis]:
    """Put the person of one photo before another, standing at its lower edge, in something of its light."""
    (portrait, known), (behind, around) = sitter, scene
    height, width = behind.shape[:2]
    scale = float(rng.uniform(*PLACED)) * height / portrait.shape[0]
    shift = float(rng.uniform(0, 1)) * (width - scale * portrait.shape[1]), height - scale * portrait.shape[0]
    matrix = np.array(((scale, 0, shift[0]), (0, scale, shift[1])), np.float32)
    opacity = _opacity(known.person)
    coloured = _lit(_without_backdrop(portrait, opacity), opacity, behind)
    moved = np.asarray(cv2.warpAffine(coloured, matrix, (width, height), flags=cv2.INTER_AREA), np.float32)
    mask = np.asarray(cv2.warpAffine(opacity, matrix, (width, height), flags=cv2.INTER_AREA), np.float32)
    picture = behind * (1 - mask[..., None]) + moved * mask[..., None]
    size = np.array((portrait.shape[1], portrait.shape[0]), np.float32)
    faces = (known.faces * size * scale + shift) / np.array((width, height), np.float32)
    together = Analysis(faces.astype(np.float32), np.maximum(mask, around.person), around.sky * (1 - mask))
    return np.clip(picture, 0, 255).round().astype(np.uint8), together


def _opacity(person: Plane) -> Plane:
    """The mask drawn in a little, so that nothing of the backdrop comes along."""
    inner = np.asarray(cv2.erode(person, np.ones((3, 3), np.uint8)), np.float32)
    return np.asarray(np.clip((inner - 0.4) / 0.5, 0, 1), np.float32)


def _without_backdrop(portrait: Rgb, opacity: Plane) -> Plane:
    """The portrait, with the colour of what is surely the person spread over the edge, where the backdrop shines."""
    sure = (opacity > 0.98).astype(np.float32)
    spread = max(2.0, 0.012 * max(portrait.shape[:2]))
    near = cv2.GaussianBlur(portrait * sure[..., None], (0, 0), spread)
    weight = cv2.GaussianBlur(sure, (0, 0), spread)[..., None]
    edge = near / np.maximum(weight, 1e-3)
    return np.asarray(np.where((sure[..., None] > 0) | (weight < 0.02), portrait, edge), np.float32)


def _lit(portrait: Plane, opacity: Plane, scene: Rgb) -> Plane:
    """The person in light of the scene's colour and strength, as far as that goes without another face."""
    person = (portrait * opacity[..., None]).sum((0, 1)) / max(float(opacity.sum()), 1.0)
    gain = (scene.reshape(-1, 3).mean(0) / np.maximum(person, 1)) ** 0.35
    return np.asarray(portrait * np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN), np.float32)
