"""The sizes of photos and pictures, (width, height) in pixels: shrunk to fit, and as they are drawn."""

import math

MAX_ENLARGED = 2  # times, of a small photo to be drawn


def fit(size: tuple[float, float], max_side: int) -> tuple[int, int]:
    """The (width, height) of `size` shrunk to `max_side` on its longest side; never enlarged, never under 1."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_size(size: tuple[int, int], drawn_at: int) -> tuple[int, int]:
    """The (width, height) at which weights that draw at `drawn_at` draw a photo of `size`.

    A small photo is enlarged for it, up to twofold: lines and areas have their width in pixels, and would be too coarse
    for the eyes in it.
    """
    scale = min(MAX_ENLARGED, drawn_side(size, drawn_at) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_side(size: tuple[int, int], drawn_at: int) -> int:
    """The longest side, in pixels, at which weights that draw at `drawn_at` draw a photo of `size`.

    Of a long photo the shortest side would not be enough to see anything in. It is a third of `drawn_at` at the least,
    as long as that is no more to draw than a square.
    """
    shape = max(size) / min(size)
    return round(drawn_at * max(1.0, min(shape / 3, math.sqrt(shape))))
