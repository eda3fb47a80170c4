"""Photos in, pictures out: the formats Pillow reads safely plus HEIC, judged by the header before anything is decoded.

Colour is sRGB, 8 bit, upright. Nothing of the photo's metadata survives. Imported by everyone but `training`.
"""

import io
import math
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import AvifImagePlugin, Image, ImageCms, UnidentifiedImageError

from shared import headers
from shared.errors import DamagedPhotoError, NotAPhotoError, PhotoTooLargeError, SakugaError, UnusablePhotoError

MOST_ENLARGED = 2  # times, of a small photo to be drawn
MIN_SIDE = 16
# Raster formats whose plugins read nothing but a header when they open a file, and decode it by themselves; MPO comes
# as a JPEG. Left out for a reason: EPS starts Ghostscript, and IPTC opens its payload as whatever that is, an EPS too;
# ICO, CUR and ICNS decode while they open; BLP and FPX carry another image past our limits, FITS a gzip of any size;
# WMF, BUFR, GRIB, HDF5, MIC and MPEG are only recognised or need other packages. The rest is no photo anybody sends.
_FORMATS = frozenset(
    {"AVIF", "BMP", "DDS", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA"}
    | {"TIFF", "WEBP"}
)
# Twelve times the chunks of a 32 MiB PNG in libpng's usual 8 KiB; millions of empty ones would take a minute to open.
_MAX_HEADER_READS = 50_000
# Pillow walks these in Python, byte by byte; the metadata of a JPEG may be long, but never that long.
_WALKED, _MAX_WALKED_BYTES = (b"\xff\xd8\xff", b"8BPS"), 5 << 20
# A TIFF's strips and fractions become an object each; a photo of 64 megapixels has 24,000 strips at most.
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")  # as Pillow accepts them
_MAX_TIFF_VALUES, _TIFF_BYTE_TYPES = 1 << 16, {1, 2, 6, 7}
_MAX_EXIF_BYTES = 1 << 20
_BAND_PIXELS = 1 << 20  # what is converted at once: a few MB, whatever the photo's mode
# How much larger than the target a photo is left by what shrinks it cheaply, for LANCZOS to do the rest. Measured on
# photos against LANCZOS alone: PSNR 46 dB or more, SSIM 0.995, and half the time to decode a phone's 12 megapixels.
# With 1 it would be 38 dB, and less where a side is odd.
_SHARP = 1.5
# Measured with 64 megapixels, bytes a pixel: JPEG 2 (drafted), TIFF 5, HEIF and AVIF 8 to 11, WebP 16, JPEG 2000 24.
_DECODING_BYTES, _DECODING_BYTES_PER_PIXEL = 256 << 20, 32
# What codecs raise on hostile bytes besides OSError; MemoryError is a header that lies about its own tables.
_CODEC_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, EOFError,
    RuntimeError, MemoryError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
# First bytes of formats people send, to tell a damaged photo from something that is none.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"8BPS")
_ICON = b"\0\0\1\0"  # would pass for a TGA, which has no signature, but for one of palette colours without a palette
_PNG_END = b"IEND"
_JPEG_MARKER, _JPEG_SCAN, _JPEG_END = 0xFF, 0xDA, b"\xff\xd9"
_EXIF_ORIENTATION = 0x0112
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


class Format(StrEnum):
    """The format of a picture; "jpg" is an alias of JPEG."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"

    @classmethod
    def _missing_(cls, value: object) -> "Format | None":
        return cls.JPEG if value == "jpg" else None

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

    @property
    def decoding_bytes(self) -> int:
        """More than decoding the largest photo takes; what asks for this much is not what its header says."""
        return _DECODING_BYTES + int(_DECODING_BYTES_PER_PIXEL * self.max_megapixels * 1e6)


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a photo before it is decoded: upright size in pixels and the format's name."""

    width: int
    height: int
    format: str


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded photo: sRGB (H, W, 3), its alpha (H, W) or None, and what the user should be told about it.

    `size` is its own (width, height), upright, before it was shrunk.
    """

    rgb: Rgb
    alpha: Alpha | None
    notes: tuple[str, ...]
    size: tuple[int, int]


class _HeaderReader:
    """A file of which only so much may be read before the limits are lifted.

    Opening costs Python time and memory for every part a header has, and Pillow has no limit of its own.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reads_left: float = _MAX_HEADER_READS
        self.bytes_left = math.inf
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._reads_left -= 1
        self.bytes_left -= len(data)
        if min(self._reads_left, self.bytes_left) < 0:
            raise DamagedPhotoError("The photo's header is damaged: it is too long.")
        return data

    def lift_limits(self) -> None:
        """Let the pixels be read, in as many pieces as they have."""
        self._reads_left = self.bytes_left = math.inf


def inspect(file: BinaryIO, limits: Limits) -> Header:
    """Judge a photo by its header alone, in constant memory and a bounded number of reads; no codec is run.

    Raises:
        PhotoTooLargeError: too many bytes or megapixels.
        NotAPhotoError: none of the formats we read.
        DamagedPhotoError: one of them, but broken or cut short.
        UnusablePhotoError: narrower or lower than 16 pixels.
    """
    size = file.seek(0, io.SEEK_END)
    if size > limits.max_bytes:
        raise too_many_bytes(limits.max_bytes)
    reader = _HeaderReader(file)
    signature = _signature(reader)
    if headers.is_known(signature):
        return _measured(reader, limits, size)
    image = _open(reader, limits)
    _require_size(image.size, limits)
    _require_whole(reader, image.format or "", size)
    return _header(image.format or "unknown", image.size, is_sideways=_stands_sideways(image))


def decode(file: BinaryIO, limits: Limits, *, max_side: int, drawn_at: int | None = None) -> Photo:
    """Decode a photo upright, in sRGB, at most `max_side` pixels on its longest side (LANCZOS, aspect kept).

    Where it is to be drawn larger than that, it is left as large as `drawn_side` tells.

    Raises:
        SakugaError: what `inspect` raises, and DamagedPhotoError when the pixels cannot be read.
    """
    inspect(file, limits)
    reader = _HeaderReader(file)
    image = _open(reader, limits)
    _require_size(image.size, limits)  # a codec may see another size than its file's header tells
    try:
        notes = _notes(image)
        reader.lift_limits()
        # A JPEG decodes at a half, a quarter or an eighth of its size for less, and says which part of that is photo.
        side = max(max_side, drawn_side(image.size, drawn_at)) if drawn_at else max_side
        upright = image.size[::-1] if _stands_sideways(image) else image.size
        drafted = image.draft(None, _spared(fit(image.size, side)))
        image.load()
        extent = drafted[1][2:] if drafted else image.size
        small = _shrunk(image, extent, fit(extent, side))
        colour, alpha = _to_srgb(_turned(small, _orientation(image)), image.info.get("icc_profile"))
        return Photo(np.array(colour), np.array(alpha) if alpha else None, notes, upright)
    except SakugaError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits, _pixels_of(error)) from error
    except MemoryError as error:
        raise PhotoTooLargeError("Decoding this photo takes more memory than its size allows.") from error
    except _CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's data is damaged or incomplete; it opens but cannot be decoded.") from error


