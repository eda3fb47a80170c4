"""The rendered target of a style: what the generator is taught to make of a photo. Imported by `training` only.

Everything here is local (a pixel of the target depends on the photo within about 60 pixels, mostly within 20) and works
at a fixed size in pixels, so a small convolutional network that sees a crop can learn it.

Sources: Kang, Lee, Chui, "Coherent line drawing" (2007): lines along a flow. Kyprianidis, Döllner, "Image abstraction
by structure adaptive filtering" (2008): the flow from the smoothed structure tensor. Papari, Petkov, Campisi, "Artistic
edge and corner enhancing smoothing" (2007), and Kyprianidis, Kang, Döllner, "Image and video abstraction by anisotropic
Kuwahara filtering" (2009): the Kuwahara filter of soft sectors, and their weights. Tomasi, Manduchi, "Bilateral
filtering" (1998). Winnemöller, Olsen, Gooch, "Real-time video abstraction" (2006): soft luminance steps whose sharpness
follows the gradient. Winnemöller, "XDoG" (2011): the thresholded difference of Gaussians. He, Sun, Tang, "Guided image
filtering" (2010).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]  # in practice float32
Plane = Floats  # (H, W)
Colour = Floats  # (H, W, 3)
Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Flow = tuple[Plane, Plane, Plane]  # unit direction across the edge (x, y), and how line-like the place is, 0..1

BORDER = cv2.BORDER_REFLECT_101


@dataclass(frozen=True, slots=True)
class Grade:
    """The colours of a style. Tints are (a, b) of CIE Lab, lightness runs 0..100."""

    gain: float  # of chroma, for greys; strong colours are pushed less
    gamma: float  # of lightness; below 1 lifts the middle
    lift: float  # added to the middle of the lightness
    lights: tuple[float, float]
    shadows: tuple[float, float]
    line: tuple[float, float, float]  # what a line multiplies the colour under it by, RGB
    steps: int  # cel tones from black to white
    hardness: float  # of a step's edge, 0..1
    ink: float = 1.0  # how readily a fine line is drawn: 2 draws lines half as strong
    white: float = 1.0  # how light white is, 0..1: evening has no white


GRADES = {
    "hinata": Grade(
        gain=1.9,
        gamma=0.76,
        lift=6.0,
        lights=(1.0, 7.0),
        shadows=(4.0, -15.0),
        line=(0.14, 0.08, 0.16),
        steps=6,
        hardness=0.9,
        ink=1.3,
    ),
    "yoi": Grade(
        gain=1.5,
        gamma=0.95,
        lift=0.0,
        lights=(13.0, 2.0),
        shadows=(20.0, -46.0),
        white=0.93,
        line=(0.10, 0.06, 0.24),
        steps=5,
        hardness=0.9,
        ink=1.2,
    ),
    "sumi": Grade(
        gain=0.62,
        gamma=0.60,
        lift=9.0,
        lights=(0.5, 5.0),
        shadows=(1.0, -3.0),
        line=(0.05, 0.05, 0.07),
        steps=4,
        hardness=0.95,
        ink=2.2,
    ),
}


def render(photo: Rgb, style: str) -> Rgb:
    """Draw the photo in a style. Same size and type; deterministic."""
    grade = GRADES[style]
    source = photo.astype(np.float32) / 255
    lab = _converted(source, cv2.COLOR_RGB2Lab)
    flow = edge_flow(lab[..., 0])
    cels = paint_cels(lab)
    drawn = cel_tones(cels, grade) + lost_features(cels, even_strokes(lab, flow), flow)
    coloured = _converted(colour_grade(drawn, grade), cv2.COLOR_Lab2RGB)
    inked = ink_lines(coloured, lines(lab[..., 0], flow, grade.ink), grade)
    result: Rgb = (np.clip(inked, 0, 1) * 255).round().astype(np.uint8)
    return result


def blur(image: Plane, sigma: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=BORDER), np.float32)


def edge_flow(lightness: Plane, inner: float = 0.8, outer: float = 1.6) -> Flow:
    """Direction across the edges, from the smoothed structure tensor of lightness 0..100."""
    smooth = blur(lightness / 100, inner)
    gx = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, borderType=BORDER) / 32
    gy = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, borderType=BORDER) / 32
    xx, xy, yy = (blur(product, outer) for product in (gx * gx, gx * gy, gy * gy))
    difference = np.sqrt((xx - yy) ** 2 + 4 * xy * xy)
    x, y = (xx - yy + difference) / 2, xy.copy()
    flat = np.abs(x) + np.abs(y) < 1e-9
    x[flat & (yy <= xx)], y[flat & (yy > xx)] = 1, 1
    norm = np.hypot(x, y) + 1e-12
    coherence = difference / (xx + yy + 2e-6)
    return x / norm, y / norm, coherence.astype(np.float32)


def smooth_along(image: Floats, flow: Flow, length: float) -> Floats:
    """Average along the edges, Gaussian of `length` pixels: strokes become even, noise goes, edges stay."""
    across_x, across_y, _ = flow
    height, width = across_x.shape
    x0, y0 = _positions(height, width)
    total, weight = image.copy(), 1.0
    for side in (1, -1):
        x, y, step_x, step_y = x0, y0, -across_y * side, across_x * side
        for i in range(1, round(2 * length) + 1):
            x, y = x + step_x, y + step_y
            share = float(np.exp(-(i**2) / (2 * length**2)))
            total, weight = total + share * _sample(image, x, y), weight + share
            turn_x, turn_y = -_sample(across_y, x, y), _sample(across_x, x, y)
            sign = np.where(turn_x * step_x + turn_y * step_y < 0, -1, 1).astype(np.float32)
            step_x, step_y = turn_x * sign, turn_y * sign
    return (total / np.float32(weight)).astype(np.float32)


def even_strokes(lab: Colour, flow: Flow) -> Colour:
    """The photo with its strokes smoothed along their course; corners and crossings (text, eyes) are left alone."""
    share = np.square(flow[2])[..., None]
    evened: Colour = lab * (1 - share) + smooth_along(lab, flow, length=1.5) * share
    return evened


def paint_cels(lab: Colour) -> Colour:
    """Flat cels with crisp edges; where the photo only shades smoothly (sky, skin) its gradient stays smooth."""
    cels = soft_kuwahara(soft_kuwahara(lab / 100, 4), 5) * 100
    for _ in range(2):
        cels = np.asarray(cv2.bilateralFilter(cels, 9, 6, 5, borderType=BORDER), np.float32)
    gradient = _guided_ramp(lab)
    roughness = np.sqrt(blur(np.square(lab - gradient).sum(2), 3.0))
    rough = _rise(roughness, 2.0, 5.0)[..., None]
    painted: Colour = cels * rough + gradient * (1 - rough)
    return painted


def soft_kuwahara(image: Colour, radius: int, sharpness: int = 8) -> Colour:
    """The mean of eight soft sectors, each weighted by how uniform it is. Values of about 0..1."""
    dy, dx = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    angle, disc = np.arctan2(dy, dx), np.exp(-(dx * dx + dy * dy) / (2 * (radius / 2) ** 2))
    total = np.zeros_like(image)
    weight = np.zeros((*image.shape[:2], 1), np.float32)
    for sector in range(8):
        off_axis = np.angle(np.exp(1j * (angle - sector * np.pi / 4)))
        kernel = disc * np.clip(np.cos(off_axis), 0, None) ** 4
        kernel[radius, radius] = 1
        kernel /= kernel.sum()
        mean = cv2.filter2D(image, -1, kernel, borderType=BORDER)
        variance = cv2.filter2D(image * image, -1, kernel, borderType=BORDER) - mean * mean
        share = 1 / (1 + (64 * np.sqrt(np.abs(variance).sum(2, keepdims=True))) ** sharpness)
        total, weight = total + mean * share, weight + share
    return np.asarray(total / weight, np.float32)


def lost_features(cels: Colour, detail: Colour, flow: Flow) -> Colour:
    """What the cels lost and needs to come back: the strong and the line-like (eyes, text, wires), not texture."""
    lost = detail - cels
    strength = np.sqrt(np.square(lost).sum(2, keepdims=True))
    crowd = blur(np.minimum(strength[..., 0], 20.0), 8.0)
    threshold = (16 - 10 * flow[2] + 1.2 * np.clip(crowd - 4, 0, 10))[..., None]
    kept = strength**3 / (strength**3 + threshold**3)
    features: Colour = 1.1 * lost * kept
    return features


def cel_tones(lab: Colour, grade: Grade) -> Colour:
    """Pull lightness towards the middle of its step where it changes visibly; a slow gradient is left alone."""
    lightness = lab[..., 0]
    visible = _rise(blur(_gradient(blur(lightness, 2.0)), 3.0), 0.15, 0.7)
    lightness = blur(lightness, 0.7)
    step = np.float32(100 / grade.steps)
    within = lightness / step - np.floor(lightness / step) - 0.5
    pull = (within - 4 * within**3) * step * grade.hardness * visible
    return np.dstack((lab[..., 0] - pull, lab[..., 1], lab[..., 2])).astype(np.float32)


def colour_grade(lab: Colour, grade: Grade) -> Colour:
    """The tones, the strength of colours and the tints of a style; skin nearly keeps its lightness."""
    light, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    tone = np.clip(light / 100, 0, 1)
    tone = tone**grade.gamma
    tone = tone + 0.10 * np.sin(2 * np.pi * (tone - 0.5)) / np.pi
    chroma, hue = np.hypot(a, b), np.arctan2(b, a)
    skin = np.exp(-(((hue - 0.95) / 0.35) ** 2)) * _rise(chroma, 6, 14) * (1 - _rise(chroma, 38, 60))
    gain = 1 + (grade.gain - 1) * np.exp(-chroma / 55) * (1 - 0.7 * skin)
    a = a * gain + 0.6 * (grade.lights[0] * tone + grade.shadows[0] * (1 - tone))
    b = b * gain + 0.6 * (grade.lights[1] * tone + grade.shadows[1] * (1 - tone))
    lifted = 100 * tone + grade.lift * np.sin(np.pi * np.clip(tone, 0, 1))
    lightness = grade.white * np.clip(lifted + 0.6 * skin * (light - lifted), 0, 100)
    return np.dstack((lightness, a, b)).astype(np.float32)


def lines(lightness: Plane, flow: Flow, strength: float = 1.0) -> Plane:
    """How much ink: 0 none, 1 full. Fine lines follow every edge, broad ones fill eyes, brows and deep folds."""
    grey = lightness / 100
    across = _across_difference(grey, flow, sigma=1.0)
    fine = _ink(across, 0.010 / strength * (1.6 - flow[2]), slope=34 * strength) * _beside_no_light_line(across)
    # The slope of a large edge is no feature: a broad line beside it would be a halo.
    steepness = 2.0 * _gradient(blur(grey, 2.0))
    broad = _ink(_across_difference(grey, flow, sigma=2.0), 0.025 * (1.6 - flow[2]) + 0.6 * steepness, slope=22)
    return np.asarray(np.maximum(fine, 0.85 * broad) * _in_focus(grey), np.float32)


def _in_focus(grey: Plane) -> Plane:
    """1 beside edges as sharp as the photo, 0 where an edge is out of focus: nobody outlines a blurred background."""
    near = np.ones((5, 5), np.uint8)
    sharp, soft = (np.asarray(cv2.dilate(_gradient(blur(grey, sigma)), near), np.float32) for sigma in (0.8, 2.5))
    return _rise(sharp / (soft + 1e-3), 1.15, 1.6)


def ink_lines(rgb: Colour, ink: Plane, grade: Grade) -> Colour:
    """Darken along the lines towards a deep tone of the colour below, as a colour trace does."""
    line = np.asarray(grade.line, np.float32)
    under = rgb * line * 1.4 + line * 0.25
    share = 0.92 * ink[..., None]
    inked: Colour = rgb * (1 - share) + np.minimum(under, rgb) * share
    return inked


def _converted(image: Colour, code: int) -> Colour:
    return np.asarray(cv2.cvtColor(image, code), np.float32)


def _positions(height: int, width: int) -> tuple[Plane, Plane]:
    """The x and the y of every pixel."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return x, y


