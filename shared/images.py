"""Photos in, pictures out: every format Pillow reads plus HEIC, judged by its header before anything is decoded.

Colour is sRGB, 8 bit, upright. Nothing of the photo's metadata survives. Imported by everyone but `training`.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from shared.errors import DamagedPhotoError, NotAPhotoError, PhotoTooLargeError, SakugaError, UnusablePhotoError

MIN_SIDE = 16
# Formats whose readers start other programs or only know how to recognise a file.
_REFUSED_FORMATS = {"BUFR", "EPS", "FPX", "GRIB", "HDF5", "MIC", "MPEG", "WMF"}
# What codecs raise on hostile bytes besides OSError; MemoryError is a header that lies about its own tables.
_CODEC_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, EOFError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
# First bytes of formats people send, to tell a damaged photo from something that is none.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"8BPS")
_PNG_END = b"IEND"
_JPEG_MARKER, _JPEG_SCAN, _JPEG_END = 0xFF, 0xDA, b"\xff\xd9"

Rgb = npt.NDArray[np.uint8]  # (H, W, 3)
Alpha = npt.NDArray[np.uint8]  # (H, W)


class Format(StrEnum):
    """What a picture can be written as."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"

    @property
    def content_type(self) -> str:
        return f"image/{self.value}"

    @property
    def extension(self) -> str:
        return "jpg" if self is Format.JPEG else self.value

    @property
    def keeps_alpha(self) -> bool:
        return self is not Format.JPEG


@dataclass(frozen=True, slots=True)
class Limits:
    """What a photo may be. Megapixels are 10^6 pixels of the photo as stored."""

    max_bytes: int
    max_megapixels: float


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a photo before it is decoded: upright size in pixels and the format's name."""

    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: sRGB (H, W, 3), its alpha (H, W) or None, and what the user should be told about it."""

    rgb: Rgb
    alpha: Alpha | None
    notes: tuple[str, ...]


def inspect(file: BinaryIO, limits: Limits) -> Header:
    """Judge a photo by its header alone, in constant memory.

    Raises:
        PhotoTooLargeError: too many bytes or megapixels.
        NotAPhotoError: none of the formats we read.
        DamagedPhotoError: one of them, but broken or cut short.
        UnusablePhotoError: narrower or lower than 16 pixels.
    """
    size = file.seek(0, io.SEEK_END)
    if size > limits.max_bytes:
        raise too_many_bytes(limits.max_bytes)
    image = _open(file, limits)
    width, height = image.size
    if width * height > limits.max_megapixels * 1e6:
        raise _too_many_pixels(limits, f"This one has {width * height / 1e6:.1f}. ")
    if min(width, height) < MIN_SIDE:
        raise UnusablePhotoError(f"The photo is {width}x{height} pixels; each side must have at least {MIN_SIDE}.")
    _require_whole(file, image.format or "", size)
    if _turns_sideways(image):
        width, height = height, width
    return Header(width, height, image.format or "unknown")


def decode(file: BinaryIO, limits: Limits, *, max_side: int) -> Photo:
    """Decode a photo upright, in sRGB, at most `max_side` pixels on its longest side (LANCZOS, aspect kept).

    Raises:
        SakugaError: what `inspect` raises, and DamagedPhotoError when the pixels cannot be read.
    """
    inspect(file, limits)
    image = _open(file, limits)
    try:
        notes = _notes(image)
        # A JPEG decodes at a half, a quarter or an eighth of its size for less; twice the target keeps LANCZOS sharp.
        image.draft(None, (2 * max_side, 2 * max_side))
        image.load()
        upright = ImageOps.exif_transpose(image)
        colour, alpha = _to_srgb(upright)
        target = fit(colour.size, max_side)
        return Photo(_resized(colour, target), _resized(alpha, target) if alpha else None, notes)
    except SakugaError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except _CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's data is damaged or cut short; it opens but cannot be decoded.") from error


def encode(rgb: Rgb, alpha: Alpha | None, picture_format: Format) -> bytes:
    """Write a picture without metadata; sRGB is what a viewer assumes of it. Alpha is dropped for JPEG."""
    image = Image.fromarray(rgb)
    if alpha is not None and picture_format.keeps_alpha:
        image.putalpha(Image.fromarray(alpha))
    buffer = io.BytesIO()
    match picture_format:
        case Format.JPEG:
            image.save(buffer, "JPEG", quality=92, subsampling=0, optimize=True)
        case Format.PNG:
            image.save(buffer, "PNG", compress_level=6)
        case Format.WEBP:
            image.save(buffer, "WEBP", quality=90, method=4, exact=True)
    return buffer.getvalue()


def fit(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """The (width, height) of `size` shrunk to `max_side` on its longest side; never enlarged, never under 1."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def too_many_bytes(max_bytes: int) -> PhotoTooLargeError:
    return PhotoTooLargeError(f"A photo may have at most {max_bytes / (1 << 20):.0f} MiB.")


