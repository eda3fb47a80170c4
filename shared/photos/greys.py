"""Grey levels of more than 8 bits, as Pillow hands them out, to 8 bits: by what a TIFF's tags say of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

_DEPTHS: Final = (8, 10, 12, 14, 16, 24, 32)
_SIGNED_DEPTHS: Final = (8, 10, 12, 14, 15, 16, 24, 31)  # without the sign
_SIGNED: Final = 2  # of the tag SampleFormat
_FAR_BELOW: Final = 0.1  # of the brightest level: what is nearer to zero is noise, and black
# libtiff returns numbers in the machine's byte order, whatever the file's; Pillow turns them again.
_NATIVE: Final = {"F;32BF": "F;32NF", "I;32BS": "I;32NS", "I;16BS": "I;16NS"}


@dataclass(frozen=True, slots=True)
class Scale:
    """The levels that mean white and black, and what has to be known to read them."""

    white: float
    black: float = 0
    is_inverted: bool = False
    is_unsigned: bool = False
    transparent: int | None = None

    def applied(self, image: Image.Image) -> Image.Image:
        """Bring an image, or a band of it, to 8 bits."""
        levels = _levels(image, is_unsigned=self.is_unsigned)
        shares = (levels - np.float32(self.black)) * np.float32(255 / (self.white - self.black or 1))
        shown = np.float32(255) - shares if self.is_inverted else shares
        grey = Image.fromarray(shown.clip(0, 255).round().astype(np.uint8))
        if self.transparent is not None:
            grey.putalpha(Image.fromarray(np.where(levels == self.transparent, 0, 255).astype(np.uint8)))
        return grey


def are_deep(image: Image.Image) -> bool:
    """Return whether an image has grey levels of more than 8 bits."""
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")


def read_natively(image: Image.Image) -> None:
    """Have Pillow read the numbers of a big-endian TIFF as libtiff returns them; before it is loaded."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.tile = [
            tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
            if isinstance(tile.args, tuple)
            else tile
            for tile in image.tile
        ]


def scale_of(image: Image.Image, bands: Iterable[Image.Image]) -> tuple[Scale, tuple[str, ...]]:
    """Return the scale of deep levels, and what to tell of it.

    A camera's 10, 12 or 14 bits are often kept in 16; floats are usually 0..1.
    """
    tags = getattr(image, "tag_v2", {})
    is_signed = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == _SIGNED
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]
    is_unsigned = image.mode == "I" and bits == 32 and not is_signed and bool(tags)  # noqa: PLR2004
    is_inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    ranges = [_range(_levels(band, is_unsigned=is_unsigned)) for band in bands]
    darkest, brightest = min(low for low, _ in ranges), max(high for _, high in ranges)
    if darkest < -_FAR_BELOW * brightest:
        return Scale(brightest, darkest, is_inverted), ("Its levels go below zero; the lowest was taken for black.",)
    if image.mode == "F":
        return Scale(max(1.0, brightest), is_inverted=is_inverted), ()
    depths = _SIGNED_DEPTHS if is_signed else _DEPTHS
    used = next((depth for depth in depths if brightest < 2.0**depth), depths[-1])
    transparent = image.info.get("transparency")
    scale = Scale(2.0**used - 1, is_inverted=is_inverted, is_unsigned=is_unsigned, transparent=transparent)
    is_less = used < bits - is_signed
    return scale, ("Its brightest level is far from white, and was taken for white.",) if is_less else ()


def _range(levels: npt.NDArray[np.float32]) -> tuple[float, float]:
    return float(levels.min()), float(levels.max())


def _levels(image: Image.Image, *, is_unsigned: bool) -> npt.NDArray[np.float32]:
    levels = np.asarray(image)
    numbers = levels.view(np.uint32) if is_unsigned else levels
    return np.nan_to_num(numbers.astype(np.float32), posinf=0, neginf=0)
