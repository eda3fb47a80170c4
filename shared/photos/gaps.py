"""Gaps in a JPEG: where data is missing, its decoder says nothing and makes blocks of an even grey."""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from PIL import Image

from shared.errors import DamagedPhotoError

_BLOCK: Final = 8  # pixels of a side, as stored
_GREY: Final = np.uint8(128)


def block_of(image: Image.Image, size: tuple[int, int]) -> int:
    """Return the side in pixels of a block of a photo of `size` (width, height), or of four where it was shrunk."""
    return max(2, _BLOCK * image.width // size[0])


def are_in(bands: Iterable[Image.Image], block: int) -> bool:
    """Return whether a block is of that grey, in bands of rows of a multiple of blocks; it may be so by chance."""
    return any(_is_in(np.asarray(band), block) for band in bands)


def require_few(bands: Iterable[Image.Image], others: Iterable[Image.Image], *, most: int) -> None:
    """Refuse a photo of which more pixels are missing: noise in their place makes a difference.

    Raises:
        DamagedPhotoError: there are more.
    """
    pairs = ((np.asarray(band), np.asarray(other)) for band, other in zip(bands, others, strict=True))
    if sum(int(np.count_nonzero((one != two).reshape(*one.shape[:2], -1).any(axis=2))) for one, two in pairs) > most:
        raise DamagedPhotoError("The photo is damaged or incomplete.")


def _is_in(levels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], block: int) -> bool:
    rows, columns = (side // block for side in levels.shape[:2])
    is_grey = (levels == _GREY) | (levels == ~_GREY)  # or inverted
    channels = math.prod(is_grey.shape[2:])
    blocks = is_grey[: rows * block, : columns * block].reshape(rows, block, columns, block, channels)
    return bool(blocks.all(axis=(1, 3, 4)).any())  # of which a last band may have none