def encode(rgb: Rgb, alpha: Alpha | None, picture_format: Format) -> bytes:
    """Write a picture without metadata; sRGB is what a viewer assumes of it. Alpha is dropped for JPEG."""
    image = Image.fromarray(rgb)
    if alpha is not None and picture_format.keeps_alpha:
        image.putalpha(Image.fromarray(alpha))
    buffer = io.BytesIO()
    match picture_format:
        case Format.JPEG:
            # Not optimised, which takes twice the time for 3 % fewer bytes and fails on grain that outgrows its buffer.
            image.save(buffer, "JPEG", quality=92, subsampling=0)
        case Format.PNG:
            image.save(buffer, "PNG", compress_level=6)
        case Format.WEBP:
            image.save(buffer, "WEBP", quality=90, method=4, exact=True)
    return buffer.getvalue()


def fit(size: tuple[float, float], max_side: int) -> tuple[int, int]:
    """The (width, height) of `size` shrunk to `max_side` on its longest side; never enlarged, never under 1."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_size(size: tuple[int, int], drawn_at: int) -> tuple[int, int]:
    """The (width, height) at which weights that draw at `drawn_at` draw a photo of `size`.

    A small photo is enlarged for it, up to twofold: lines and areas have their width in pixels, and would be too coarse
    for the eyes in it.
    """
    scale = min(MOST_ENLARGED, drawn_side(size, drawn_at) / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def drawn_side(size: tuple[int, int], drawn_at: int) -> int:
    """The longest side, in pixels, at which weights that draw at `drawn_at` draw a photo of `size`.

    Of a long photo the shortest side would not be enough to see anything in. It is a third of `drawn_at` at the least,
    as long as that is no more to draw than a square.
    """
    shape = max(size) / min(size)
    return round(drawn_at * max(1.0, min(shape / 3, math.sqrt(shape))))


def too_many_bytes(max_bytes: int) -> PhotoTooLargeError:
    return PhotoTooLargeError(f"A photo may be at most {max_bytes / (1 << 20):.0f} MiB.")


def _not_a_photo() -> NotAPhotoError:
    return NotAPhotoError("Send a JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP image.")


def _tenths(number: float) -> str:
    """A number that is not rounded down to what would have been allowed."""
    return f"{math.ceil(number * 10) / 10:.1f}".removesuffix(".0")


def _cut_short() -> DamagedPhotoError:
    return DamagedPhotoError("The photo is damaged or incomplete.")


def _too_many_pixels(limits: Limits, pixels: int | None) -> PhotoTooLargeError:
    allowed = f"A photo may have at most {limits.max_megapixels:g} megapixels"
    if pixels is None:
        return PhotoTooLargeError(f"{allowed}.")
    return PhotoTooLargeError(f"{allowed}; this one has {_tenths(pixels / 1e6)}.")


def _pixels_of(error: Image.DecompressionBombError) -> int | None:
    """How many pixels the photo has that Pillow refused; nothing but the error's sentence knows."""
    found = re.search(r"\d+", str(error))
    return int(found[0]) if found else None


