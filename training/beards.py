"""Beards: where they are, and their paint."""

import cv2
import numpy as np

from training.faces import BELOW_NOSE, BELOW_NOSTRILS, CORNERS_OF_MOUTH, LIPS, UPPER_LIP, Face, tinted
from training.planes import (
    Colour,
    Plane,
    blur,
    chroma,
    dilate,
    masked_blur,
    masked_mean,
    odd,
    opened,
    polygon,
    smoothstep,
)

BLACK = 16  # of L*: CIE's L* is 116 f - 16, a and b are differences of f
# A beard begins to show at the first, and shows fully at the second: L* darker than skin; its unlikeness to shade.
_DARKER, _UNLIKE_SHADE = (4.5, 10.0), (1.3, 1.8)
_GREY_BEARD = 2.0, 2.6  # the same for one that is no darker than skin
_DULL = 2.0  # of L*: the roughness for which a complete loss of chroma counts
_STRANDS = 0.6  # of the difference between a beard and its mass
_GREYER = 0.8  # share of chroma removed from a grey beard, which gets some from the skin below it
_MIN_DARKER, _MOUSTACHE = 3.5, (2.5, 7.0)  # of L*, than skin
_NO_SHADE = 0.0, 0.12  # of chroma, less than equally dark shade has
_FOLD = 0.06  # heights of a face: the maximum width of a fold beside a mouth


def facial_hair(lab: Colour, tones: Colour, bare: Plane, face: Face, roughness: Plane) -> tuple[Colour, Plane]:
    """Beards as soft masses (H, W, 3), and their share (H, W) 0..1: what is dark below the nose, and no shade.

    Shade is smooth, and dimmed light takes as much of chroma as of L* + 16, the linear part of CIE Lab.
    """
    mass = masked_blur(lab, bare, max(1.0, 0.016 * face.height))
    skin, smoothest = np.median(lab[face.bare], axis=0), np.percentile(roughness[face.bare], 10)
    of_shade = chroma(skin) * (mass[..., 0] + BLACK) / (skin[0] + BLACK)
    duller = (1 - chroma(mass) / np.maximum(of_shade, 1)) * tinted(skin)
    unlike_shade = blur((roughness - smoothest + _DULL * duller).astype(np.float32), 0.06 * face.height)
    below = polygon(bare.shape, face.part(BELOW_NOSE), softness=0.012 * face.height)
    below *= 1 - polygon(bare.shape, face.part(LIPS))
    is_darker = smoothstep(tones[..., 0] - mass[..., 0], *_DARKER)
    found = below * np.maximum(
        is_darker * smoothstep(unlike_shade, *_UNLIKE_SHADE), smoothstep(unlike_shade, *_GREY_BEARD)
    )
    found = np.maximum(opened(found, _FOLD * face.height), _moustache(tones[..., 0] - mass[..., 0], duller, face))
    strands = lab + _STRANDS * (lab - mass)
    strands[..., 1:] *= 1 - _GREYER * np.clip(duller, 0, 1)[..., None]
    return strands, found if face.is_turned else np.minimum(found, _mirrored(found, face))


def _moustache(darker: Plane, duller: Plane, face: Face) -> Plane:
    """The moustache (H, W): darker and duller than skin, at both ends too; the shade of a nose is not."""
    left, right = face.part(CORNERS_OF_MOUTH)
    top, bottom = face.part(BELOW_NOSTRILS), face.part(UPPER_LIP)
    softness = 0.008 * face.height
    ends = [
        polygon(darker.shape, np.concatenate((corner[None], top[nostril][None], bottom[lip])), softness)
        for corner, nostril, lip in ((left, -1, slice(0, 3)), (right, 0, slice(-3, None)))
    ]
    if min(masked_mean(darker, end) for end in ends) < _MIN_DARKER:
        return np.zeros_like(darker)
    between = polygon(darker.shape, np.concatenate((left[None], bottom, right[None], top)), softness)
    moustache: Plane = between * smoothstep(darker, *_MOUSTACHE) * smoothstep(blur(duller, softness), *_NO_SHADE)
    return moustache


def _mirrored(plane: Plane, face: Face) -> Plane:
    """A plane (H, W) mirrored at the middle of a face, and a little grown."""
    middle, down = face.part(CORNERS_OF_MOUTH).mean(0), face.down
    turned = 2 * np.outer(down, down) - np.eye(2)
    matrix = np.column_stack((turned, middle - turned @ middle)).astype(np.float32)
    mirrored = cv2.warpAffine(plane, matrix, plane.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return dilate(np.asarray(mirrored, np.float32), odd(0.04 * face.height))
