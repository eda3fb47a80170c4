"""The course of the edges in a picture: averages along it, differences across it.

Sources: Kang, Lee, Chui, "Coherent line drawing" (2007): filters that follow a flow. Kyprianidis, Döllner, "Image
abstraction by structure adaptive filtering" (2008): the flow from the smoothed structure tensor.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from training.planes import BORDER, Floats, Plane, blur, gradient

_REACH = 10  # steps along the edge from every pixel: enough for an average of length 5

Places = tuple[Plane, Plane]  # x and y to look at, for every pixel


@dataclass(frozen=True, slots=True)
class Flow:
    """Unit direction across the edges, likeness to a line (0..1), and the ways along the edges.

    `ways` are the places that lie 1, 2, … pixels along the edge from every pixel, in both directions.
    """

    x: Plane
    y: Plane
    coherence: Plane
    ways: tuple[tuple[Places, ...], tuple[Places, ...]]


def edge_flow(lightness: Plane, *, outer: float = 2.0, reach: int = _REACH) -> Flow:
    """Find the course of the edges of lightness 0..100, from its structure tensor, smoothed by `outer` pixels."""
    gx, gy = gradient(blur(lightness / 100, 0.8))
    xx, xy, yy = (blur(product, outer) for product in (gx * gx, gx * gy, gy * gy))
    difference = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    x, y = (xx - yy + difference) / 2, xy.copy()
    undecided = np.abs(x) + np.abs(y) < 1e-9
    x[undecided & (yy <= xx)] = 1
    y[undecided & (yy > xx)] = 1
    length = np.hypot(x, y) + 1e-12
    x, y = x / length, y / length
    coherence = (difference / (xx + yy + 2e-6)).astype(np.float32)
    return Flow(x, y, coherence, (_way(x, y, 1, reach), _way(x, y, -1, reach)))


def smooth_along(image: Floats, flow: Flow, length: float) -> Floats:
    """Average along the edges, Gaussian of `length` pixels: strokes become even, noise goes, edges stay."""
    total, weight = image.copy(), 1.0
    for way in flow.ways:
        for step, places in enumerate(way[: round(2 * length)], 1):
            share = float(np.exp(-(step**2) / (2 * length**2)))
            total += np.float32(share) * _at(image, places)
            weight += share
    smooth: Floats = total / np.float32(weight)
    return smooth


def difference_across(plane: Plane, flow: Flow, sigma: float, length: float) -> Plane:
    """Difference of Gaussians (sigma, 1.6 sigma) across the edges, averaged along them; negative on dark lines."""
    wide, kept = 1.6 * sigma, 0.985
    reach = np.ceil(2.4 * wide)
    offsets = np.arange(-reach, reach + 0.1, 0.5 if sigma < 1.5 else 1.0)
    near, far = (np.exp(-(offsets**2) / (2 * width**2)) for width in (sigma, wide))
    kernel = near / near.sum() - kept * far / far.sum()
    x, y = _pixels(*plane.shape)
    difference = np.zeros_like(plane)
    for offset, share in zip(offsets.astype(np.float32), kernel.astype(np.float32), strict=True):
        difference += share * _at(plane, (x + offset * flow.x, y + offset * flow.y))
    return smooth_along(difference, flow, length)


def _way(across_x: Plane, across_y: Plane, side: int, reach: int) -> tuple[Places, ...]:
    """Follow the edges from every pixel, a pixel at a time, never turning back."""
    (x, y), way = _pixels(*across_x.shape), []
    step_x, step_y = -across_y * side, across_x * side
    for _ in range(reach):
        x, y = x + step_x, y + step_y
        way.append((x, y))
        turn_x, turn_y = -_at(across_y, (x, y)), _at(across_x, (x, y))
        back = turn_x * step_x + turn_y * step_y < 0
        step_x, step_y = np.where(back, -turn_x, turn_x), np.where(back, -turn_y, turn_y)
    return tuple(way)


def _pixels(height: int, width: int) -> Places:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _at(image: Floats, places: Places) -> Floats:
    return np.asarray(cv2.remap(image, *places, cv2.INTER_LINEAR, borderMode=BORDER), np.float32)
