"""The paint of a picture: masses instead of texture, tones within regions, and detail that must not get lost.

Sources: Papari, Petkov, Campisi, "Artistic edge and corner enhancing smoothing" (2007), and Kyprianidis, Kang, Döllner,
"Image and video abstraction by anisotropic Kuwahara filtering" (2009): the Kuwahara filter of soft sectors, and their
weights.
"""

import cv2
import numpy as np

from training.flow import edge_flow, smooth_along
from training.planes import (
    BORDER,
    Colour,
    Labels,
    Plane,
    blend,
    blur,
    dilate,
    erode,
    gradient,
    smoothstep,
    smoothstep_down,
)
from training.regions import spread

_SECTORS = 8
_SHADE = np.array((0, 1.5, -4), np.float32)  # added to a colour in full shadow: shadows are cooler
_MAX_LOSS = 25.0  # units of Lab that one pixel may contribute to the loss around it
_CROWDED = 0.8  # added to the threshold for each unit of Lab that is lost around a pixel
_QUIETER = 0.65  # share of the threshold that is dropped where hardly anything was lost
_RESTORED = 1.15  # times what was lost: strokes come out clearer than before
_STEEPER = 1.8  # times as steep as a border was


def soft_kuwahara(image: Colour, radius: int, *, sharpness: int = 8, sensitivity: float = 40) -> Colour:
    """The mean of eight soft sectors, each weighted by its uniformity. Values of about 0..1."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    angle, disc = np.arctan2(dy, dx), np.exp(-(dx * dx + dy * dy) / (2 * (radius / 2) ** 2))
    squares, total = image * image, np.zeros_like(image)
    weight = np.zeros((*image.shape[:2], 1), np.float32)
    for sector in range(_SECTORS):
        off_axis = np.angle(np.exp(1j * (angle - sector * 2 * np.pi / _SECTORS)))
        kernel = disc * np.clip(np.cos(off_axis), 0, None) ** 4
        kernel[radius, radius] = 1
        kernel = (kernel / kernel.sum()).astype(np.float32)
        mean = cv2.filter2D(image, -1, kernel, borderType=BORDER)
        variance = cv2.filter2D(squares, -1, kernel, borderType=BORDER) - mean * mean
        deviation = np.sqrt(np.abs(variance).sum(2, keepdims=True))
        share = 1 / (1 + (sensitivity * deviation) ** sharpness)
        total, weight = total + mean * share, weight + share
    return np.asarray(total / weight, np.float32)


def masses(lab: Colour, texture: Plane, radius: int) -> Colour:
    """Paint brush-like masses, about `radius` pixels large, where there is texture: foliage, ground, fur."""
    return blend(lab, soft_kuwahara(lab / 100, radius) * 100, texture)


def add_tones(filled: Colour, labels: Labels, lightness: Plane, without: Plane) -> Colour:
    """Give regions up to two tones of shadow and one of light, where they are darker or lighter than their fill.

    The more a region's lightness varies, the greater the difference must be; where the fill is dark, little is enough.
    There are none where `without` is 1.
    """
    difference = lightness - filled[..., 0]
    needed = np.clip(0.9 * spread(difference, labels), 4.2, 14) * (0.5 + 0.5 * smoothstep(filled[..., 0], 0, 55))
    softness = 1.4 + 0.1 * needed
    shadow, deep_shadow, light = (
        smoothstep((side * difference - share * needed) / softness, -0.5, 0.5)
        for side, share in ((-1, 1.0), (-1, 2.3), (1, 1.15))
    )
    depth = np.clip(1.35 * needed, 5, 18)
    tone = depth * (0.95 * light - shadow - 0.8 * deep_shadow) * (1 - without)
    painted = filled + np.clip(-tone / 14, 0, 1)[..., None] * _SHADE
    painted[..., 0] += tone
    return np.asarray(painted, np.float32)


def soften(painted: Colour, photo: Colour, unit: float) -> Colour:
    """Blend areas into each other where the photo has no edge between them: a crisp border there looks like camouflage.

    The photo has no edge where its lightness is less than about half as steep as that of the painting.
    """
    painted_edge, photo_edge = (
        dilate(np.hypot(*gradient(lab[..., 0])), 5) for lab in (painted, blur(photo, 0.8 * unit))
    )
    unfounded = smoothstep_down(photo_edge / (painted_edge + np.float32(0.3)), 0.35, 0.6)
    soft = unfounded * smoothstep(painted_edge, 0.4, 1.2)
    return blend(painted, blur(painted, 5 * unit), blur(dilate(soft, 7), 2 * unit))


def restore(painted: Colour, detail: Colour, threshold: Plane, unit: float) -> Colour:
    """Bring back what the paint lost, where it is stronger than the threshold: text, wires, eyes, jewellery.

    Where much was lost around a pixel (fur, grass), less of it comes back; where little was (calm water), more.
    """
    lost = detail - painted
    strength = np.sqrt(np.square(blur(lost, 0.7)).sum(2))
    crowd = blur(np.minimum(strength, _MAX_LOSS), 9 * unit)
    quiet = smoothstep_down(crowd, 0.5, 3)
    threshold = threshold * (1 - _QUIETER * quiet) + _CROWDED * np.clip(crowd - 3, 0, 9)
    kept = strength**4 / (strength**4 + threshold**4)
    restored: Colour = painted + _RESTORED * lost * kept[..., None]
    return restored


def round_edges(painted: Colour, features: Plane) -> Colour:
    """Make edges crisp and rounded: smooth along the painting's own edges, except the features of faces."""
    flow = edge_flow(painted[..., 0], outer=1.5, reach=3)
    return blend(smooth_along(painted, flow, 1.6), painted, features)


def steepen(painted: Colour) -> Colour:
    """Steepen borders: move each pixel away from the midpoint of minimum and maximum around it, but not past either.

    Source: Kramer, Bruckner, "Iterations of a non-linear transformation for enhancement of digital images" (1975).
    """
    most, least = dilate(painted, 3), erode(painted, 3)
    middle, room = (most + least) / 2, (most - least) / 2
    return np.asarray(middle + np.clip(_STEEPER * (painted - middle), -room, room), np.float32)