def _too_many_pixels(limits: Limits, this_one: str = "") -> PhotoTooLargeError:
    return PhotoTooLargeError(f"{this_one}A photo may have at most {limits.max_megapixels:g} megapixels.")


@cache
def readable_formats() -> list[str]:
    """The names of all formats that are accepted."""
    pillow_heif.register_heif_opener()
    Image.init()
    return sorted(set(Image.OPEN) - _REFUSED_FORMATS)


def _open(file: BinaryIO, limits: Limits) -> Image.Image:
    formats = readable_formats()
    file.seek(0)
    signature = file.read(16)
    file.seek(0)
    try:
        return Image.open(file, formats=formats)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits) from error
    except UnidentifiedImageError as error:
        if not signature.startswith(_SIGNATURES):
            raise NotAPhotoError("Send a JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP image.") from error
        raise DamagedPhotoError("The photo's header is damaged.") from error
    except _CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's header is damaged.") from error


def _require_whole(file: BinaryIO, format_name: str, size: int) -> None:
    """Refuse a file that visibly ends too early, without decoding it. What this misses, `decode` finds."""
    match format_name:
        case "JPEG" | "MPO":
            whole = _jpeg_has_end(file, size)
        case "PNG":
            whole = _png_chunks_fit(file, size)
        case "WEBP":
            file.seek(4)
            whole = int.from_bytes(file.read(4), "little") + 8 <= size
        case _:
            whole = True
    if not whole:
        raise DamagedPhotoError("The photo is cut short: its end is missing.")


def _jpeg_has_end(file: BinaryIO, size: int) -> bool:
    """Whether an end marker follows the first scan; Pillow's decoder refuses a JPEG without one.

    Segments are skipped by their length, so an end marker inside a thumbnail does not count.
    """
    position = 2
    while position + 4 <= size:
        file.seek(position)
        lead, marker, high, low = file.read(4)
        if lead != _JPEG_MARKER:
            return True  # not a segment where one should be: leave the verdict to the decoder
        position += 1 if marker == _JPEG_MARKER else 2 + (high << 8) + low
        if marker == _JPEG_SCAN:
            return _contains(file, position, _JPEG_END)
    return False


def _contains(file: BinaryIO, start: int, needle: bytes) -> bool:
    file.seek(start)
    tail = b""
    while block := file.read(1 << 16):
        if needle in tail + block:
            return True
        tail = block[-len(needle) + 1 :]
    return False


def _png_chunks_fit(file: BinaryIO, size: int) -> bool:
    """Whether every chunk up to the end chunk lies inside the file. A missing end chunk alone is forgiven."""
    position = 8
    while position + 12 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind == _PNG_END:
            return True
        position += 12 + length
    return position == size


def _turns_sideways(image: Image.Image) -> bool:
    try:
        return image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    except _CODEC_ERRORS:
        return False  # unreadable metadata does not make a photo unreadable


def _notes(image: Image.Image) -> tuple[str, ...]:
    if image.format != "MPO" and getattr(image, "is_animated", False):
        return ("This is an animation; its first frame was converted.",)
    return ()


def _to_srgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Split into an RGB image in sRGB and its alpha channel, if it has one."""
    image = _to_8_bit(image)
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB") if "icc_profile" not in image.info else _drop_alpha(image)
    profile = image.info.get("icc_profile")
    if profile and image.mode in {"RGB", "L", "CMYK"}:
        image = _apply_profile(image, profile)
    return image.convert("RGB"), alpha


def _drop_alpha(image: Image.Image) -> Image.Image:
    rgb = image.convert("RGB")
    rgb.info["icc_profile"] = image.info["icc_profile"]
    return rgb


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB; a profile that is broken or of another colour space is ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *_CODEC_ERRORS):
        return image
    return converted or image


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Bring 16 and 32 bit greyscale to 8 bit over its full scale; Pillow's own conversion would clip it to white."""
    if image.mode not in {"I", "F"} and not image.mode.startswith("I;16"):
        return image
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
    scaled = values * (255 / _full_scale(float(values.max(initial=0)), image.mode))
    return Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8))


def _full_scale(brightest: float, mode: str) -> float:
    """The value that means white: a camera's 10, 12 or 14 bits are often kept in 16; floats are usually 0..1."""
    if mode == "F":
        return max(1.0, brightest)
    return next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if brightest < 2**bits), brightest)


def _resized(image: Image.Image, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    return np.array(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS), dtype=np.uint8)
