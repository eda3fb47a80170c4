"""The sizes of photos and pictures, (width, height) in pixels: shrunk to fit, and as they are drawn."""

import math
from collections.abc import Collection
from typing import Final

MAX_ENLARGED: Final = 2  # times, of a small photo to be drawn
LARGEST_FACE: Final = 220  # pixels from forehead to chin, as it is drawn: larger ones would hardly look drawn
MIN_SHRUNK_FACE: Final = 72  # pixels likewise, below which no face is shrunk because another one is large
CLOSE_UP_STEP: Final = 32  # pixels: hardly any photo is drawn at two sizes because its face is measured a little off


def fit(size: tuple[float, float], max_side: int) -> tuple[int, int]:
    """The (width, height) of `size` shrunk to `max_side` on its longest side; never enlarged, never under 1."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_size(size: tuple[int, int], drawn_at: int, faces: Collection[float] = ()) -> tuple[int, int]:
    """The (width, height) at which weights that draw at `drawn_at` draw a photo of `size`; `faces` as in `drawn_side`.

    A small photo is enlarged for it, up to twofold: lines and areas have their width in pixels, and would be too coarse
    for the eyes in it.
    """
    scale = min(MAX_ENLARGED, drawn_side(size, drawn_at, faces) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_side(size: tuple[int, int], drawn_at: int, faces: Collection[float] = ()) -> int:
    """The longest side, in pixels, at which weights that draw at `drawn_at` draw a photo of `size`.

    Of a long photo the shortest side would not be enough to see anything in. It is a third of `drawn_at` at the least,
    as long as that is no more to draw than a square. A close-up is drawn smaller, so that its lines and areas fit the
    face; `faces` are the heights of all faces, from forehead to chin, as shares of the photo's longest side, 0..1.
    """
    shape = max(size) / min(size)
    side = drawn_at * max(1.0, min(shape / 3, math.sqrt(shape)))
    if not faces:
        return round(side)
    close = max(LARGEST_FACE / max(faces), min(MIN_SHRUNK_FACE / min(faces), side))
    return round(side) if close >= side else int(close) // CLOSE_UP_STEP * CLOSE_UP_STEP
