"""Pictures as planes of numbers, and the operations that all steps of the rendered target share.

Colours are CIE Lab: lightness 0..100, a and b about -100..100.
"""

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]  # in practice float32
Plane = Floats  # (H, W)
Colour = Floats  # (H, W, 3)
Points = Floats  # (N, 2), x and y in pixels
Labels = npt.NDArray[np.int32]  # (H, W), the number of the region that a pixel is in
Rgb = npt.NDArray[np.uint8]  # (H, W, 3)

BORDER = cv2.BORDER_REFLECT_101

_SHIFT = 4  # cv2 draws polygons at 1/16 of a pixel


def to_lab(rgb: Colour) -> Colour:
    """CIE Lab of colours 0..1."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab), np.float32)


def to_rgb(lab: Colour) -> Colour:
    """Colours 0..1 of CIE Lab."""
    return np.clip(np.asarray(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB), np.float32), 0, 1)


def blur(image: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=BORDER), np.float32)


def shrunk(image: Floats, size: tuple[int, int]) -> Floats:
    """The image at a smaller size, (width, height)."""
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def masked_blur(image: Floats, mask: Plane, sigma: float) -> Floats:
    """Blur what lies under a mask as if there were nothing else; computed at a smaller size, as it is smooth."""
    shrink = max(1, int(sigma // 3))
    height, width = mask.shape
    small = max(2, width // shrink), max(2, height // shrink)
    weight = blur(shrunk(mask, small), sigma / shrink) + np.float32(1e-3)
    total = blur(shrunk(image * _over(mask, image), small), sigma / shrink)
    mean = total / _over(weight, image)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def masked_mean(plane: Plane, mask: Plane) -> float:
    return float((plane * mask).sum() / (mask.sum() + 1e-3))


def bilateral(lab: Colour, *, colour: float, space: float, size: int = 9, times: int = 1) -> Colour:
    """Blur what differs little in colour and leave edges (Tomasi, Manduchi, "Bilateral filtering", 1998)."""
    for _ in range(times):
        lab = np.asarray(cv2.bilateralFilter(lab, size, colour, space, borderType=BORDER), np.float32)
    return lab


def chroma(lab: Floats) -> Floats:
    """The distance of colours (…, 3) from grey."""
    colourfulness: Floats = np.hypot(lab[..., 1], lab[..., 2])
    return colourfulness


def gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Change per pixel in x and in y."""
    x, y = (cv2.Scharr(plane, cv2.CV_32F, *axis, borderType=BORDER) / 32 for axis in ((1, 0), (0, 1)))
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def dilate(image: Floats, size: int) -> Floats:
    """The maximum of each channel within a square of `size` pixels."""
    return np.asarray(cv2.dilate(image, np.ones((size, size), np.uint8)), np.float32)


def erode(image: Floats, size: int) -> Floats:
    """The minimum of each channel within a square of `size` pixels."""
    return np.asarray(cv2.erode(image, np.ones((size, size), np.uint8)), np.float32)


def opened(plane: Plane, size: float) -> Plane:
    """The plane (H, W) without peaks narrower than a disc of `size` pixels, at least 3."""
    return np.asarray(cv2.morphologyEx(plane, cv2.MORPH_OPEN, _disc(size)), np.float32)


def closed(plane: Plane, size: float) -> Plane:
    """The plane (H, W) without pits narrower than a disc of `size` pixels, at least 3."""
    return np.asarray(cv2.morphologyEx(plane, cv2.MORPH_CLOSE, _disc(size)), np.float32)


def smoothstep(values: Floats, low: float | Plane, high: float | Plane) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - np.asarray(low, np.float32)) / np.asarray(high - low, np.float32), 0, 1)
    smooth: Floats = (t * t * (3 - 2 * t)).astype(np.float32)
    return smooth


def smoothstep_down(values: Floats, low: float, high: float) -> Floats:
    """The complement of `smoothstep`: 1 below `low`, 0 above `high`."""
    return 1 - smoothstep(values, low, high)


def blend(image: Floats, other: Floats, share: Plane) -> Floats:
    """Mix an image with another: `share` (H, W), 0..1, of the other."""
    of_other = _over(share, image)
    both: Floats = (image * (1 - of_other) + other * of_other).astype(np.float32)
    return both


def polygon(shape: tuple[int, int], points: Points, softness: float = 0.0) -> Plane:
    """1 inside the points, 0 outside; `softness` pixels blur its edge."""
    mask = np.zeros(shape, np.uint8)
    corners = np.round(points * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, _SHIFT)
    plane = mask.astype(np.float32) / 255
    return blur(plane, softness) if softness > 0 else plane


def _over(plane: Plane, image: Floats) -> Floats:
    """The plane in a shape that can be multiplied with the image."""
    return plane[..., None] if image.ndim == 3 else plane


def odd(size: float, least: int = 3) -> int:
    """The size in whole pixels, odd as kernels must be."""
    return max(least, int(size) | 1)


def _disc(size: float) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd(size), odd(size))), np.uint8)
