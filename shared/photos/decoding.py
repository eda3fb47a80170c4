"""Photos into arrays: sRGB, 8-bit, upright. Nothing of a photo's metadata survives."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import AvifImagePlugin, Image, TiffImagePlugin

from shared.errors import DamagedPhotoError, PhotoTooLargeError, SakugaError
from shared.photos import colours, frames, gaps, greys, palettes, profiles, tiff
from shared.photos.bands import Conversion, bands_of, stand_upright
from shared.photos.colour_spaces import ColourSpace, in_profile
from shared.photos.formats import Header, Limits
from shared.photos.inspection import Examined, examine
from shared.photos.kinds import unread
from shared.photos.opening import (
    PLAIN_FORMATS,
    colour_space_in_exif,
    open_image,
    orientation,
    require_size,
    stands_sideways,
    too_many_pixels,
)
from shared.photos.reading import CODEC_ERRORS, HeaderReader
from shared.photos.sizes import drawn_side, fit

_CODED = frozenset({"AVIF", "HEIF", "WEBP"})  # opened by the libraries that decode them
_STOPPABLE = frozenset({"JPEG", "MPO", "PNG"})  # decoded piece by piece, so that an error stops them
_ANIMATED = frozenset({"AVIF", "GIF", "WEBP"})
# How much larger than the target a photo is left by what shrinks it cheaply, for LANCZOS to do the rest. Measured on
# photos against LANCZOS alone: PSNR 46 dB or more, SSIM 0.995, and half the time to decode a phone's 12 megapixels.
# With 1 it would be 38 dB, and less where a side is odd.
_SHARP = 1.5
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


def decode(
    file: BinaryIO,
    limits: Limits,
    *,
    max_side: int,
    drawn_at: int | None = None,
    within: Callable[[Header], AbstractContextManager[None]] = lambda _header: nullcontext(),
    checkpoint: Callable[[], None] = lambda: None,
) -> Photo:
    """Decode a photo upright, in sRGB, at most `max_side` pixels on its longest side (LANCZOS, aspect kept).

    Where it is to be drawn larger than that, it is left as large as `drawn_side` tells. Codecs are run within `within`
    of its header, which may limit what they take. `checkpoint` is called now and then, and may raise to stop.

    Raises:
        SakugaError: what `inspect` raises, and DamagedPhotoError when the pixels cannot be read.
    """
    examined = examine(file, limits)
    with within(examined.header):
        return _decoded(examined, limits, max_side, drawn_at, checkpoint)


def _decoded(
    examined: Examined, limits: Limits, max_side: int, drawn_at: int | None, checkpoint: Callable[[], None]
) -> Photo:
    reader = HeaderReader(examined.file)
    image = _opened(reader, limits)
    try:
        notes = (*examined.notes, *_notes(image, examined))
        reader.lift_limits(checkpoint if image.format in _STOPPABLE else None)
        # A JPEG decodes at a half, a quarter or an eighth of its size for less, and says which part of that is photo.
        part = frames.seen(image, examined.part)
        size = frames.size_of(part)
        side = max(max_side, drawn_side(size, drawn_at)) if drawn_at else max_side
        spared = _spared(fit(size, side))
        image.info |= {} if examined.transparent is None else {"transparency": examined.transparent}
        pixels, extent = _load(image, spared)
        if examined.with_noise:
            _require_whole(image, examined, examined.with_noise, limits, spared, gaps.block_of(pixels, size))
        if examined.frame:
            pixels = frames.on_nothing(pixels, examined.frame)
        if examined.part:
            pixels, extent = pixels.crop(part), size
        if examined.is_opaque:
            pixels = frames.opaque(pixels)
        upright = size[::-1] if stands_sideways(image, examined.orientation) else size
        turn, (to_rgb, space) = orientation(image, examined.orientation), _colours(image, examined)
        bands, notes_on_greys = _shrunk(pixels, extent, fit(extent, side), checkpoint)
        del image, pixels  # which take a third more than what is made of them
        rgb, alpha = stand_upright(bands, fit(extent, side), turn, to_rgb)
        if space:
            rgb = colours.to_srgb(rgb, space)
        return Photo(rgb, alpha, (*notes, *notes_on_greys, *([_note_on(space)] if space else [])), upright)
    except SakugaError:
        raise
    except Image.DecompressionBombError as error:
        raise too_many_pixels(limits, error) from error
    except MemoryError as error:
        raise PhotoTooLargeError("Decoding this photo takes more memory than its size allows.") from error
    except CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's data is damaged or incomplete; it opens but cannot be decoded.") from error


def _opened(reader: HeaderReader, limits: Limits) -> Image.Image:
    image = open_image(reader, limits, readable_formats())
    require_size(image.size, limits)  # a codec may see another size than its file's header tells
    if image.format == "HEIF" and not image.info["primary"]:  # another picture takes its place where it cannot be read
        raise unread("a HEIF whose main picture is stored in a rare way")
    return image


@cache
def readable_formats() -> list[str]:
    """The names of all formats that are accepted."""
    pillow_heif.register_heif_opener()
    pillow_heif.options.THUMBNAILS = False  # it would decode them in place of a photo, and they may show another
    TiffImagePlugin.READ_LIBTIFF = True  # Pillow's own decoder takes planes of 16 bits for rows
    AvifImagePlugin.DEFAULT_MAX_THREADS = pillow_heif.options.DECODE_THREADS  # and not as many as the machine has cores
    Image.init()
    return sorted((PLAIN_FORMATS | _CODED) & set(Image.OPEN))


def _load(image: Image.Image, spared: tuple[int, int]) -> tuple[Image.Image, tuple[float, float]]:
    """Decode the pixels; return them, and the (width, height) of how much of them is photo."""
    greys.read_natively(image)
    palettes.read_as_written(image)
    frame = frames.first_frame(image)
    drafted = image.draft(None, spared)
    image.load()
    pixels = frames.without_empty_alpha(frames.on_nothing(image, frame) if frame else image)
    return pixels, drafted[1][2:] if drafted else image.size


def _require_whole(
    image: Image.Image,
    examined: Examined,
    with_noise: Callable[[], BinaryIO],
    limits: Limits,
    spared: tuple[int, int],
    block: int,
) -> None:
    """Refuse a JPEG that looks different with noise wherever something may be missing."""
    if examined.shows_gaps and not gaps.are_in(bands_of(image, block), block):
        return
    other = _other(with_noise(), limits, spared)
    gaps.require_few(bands_of(image, 1), bands_of(other, 1), most=examined.missing_blocks * block**2)


def _other(file: BinaryIO, limits: Limits, spared: tuple[int, int]) -> Image.Image:
    """Decode what a JPEG would be with other bytes."""
    reader = HeaderReader(file)
    image = open_image(reader, limits)
    reader.lift_limits()
    return _load(image, spared)[0]


def _notes(image: Image.Image, examined: Examined) -> tuple[str, ...]:
    if examined.is_animated or (image.format in _ANIMATED and _has_frames(image)):
        return ("This is an animation; its first frame was converted.",)
    if image.format == "HEIF" and _has_frames(image):
        return ("There are several pictures in this file; the main one was converted.",)
    if image.format == "TIFF" and tiff.pages(HeaderReader(examined.file)) > 1:
        return ("There are several pages in this file; the first one was converted.",)
    return ()


def _has_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except DamagedPhotoError:
        return False  # a GIF's first frame has too many blocks to look behind it; it can be decoded all the same


def _spared(size: tuple[int, int]) -> tuple[int, int]:
    """The least (width, height) that is left for LANCZOS to shrink to `size`."""
    return round(_SHARP * size[0]), round(_SHARP * size[1])


def _shrunk(
    image: Image.Image, extent: tuple[float, float], size: tuple[int, int], checkpoint: Callable[[], None]
) -> tuple[Iterator[Image.Image], tuple[str, ...]]:
    """Resize to (width, height) with LANCZOS, as 8-bit colour or, if anything is transparent, as premultiplied RGBa.

    Returns its bands. `extent` is how much of the image is photo: the last pixels of a draft may stand for less than
    one.
    """
    scale, notes = greys.scale_of(image, bands_of(image, 1)) if greys.are_deep(image) else (None, ())
    return _resized(image, extent, size, lambda band: _plain(scale.applied(band) if scale else band), checkpoint), notes


def _resized(
    image: Image.Image,
    extent: tuple[float, float],
    size: tuple[int, int],
    plain: Conversion,
    checkpoint: Callable[[], None],
) -> Iterator[Image.Image]:
    """Resize what `plain` makes of each band of an image; yield the bands of what comes of it.

    Where there are pixels to spare, whole ones are averaged first. Widths then come before heights, as Pillow itself
    does it, but all in bands of rows: a photo of 64 megapixels has no second copy in memory. Premultiplied, what is
    transparent gives no colour to its neighbours.
    """
    if extent == size:
        for band in bands_of(image, 1):
            checkpoint()
            yield plain(band)
        return
    factor = max(1, int(min(extent[0] / size[0], extent[1] / size[1]) / _SHARP))
    width, height = extent[0] / factor, extent[1] / factor
    whole, top = None, 0
    for part in bands_of(image, factor):
        checkpoint()
        band = plain(part).reduce(factor) if factor > 1 else plain(part)  # by one it would be a copy
        narrow = band.resize((size[0], band.height), Image.Resampling.LANCZOS, (0, 0, width, band.height))
        whole = whole or Image.new(narrow.mode, (size[0], math.ceil(image.height / factor)))
        whole.paste(narrow, (0, top))
        top += narrow.height
    del image  # before there is another as large
    if whole:
        yield from bands_of(whole.resize(size, Image.Resampling.LANCZOS, (0, 0, size[0], height)), 1)


def _plain(image: Image.Image) -> Image.Image:
    """Bring to a mode that can be resized: 8-bit, no palette, alpha premultiplied."""
    if image.mode == "La":  # that alone is not converted to colour
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGBa")
    return image.convert("RGB") if image.mode in {"1", "P"} else image


def _colours(image: Image.Image, examined: Examined) -> tuple[Conversion, ColourSpace | None]:
    """Return what brings an image to RGB, and the colour space that this leaves it in if that is not sRGB."""
    profile = image.info.get("icc_profile") or examined.profile()
    space = examined.space or in_profile(profile or b"") or colour_space_in_exif(image)
    if space and (space.is_hdr or not profile):
        return lambda colour: colour.convert("RGB"), space
    return profiles.to_srgb(profile), None


def _note_on(space: ColourSpace) -> str:
    if space.is_hdr:
        return "This is an HDR photo; its brightness was reduced to what an ordinary display shows."
    return "Its colours were converted to sRGB."
