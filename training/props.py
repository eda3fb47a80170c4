"""Things drawn into training photos because the photos have too few of them: faces, hair, wires and small text.

Freely licensed portraits are rare, so faces are drawn: shaded skin of every tone, eyes, brows, nose, mouth and strands
of hair. They need not fool anyone; the generator learns from them what the target does to such shapes. Imported by
`training` only.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Floats = npt.NDArray[np.floating]
Place = Callable[[float, float], "Point"]  # from a face's own coordinates (radius 1, y down) to the canvas
Point = tuple[float, float]
Paint = tuple[int, int, int]

_FINER = 2  # props are drawn this many times larger and shrunk, so that their edges are as soft as a photo's
_SHIFT = 4  # cv2 draws at 1/16 of a pixel
_LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?%&()"))
# From the darkest to the fairest skin, sRGB.
_SKINS = np.array(
    (
        (58, 36, 28), (92, 58, 42), (128, 84, 60), (164, 112, 82),
        (198, 146, 112), (224, 176, 144), (240, 204, 178), (248, 222, 204),
    ),
    np.float32,
)  # fmt: skip
_HAIRS = np.array(
    ((20, 16, 16), (38, 26, 20), (84, 52, 32), (150, 106, 60), (204, 170, 112), (128, 126, 128), (150, 60, 30)),
    np.float32,
)


def add_props(photo: Rgb, rng: np.random.Generator) -> Rgb:
    """Draw none, one or several props at random places and sizes. Same size and type."""
    props: tuple[tuple[float, Callable[[Rgb, np.random.Generator], None]], ...] = (
        (0.30, add_face), (0.15, add_wires), (0.12, add_text), (0.08, add_strands),
    )  # fmt: skip
    chosen = [draw for chance, draw in props if rng.random() < chance]
    if not chosen:
        return photo
    height, width = photo.shape[:2]
    canvas = np.asarray(cv2.resize(photo, (width * _FINER, height * _FINER), interpolation=cv2.INTER_CUBIC), np.uint8)
    for draw in chosen:
        draw(canvas, rng)
    return np.asarray(cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def add_face(canvas: Rgb, rng: np.random.Generator) -> None:
    """Draw a face of 30 pixels or up to most of the picture, with neck, hair and features."""
    height, width = canvas.shape[:2]
    radius = float(np.exp(rng.uniform(np.log(16), np.log(0.42 * min(height, width) / _FINER)))) * _FINER
    centre = np.array((rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.8) * height))
    turn = np.deg2rad(rng.uniform(-20, 20))
    across, down = np.array((np.cos(turn), np.sin(turn))), np.array((-np.sin(turn), np.cos(turn)))

    def place(x: float, y: float) -> Point:
        x, y = centre + radius * (x * across + y * down)
        return float(x), float(y)

    skin = _between(_SKINS, rng)
    hair = _between(_HAIRS, rng)
    degrees = float(np.rad2deg(turn))
    _ellipse(canvas, place(0, -0.1), (1.02 * radius, 1.25 * radius), degrees, _paint(hair))
    _polygon(canvas, [place(-0.38, 0.6), place(0.38, 0.6), place(0.5, 1.9), place(-0.5, 1.9)], _paint(skin * 0.8))
    _shaded_oval(canvas, place(0, 0.05), (0.8 * radius, 1.1 * radius), turn, skin, rng)
    _features(canvas, place, radius, degrees, skin, hair, rng)
    _fringe(canvas, place, radius, hair, rng)


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


def add_strands(canvas: Rgb, rng: np.random.Generator) -> None:
    """Draw a lock of hair, fur or grass: many fine curves that run together."""
    height, width = canvas.shape[:2]
    root = np.array((rng.uniform(0, 1) * width, rng.uniform(0, 1) * height))
    _lock(canvas, root, rng.uniform(0.15, 0.6) * width, rng.uniform(0, 2 * np.pi), _between(_HAIRS, rng), rng)


def _features(
    canvas: Rgb, place: Place, radius: float, degrees: float, skin: Floats,
    hair: Floats, rng: np.random.Generator,
) -> None:  # fmt: skip
    dark = _paint(hair * 0.5)
    iris = _paint(rng.uniform(20, 130, 3))
    thin = max(1, round(radius * 0.02))
    openness = rng.uniform(0.05, 0.11)
    for side in (-1, 1):
        eye = place(0.33 * side, -0.05)
        _ellipse(canvas, eye, (0.16 * radius, openness * radius), degrees, _paint(rng.uniform(215, 250, 3)))
        _ellipse(canvas, eye, (0.075 * radius, min(openness, 0.075) * radius), degrees, iris)
        _ellipse(canvas, eye, (0.035 * radius, 0.035 * radius), degrees, (10, 8, 10))
        _ellipse(canvas, place(0.33 * side - 0.03, -0.08), (0.016 * radius, 0.016 * radius), degrees, (250, 250, 250))
        lid = [place(0.33 * side + 0.17 * t, -0.05 - openness * (1 - t * t)) for t in np.linspace(-1, 1, 9)]
        _curve(canvas, np.array(lid), dark, thin + 1)
        brow = [place(0.33 * side + 0.2 * t, -0.27 - 0.05 * (1 - t * t)) for t in np.linspace(-1, 1, 9)]
        _curve(canvas, np.array(brow), dark, max(1, round(radius * rng.uniform(0.03, 0.07))))
        _ellipse(canvas, place(0.1 * side, 0.33), (0.04 * radius, 0.022 * radius), degrees, _paint(skin * 0.45))
    nose = [place(0.05, -0.05), place(0.1, 0.15), place(0.12, 0.28)]
    _curve(canvas, np.array(nose), _paint(skin * 0.8), thin)
    lips = skin * np.array((0.95, 0.6, 0.6), np.float32)
    _ellipse(canvas, place(0, 0.58), (0.27 * radius, rng.uniform(0.06, 0.12) * radius), degrees, _paint(lips))
    if rng.random() < 0.5:
        _ellipse(canvas, place(0, 0.57), (0.2 * radius, 0.045 * radius), degrees, _paint(rng.uniform(200, 250, 3)))
    mouth = [place(0.27 * t, 0.58 - 0.03 * t * t) for t in np.linspace(-1, 1, 9)]
    _curve(canvas, np.array(mouth), _paint(skin * 0.4), thin)


def _fringe(canvas: Rgb, place: Place, radius: float, hair: Floats, rng: np.random.Generator) -> None:
    for x in np.linspace(-0.85, 0.85, 9):
        _lock(canvas, np.array(place(float(x), -0.95 + 0.3 * x * x)), radius * 0.5, np.pi / 2 + 0.7 * x, hair, rng)


def _lock(canvas: Rgb, root: Floats, length: float, angle: float, colour: Floats, rng: np.random.Generator) -> None:
    bend = rng.uniform(-0.8, 0.8)
    t = np.linspace(0, 1, 12)[:, None]
    for _ in range(rng.integers(20, 50)):
        start = root + rng.normal(0, length * 0.1, 2)
        heading = angle + rng.normal(0, 0.08) + bend * t
        path = start + length * rng.uniform(0.6, 1.1) * t * np.hstack((np.cos(heading), np.sin(heading)))
        _curve(canvas, path, _paint(colour * rng.uniform(0.6, 1.5)), int(rng.integers(1, _FINER + 2)))


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


def _shaded_oval(
    canvas: Rgb, centre: Point, radii: tuple[float, float], turn: float, colour: Floats, rng: np.random.Generator
) -> None:
    """Fill an oval as if a lamp lit a ball of that colour, with a soft shadow side."""
    height, width = canvas.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - centre[0], y - centre[1]
    u = (x * np.cos(turn) + y * np.sin(turn)) / radii[0]
    v = (-x * np.sin(turn) + y * np.cos(turn)) / radii[1]
    inside = np.clip((1 - np.hypot(u, v)) * min(radii) / 1.5, 0, 1)[..., None]
    lamp = rng.uniform(-1, 1), rng.uniform(-1, 0.2)
    facing = np.sqrt(np.clip(1 - u * u - v * v, 0, 1)) * 0.8 + 0.5 * (u * lamp[0] + v * lamp[1])
    shade = (0.75 + 0.4 * np.clip(facing, -0.5, 1))[..., None]
    blush = np.exp(-((np.abs(u) - 0.5) ** 2 + (v - 0.3) ** 2) / 0.05)[..., None] * np.array((6, -6, -4), np.float32)
    canvas[:] = (canvas * (1 - inside) + np.clip(colour * shade + blush, 0, 255) * inside).astype(np.uint8)


def _faint_on(canvas: Rgb, rng: np.random.Generator) -> Paint:
    """A colour that stands out from the picture's mean by 15 to 110 of 255."""
    mean = canvas.reshape(-1, 3).mean(0)
    sign = -1 if rng.random() < 0.6 else 1
    return _paint(mean + sign * rng.uniform(15, 110))


