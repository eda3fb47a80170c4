"""Decoded photos and pictures as arrays: their size, at another one, and on white."""

from dataclasses import replace
from typing import Final

import numpy as np
from PIL import Image

from shared.photos.decoding import Alpha, Photo, Rgb

_GAP: Final = 1.5  # times the size, to which whole pixels are averaged before a photo is resampled
_PIXELS_AT_ONCE: Final = 1 << 20  # laid on white: as floats, they take some thirty times the memory


def size_of(levels: Rgb | Alpha) -> tuple[int, int]:
    """The (width, height) in pixels."""
    height, width = levels.shape[:2]
    return width, height


def resized(
    levels: Rgb | Alpha, size: tuple[int, int], resampling: Image.Resampling = Image.Resampling.LANCZOS
) -> Rgb | Alpha:
    """Bring to (width, height) pixels."""
    if size_of(levels) == size:
        return levels
    return np.asarray(Image.fromarray(levels).resize(size, resampling, reducing_gap=_GAP))


def on_white(photo: Photo) -> Photo:
    """Lay a photo on white; its alpha is kept beside it."""
    if photo.alpha is None:
        return photo
    whole = np.empty_like(photo.rgb)
    rows = max(1, _PIXELS_AT_ONCE // whole.shape[1])
    for top in range(0, len(whole), rows):
        band = slice(top, top + rows)
        opacity = photo.alpha[band, :, None].astype(np.float32) / 255
        whole[band] = (photo.rgb[band] * opacity + 255 * (1 - opacity)).round()
    return replace(photo, rgb=whole)