@cache
def readable_formats() -> list[str]:
    """The names of all formats that are accepted."""
    pillow_heif.register_heif_opener()
    AvifImagePlugin.DEFAULT_MAX_THREADS = pillow_heif.options.DECODE_THREADS  # and not as many as the machine has cores
    Image.init()
    return sorted(_FORMATS & set(Image.OPEN))


def _signature(reader: _HeaderReader) -> bytes:
    reader.seek(0)
    return reader.read(16)


def _measured(reader: _HeaderReader, limits: Limits, size: int) -> Header:
    """Judge a photo that only a codec could open."""
    try:
        sides = headers.measure(reader, size)
    except EOFError as error:
        raise _cut_short() from error
    except _CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's header is damaged.") from error
    _require_size(sides.stored, limits)
    _require_size(sides.seen, limits)
    _require_whole(reader, sides.format, size)
    image = Image.Image()
    image.info |= {"exif": sides.exif} if sides.exif else {}
    image.info |= {"xmp": sides.xmp} if sides.xmp else {}
    return _header(sides.format, sides.seen, is_sideways=_stands_sideways(image))


def _header(format_name: str, size: tuple[int, int], *, is_sideways: bool) -> Header:
    width, height = reversed(size) if is_sideways else size
    return Header(width, height, format_name)


def _require_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_megapixels * 1e6:
        raise _too_many_pixels(limits, width * height)
    if min(width, height) < MIN_SIDE:
        raise UnusablePhotoError(f"The photo is {width}x{height} pixels; each side must be at least {MIN_SIDE}.")


def _open(reader: _HeaderReader, limits: Limits) -> Image.Image:
    formats = readable_formats()
    signature = _signature(reader)
    if signature.startswith(_ICON):
        raise _not_a_photo()
    if signature.startswith(_WALKED):
        reader.bytes_left = _MAX_WALKED_BYTES
    try:
        if signature.startswith(_TIFF_SIGNATURES):
            _require_short_tables(reader, signature)
        return Image.open(cast("BinaryIO", reader), formats=formats)  # it reads, seeks and tells, which is all they use
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(limits, _pixels_of(error)) from error
    except UnidentifiedImageError as error:
        if not signature.startswith(_SIGNATURES):
            raise _not_a_photo() from error
        raise DamagedPhotoError("The photo's header is damaged.") from error
    except _CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's header is damaged.") from error


