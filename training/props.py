"""Things drawn into photos because they have too few of them: wires and small text. Imported by `training` only."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Floats = npt.NDArray[np.floating]
Paint = tuple[int, int, int]

_FINER = 2  # props are drawn this many times larger and shrunk, so that their edges are as soft as a photo's
_SHIFT = 4  # cv2 draws at 1/16 of a pixel
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?%&()"))


def add_props(photo: Rgb, rng: np.random.Generator) -> Rgb:
    """Draw none, one or several props at random places and sizes. Same size and type."""
    chosen = [draw for chance, draw in PROPS if rng.random() < chance]
    if not chosen:
        return photo
    height, width = photo.shape[:2]
    canvas = np.asarray(cv2.resize(photo, (width * _FINER, height * _FINER), interpolation=cv2.INTER_CUBIC), np.uint8)
    for draw in chosen:
        draw(canvas, rng)
    return np.asarray(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def add_wires(canvas: Rgb, rng: np.random.Generator) -> None:
    """Draw a few thin, faint wires or a lattice mast."""
    height, width = canvas.shape[:2]
    shade = _faint_on(canvas, rng)
    for _ in range(rng.integers(1, 7)):
        start = np.array((rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.1) * height))
        angle, length = rng.uniform(0, np.pi), rng.uniform(0.3, 1.5) * width
        along = np.array((np.cos(angle), np.sin(angle))) * length
        sag = np.array((0, rng.uniform(0, 0.15) * length))
        t = np.linspace(-0.5, 0.5, 40)[:, None]
        _curve(canvas, start + t * along - 4 * t * t * sag, shade, int(rng.integers(1, 2 * _FINER + 1)))
    if rng.random() < 0.5:
        _mast(canvas, shade, rng)


def add_text(canvas: Rgb, rng: np.random.Generator) -> None:
    """Write a few words, light on dark or dark on light, 9 to 40 pixels high."""
    height, width = canvas.shape[:2]
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 5)):
        font = ImageFont.load_default(float(np.exp(rng.uniform(np.log(9), np.log(40)))) * _FINER)
        word = "".join(rng.choice(_LETTERS, rng.integers(2, 14)))
        at = (rng.uniform(0, 0.7) * width, rng.uniform(0, 0.95) * height)
        light = rng.random() < 0.5
        fill = tuple(int(v) for v in (rng.integers(200, 256, 3) if light else rng.integers(0, 60, 3)))
        pen.text(at, word, font=font, fill=fill)
    canvas[:] = np.asarray(image)


def _mast(canvas: Rgb, shade: Paint, rng: np.random.Generator) -> None:
    height, width = canvas.shape[:2]
    x, top, bottom = rng.uniform(0, width), rng.uniform(0, 0.6) * height, rng.uniform(0.7, 1.1) * height
    half = rng.uniform(4, 14) * _FINER
    rungs = np.linspace(top, bottom, int(rng.integers(6, 16)))
    narrow = np.linspace(0.4, 1, len(rungs)) * half
    for side in (-1, 1):
        _curve(canvas, np.column_stack((x + side * narrow, rungs)), shade, _FINER)
        zigzag = np.where(np.arange(len(rungs)) % 2 == 0, side, -side)
        _curve(canvas, np.column_stack((x + zigzag * narrow, rungs)), shade, 1)


def _faint_on(canvas: Rgb, rng: np.random.Generator) -> Paint:
    """A colour that stands out from the picture's mean by 15 to 110 of 255."""
    mean = canvas.reshape(-1, 3).mean(0)
    sign = -1 if rng.random() < 0.6 else 1
    return _paint(mean + sign * rng.uniform(15, 110))


def _paint(colour: Floats) -> Paint:
    red, green, blue = (int(v) for v in np.clip(colour, 0, 255))
    return red, green, blue


def _fixed(points: Floats) -> npt.NDArray[np.int32]:
    return (np.clip(points, -1e5, 1e5) * (1 << _SHIFT)).round().astype(np.int32)


def _curve(canvas: Rgb, points: Floats, paint: Paint, thickness: int) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, paint, thickness, cv2.LINE_AA, _SHIFT)  # noqa: FBT003


PROPS: tuple[tuple[float, Callable[[Rgb, np.random.Generator], None]], ...] = ((0.3, add_wires), (0.25, add_text))
