"""Photos into arrays: sRGB, 8-bit, upright. Nothing of a photo's metadata survives."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import AvifImagePlugin, Image, ImageCms

from shared.errors import DamagedPhotoError, PhotoTooLargeError, SakugaError
from shared.photos.formats import Limits
from shared.photos.inspection import inspect
from shared.photos.opening import (
    CODEC_ERRORS,
    PLAIN_FORMATS,
    HeaderReader,
    open_image,
    orientation,
    require_size,
    stands_sideways,
    too_many_pixels,
)
from shared.photos.sizes import drawn_side, fit

_CODED = frozenset({"AVIF", "HEIF", "WEBP"})  # opened by the libraries that decode them
_BAND_PIXELS = 1 << 20  # what is converted at once: a few MB, whatever the photo's mode
# How much larger than the target a photo is left by what shrinks it cheaply, for LANCZOS to do the rest. Measured on
# photos against LANCZOS alone: PSNR 46 dB or more, SSIM 0.995, and half the time to decode a phone's 12 megapixels.
# With 1 it would be 38 dB, and less where a side is odd.
_SHARP = 1.5
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

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Alpha = npt.NDArray[np.uint8]  # (H, W)


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: sRGB (H, W, 3), its alpha (H, W) or None, and what the user should be told about it.

    `size` is its own (width, height), upright, before it was shrunk.
    """

    rgb: Rgb
    alpha: Alpha | None
    notes: tuple[str, ...]
    size: tuple[int, int]


def decode(file: BinaryIO, limits: Limits, *, max_side: int, drawn_at: int | None = None) -> Photo:
    """Decode a photo upright, in sRGB, at most `max_side` pixels on its longest side (LANCZOS, aspect kept).

    Where it is to be drawn larger than that, it is left as large as `drawn_side` tells.

    Raises:
        SakugaError: what `inspect` raises, and DamagedPhotoError when the pixels cannot be read.
    """
    inspect(file, limits)
    reader = HeaderReader(file)
    image = open_image(reader, limits, readable_formats())
    require_size(image.size, limits)  # a codec may see another size than its file's header tells
    try:
        notes = _notes(image)
        reader.lift_limits()
        # A JPEG decodes at a half, a quarter or an eighth of its size for less, and says which part of that is photo.
        side = max(max_side, drawn_side(image.size, drawn_at)) if drawn_at else max_side
        upright = image.size[::-1] if stands_sideways(image) else image.size
        drafted = image.draft(None, _spared(fit(image.size, side)))
        image.load()
        extent = drafted[1][2:] if drafted else image.size
        small = _shrunk(image, extent, fit(extent, side))
        colour, alpha = _to_srgb(_turned(small, orientation(image)), image.info.get("icc_profile"))
        return Photo(np.array(colour), np.array(alpha) if alpha else None, notes, upright)
    except SakugaError:
        raise
    except Image.DecompressionBombError as error:
        raise too_many_pixels(limits, error) from error
    except MemoryError as error:
        raise PhotoTooLargeError("Decoding this photo takes more memory than its size allows.") from error
    except CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's data is damaged or incomplete; it opens but cannot be decoded.") from error


@cache
def readable_formats() -> list[str]:
    """The names of all formats that are accepted."""
    pillow_heif.register_heif_opener()
    AvifImagePlugin.DEFAULT_MAX_THREADS = pillow_heif.options.DECODE_THREADS  # and not as many as the machine has cores
    Image.init()
    return sorted((PLAIN_FORMATS | _CODED) & set(Image.OPEN))


def _notes(image: Image.Image) -> tuple[str, ...]:
    return ("This is an animation; its first frame was converted.",) if _is_animated(image) else ()


def _is_animated(image: Image.Image) -> bool:
    if image.format in {"MPO", "PSD"}:
        return False  # a preview or layers follow, no frames
    try:
        return bool(getattr(image, "is_animated", False))
    except DamagedPhotoError:
        return False  # a GIF's first frame has too many blocks to look behind it; it can be decoded all the same


def _spared(size: tuple[int, int]) -> tuple[int, int]:
    """The least (width, height) that is left for LANCZOS to shrink to `size`."""
    return round(_SHARP * size[0]), round(_SHARP * size[1])


def _shrunk(image: Image.Image, extent: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height) with LANCZOS, as 8-bit colour or, if anything is transparent, as premultiplied RGBa.

    `extent` is how much of the image is photo: the last pixels of a draft may stand for less than one. Where there are
    pixels to spare, whole ones are averaged first. Widths then come before heights, as Pillow itself does it, but all
    in bands of rows: a photo of 64 megapixels has no second copy in memory. Premultiplied, what is transparent gives no
    colour to its neighbours.
    """
    white = _white(image)
    factor = max(1, int(min(extent[0] / size[0], extent[1] / size[1]) / _SHARP))
    width, height = extent[0] / factor, extent[1] / factor
    bands = []
    for part in _bands(image, factor):
        plain = _plain(part, white)
        band = plain.reduce(factor) if factor > 1 else plain  # by one it would be a copy
        box = (0, 0, width, band.height)
        bands.append(band.resize((size[0], band.height), Image.Resampling.LANCZOS, box))
    return _stacked(bands).resize(size, Image.Resampling.LANCZOS, (0, 0, size[0], height))


def _bands(image: Image.Image, multiple: int) -> Iterator[Image.Image]:
    """Bands of rows, of a multiple each but for the last; the image itself where one band is enough."""
    rows = max(1, _BAND_PIXELS // image.width // multiple) * multiple
    if rows >= image.height:
        yield image
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _stacked(bands: list[Image.Image]) -> Image.Image:
    if len(bands) == 1:
        return bands[0]
    whole = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    top = 0
    for band in bands:
        whole.paste(band, (0, top))
        top += band.height
    return whole


def _plain(image: Image.Image, white: float) -> Image.Image:
    """Bring to a mode that can be resized: 8-bit, no palette, alpha premultiplied."""
    if _is_deep_grey(image):
        # Pillow's own conversion would clip to white.
        return Image.fromarray((_levels(image) * (255 / white)).clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa")
    return image.convert("RGB") if image.mode in {"1", "P"} else image


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")


def _levels(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image).astype(np.float32), posinf=0, neginf=0)


def _white(image: Image.Image) -> float:
    """The level that means white: a camera's 10, 12 or 14 bits are often kept in 16; floats are usually 0..1."""
    if not _is_deep_grey(image):
        return 255
    brightest = max(float(_levels(band).max()) for band in _bands(image, 1))
    if image.mode == "F":
        return max(1.0, brightest)
    return next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if brightest < 2**bits), brightest)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Image.Image | None]:
    """Split into an RGB image in sRGB and its alpha channel, if it has one."""
    alpha = None
    if image.mode == "RGBa":
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    if profile and image.mode in {"RGB", "L", "CMYK"}:
        image = _apply_profile(image, profile)
    return image.convert("RGB"), alpha


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB; a profile that is broken or of another colour space is ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *CODEC_ERRORS):
        return image
    return converted or image