def _require_short_tables(reader: _HeaderReader, signature: bytes) -> None:
    """Refuse a TIFF (6.0, section 2) with longer tables than a photo needs, before Pillow unpacks them."""
    order = "<" if signature.startswith(b"II") else ">"
    is_big = signature[2:3] == b"+"  # Pillow, too, reads a BigTIFF of the other byte order as a TIFF
    start, count, entry = ("8xQ", "Q", "2xHQ8x") if is_big else ("4xI", "H", "2xHI4x")
    reader.seek(*struct.unpack_from(order + start, signature))
    for _ in range(*_unpacked(reader, order + count)):
        kind, values = _unpacked(reader, order + entry)
        if kind not in _TIFF_BYTE_TYPES and values > _MAX_TIFF_VALUES:
            raise DamagedPhotoError("The photo's header is damaged: it has too many parts.")


def _unpacked(reader: _HeaderReader, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, reader.read(struct.calcsize(layout)))


def _require_whole(reader: _HeaderReader, format_name: str, size: int) -> None:
    """Refuse a file that visibly ends too early, without decoding it. What this misses, `decode` finds."""
    match format_name:
        case "JPEG" | "MPO":
            whole = _jpeg_has_end(reader, size)
        case "PNG":
            whole = _png_chunks_fit(reader, size)
        case "WEBP":
            reader.seek(4)
            whole = int.from_bytes(reader.read(4), "little") + 8 <= size
        case _:
            whole = True
    if not whole:
        raise _cut_short()


def _jpeg_has_end(reader: _HeaderReader, size: int) -> bool:
    """Whether an end marker follows the first scan; Pillow's decoder refuses a JPEG without one.

    Segments are skipped by their length, so an end marker inside a thumbnail does not count.
    """
    position = 2
    while position + 4 <= size:
        reader.seek(position)
        lead, marker, high, low = reader.read(4)
        if lead != _JPEG_MARKER:
            return True  # not a segment where one should be: leave the verdict to the decoder
        position += 1 if marker == _JPEG_MARKER else 2 + (high << 8) + low
        if marker == _JPEG_SCAN:
            reader.lift_limits()  # the rest is read once, in large blocks
            return _contains(reader, position, _JPEG_END)
    return False


def _contains(reader: _HeaderReader, start: int, needle: bytes) -> bool:
    reader.seek(start)
    tail = b""
    while block := reader.read(1 << 16):
        if needle in tail + block:
            return True
        tail = block[-len(needle) + 1 :]
    return False


def _png_chunks_fit(reader: _HeaderReader, size: int) -> bool:
    """Whether every chunk up to the end chunk lies inside the file. A missing end chunk alone is forgiven."""
    position = 8
    while position + 12 <= size:
        reader.seek(position)
        length, kind = struct.unpack(">I4s", reader.read(8))
        if kind == _PNG_END:
            return True
        position += 12 + length
    return position == size


def _stands_sideways(image: Image.Image) -> bool:
    # The size of a TIFF is upright already; Pillow turns its pixels as it loads them.
    return image.format != "TIFF" and _orientation(image) in {5, 6, 7, 8}


def _orientation(image: Image.Image) -> int:
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return 1  # a table of fractions this long would take seconds to unpack
    try:
        # Not image.getexif(): that of a PNG decodes the whole picture to look for metadata behind it.
        return int(Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
    except _CODEC_ERRORS:
        return 1  # unreadable metadata does not make a photo unreadable


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
    """Resize to (width, height) with LANCZOS, as 8 bit colour or, if anything is transparent, as premultiplied RGBa.

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
    """Bring to a mode that can be resized: 8 bit, no palette, alpha premultiplied."""
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
    except (ImageCms.PyCMSError, *_CODEC_ERRORS):
        return image
    return converted or image