def _between(palette: Floats, rng: np.random.Generator) -> Floats:
    """A colour between two neighbours of a palette."""
    at = rng.uniform(0, len(palette) - 1)
    low = int(at)
    return np.asarray(palette[low] + (palette[low + 1] - palette[low]) * (at - low) + rng.normal(0, 4, 3), np.float32)


def _paint(colour: Floats) -> Paint:
    red, green, blue = (int(v) for v in np.clip(colour, 0, 255))
    return red, green, blue


def _fixed(points: Floats) -> npt.NDArray[np.int32]:
    return (np.clip(points, -1e5, 1e5) * (1 << _SHIFT)).round().astype(np.int32)


def _curve(canvas: Rgb, points: Floats, paint: Paint, thickness: int) -> None:
    cv2.polylines(canvas, [_fixed(points)], False, paint, thickness, cv2.LINE_AA, _SHIFT)  # noqa: FBT003


def _polygon(canvas: Rgb, points: list[Point], paint: Paint) -> None:
    cv2.fillPoly(canvas, [_fixed(np.array(points))], color=paint, lineType=cv2.LINE_AA, shift=_SHIFT)


def _ellipse(canvas: Rgb, centre: Point, radii: tuple[float, float], degrees: float, paint: Paint) -> None:
    x, y = _fixed(np.array(centre)).tolist()
    wide, high = _fixed(np.array(radii)).tolist()
    cv2.ellipse(canvas, (x, y), (wide, high), degrees, 0, 360, paint, -1, cv2.LINE_AA, _SHIFT)
