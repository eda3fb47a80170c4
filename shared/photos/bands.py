"""Images in bands of rows, so that no second copy of a large one is in memory."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

_BAND_PIXELS = 1 << 20  # what is converted at once: a few MB, whatever the photo's mode
# What stands a photo upright, by its orientation (Exif 2.32, 4.6.4).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Of the orientations: those in which rows become columns, and those in which the first row comes last.
_SIDEWAYS, _BACKWARDS = frozenset({5, 6, 7, 8}), frozenset({3, 4, 6, 7})

Conversion = Callable[[Image.Image], Image.Image]
_Levels = npt.NDArray[np.uint8]


def bands_of(image: Image.Image, multiple: int) -> Iterator[Image.Image]:
    """Bands of rows, of a multiple each but for the last; the image itself where one band is enough."""
    rows = max(1, _BAND_PIXELS // image.width // multiple) * multiple
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def stand_upright(
    bands: Iterator[Image.Image], size: tuple[int, int], turn: int, to_rgb: Conversion
) -> tuple[_Levels, _Levels | None]:
    """Stand an image of (width, height) upright, band by band; return its colours, and its alpha channel if any."""
    shape = size if turn in _SIDEWAYS else size[::-1]
    rgb, alpha, top = np.empty((*shape, 3), np.uint8), None, 0
    for band in bands:
        colour, opacity = _without_alpha(_turned(band, turn))
        place = _place(top, top + band.height, size[1], turn)
        rgb[place] = np.asarray(to_rgb(colour))
        if opacity:
            alpha = np.empty(shape, np.uint8) if alpha is None else alpha
            alpha[place] = np.asarray(opacity)
        top += band.height
    return rgb, alpha


def _place(top: int, bottom: int, height: int, turn: int) -> tuple[slice, ...]:
    """Return where the rows of a band are in an image of `height` that has been turned: its rows, or its columns."""
    part = slice(height - bottom, height - top) if turn in _BACKWARDS else slice(top, bottom)
    return (slice(None), part) if turn in _SIDEWAYS else (part,)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    if image.mode != "RGBa":
        return image, None
    image = image.convert("RGBA")
    return image.convert("RGB"), image.getchannel("A")