def _sample(image: Floats, x: Plane, y: Plane) -> Floats:
    at = x.astype(np.float32), y.astype(np.float32)
    return np.asarray(cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=BORDER), np.float32)


def _gradient(values: Plane) -> Plane:
    """Length of the gradient, per pixel."""
    gx = cv2.Scharr(values, cv2.CV_32F, 1, 0, borderType=BORDER) / 32
    gy = cv2.Scharr(values, cv2.CV_32F, 0, 1, borderType=BORDER) / 32
    return np.hypot(gx, gy).astype(np.float32)


def _rise(values: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    risen: Plane = (t * t * (3 - 2 * t)).astype(np.float32)
    return risen


def _guided_ramp(lab: Colour, radius: int = 8, epsilon: float = 20.0) -> Colour:
    """Edge-aware smoothing of every channel by itself (guided filter): ramps stay ramps, noise goes."""
    size = (2 * radius + 1, 2 * radius + 1)
    mean = cv2.blur(lab, size, borderType=BORDER)
    variance = cv2.blur(lab * lab, size, borderType=BORDER) - mean * mean
    slope = variance / (variance + epsilon)
    offset = mean * (1 - slope)
    smooth = cv2.blur(slope, size, borderType=BORDER) * lab + cv2.blur(offset, size, borderType=BORDER)
    return np.asarray(smooth, np.float32)


def _across_difference(grey: Plane, flow: Flow, sigma: float) -> Plane:
    """Difference of Gaussians (sigma, 1.6 sigma) across the edges, averaged along them; negative on dark lines."""
    across_x, across_y, _ = flow
    height, width = grey.shape
    x0, y0 = _positions(height, width)
    wide = 1.6 * sigma
    offsets = np.arange(-np.ceil(2.4 * wide), np.ceil(2.4 * wide) + 0.1, 0.5 if sigma < 1.5 else 1.0)
    near, far = (np.exp(-(offsets**2) / (2 * width_**2)) for width_ in (sigma, wide))
    kernel = near / near.sum() - far / far.sum()
    difference = np.zeros_like(grey)
    for offset, share in zip(offsets, kernel, strict=True):
        at = x0 + np.float32(offset) * across_x, y0 + np.float32(offset) * across_y
        difference += np.float32(share) * _sample(grey, *at)
    return smooth_along(difference, flow, length=2.0)


def _beside_no_light_line(difference: Plane) -> Plane:
    """0 beside a thin light line (text on a dark ground, whiskers), where ink would be a halo; 1 along a step."""
    lightest = np.asarray(cv2.dilate(difference, np.ones((5, 5), np.uint8)), np.float32)
    return 1 - _rise(lightest / (np.abs(difference) + 1e-4), 1.4, 2.4)


def _ink(difference: Plane, needed: Plane, slope: float) -> Plane:
    """Ink where the difference is more negative than needed."""
    ink: Plane = np.tanh(slope * np.clip(-difference - needed, 0, None)).astype(np.float32)
    return ink
