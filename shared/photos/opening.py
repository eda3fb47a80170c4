"""Opening a photo with Pillow to read its header, so that a hostile one costs little. No pixel is decoded."""

import math
import re
import struct
import zlib
from collections.abc import Collection
from typing import BinaryIO, cast

from PIL import (  # each makes its formats known to Pillow  # noqa: F401
    BmpImagePlugin,
    DdsImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,
    PcxImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    QoiImagePlugin,
    SgiImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

from shared.errors import DamagedPhotoError, NotAPhotoError, PhotoTooLargeError, UnusablePhotoError
from shared.photos.formats import MIN_SIDE, Limits

# Raster formats whose plugins read nothing but a header when they open a file, and decode it by themselves; MPO comes
# as a JPEG. Left out for a reason: EPS starts Ghostscript, and IPTC opens its payload as whatever that is, an EPS too;
# ICO, CUR and ICNS decode while they open; BLP and FPX carry another image past our limits, FITS a gzip of any size;
# WMF, BUFR, GRIB, HDF5, MIC and MPEG are only recognised or need other packages. The rest is no photo anybody sends.
# HEIF, AVIF and WebP are opened by the libraries that decode them: only `shared.photos.decoding` knows those.
PLAIN_FORMATS = frozenset(
    {"BMP", "DDS", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF"}
)
# Twelve times the chunks of a 32 MiB PNG in libpng's usual 8 KiB; millions of empty ones would take a minute to open.
_MAX_HEADER_READS = 50_000
# Pillow walks these in Python, byte by byte; the metadata of a JPEG may be long, but never that long.
_WALKED, _MAX_WALKED_BYTES = (b"\xff\xd8\xff", b"8BPS"), 5 << 20
# A TIFF's strips and fractions become an object each; a photo of 64 megapixels has 24,000 strips at most.
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")  # as Pillow accepts them
_MAX_TIFF_VALUES, _TIFF_BYTE_TYPES = 1 << 16, {1, 2, 6, 7}
_MAX_EXIF_BYTES = 1 << 20
# What codecs raise on hostile bytes besides OSError; MemoryError is a header that lies about its own tables.
CODEC_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, EOFError,
    RuntimeError, MemoryError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
# First bytes of formats people send, to tell a damaged photo from something that is none.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"8BPS")
_ICON = b"\0\0\1\0"  # would pass for a TGA, which has no signature, but for one of palette colours without a palette
_EXIF_ORIENTATION = 0x0112


class HeaderReader:
    """A file with limits on how much may be read, until they are lifted.

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


def _not_a_photo() -> NotAPhotoError:
    return NotAPhotoError("Send a JPEG, PNG, WebP, HEIC, AVIF, TIFF, GIF or BMP image.")


def _tenths(number: float) -> str:
    """Format a number, rounded up so that it does not look like an allowed one."""
    return f"{math.ceil(number * 10) / 10:.1f}".removesuffix(".0")


def too_many_pixels(limits: Limits, error: Image.DecompressionBombError) -> PhotoTooLargeError:
    """Return the error for a photo that Pillow refuses as too large."""
    return _too_many_pixels(limits, _pixels_of(error))


def _too_many_pixels(limits: Limits, pixels: int | None) -> PhotoTooLargeError:
    allowed = f"A photo may have at most {limits.max_megapixels:g} megapixels"
    if pixels is None:
        return PhotoTooLargeError(f"{allowed}.")
    return PhotoTooLargeError(f"{allowed}; this one has {_tenths(pixels / 1e6)}.")


def _pixels_of(error: Image.DecompressionBombError) -> int | None:
    """Return the number of pixels of a photo that Pillow refused, which only the error's message tells."""
    found = re.search(r"\d+", str(error))
    return int(found[0]) if found else None


def signature_of(reader: HeaderReader) -> bytes:
    """Return the first 16 bytes."""
    reader.seek(0)
    return reader.read(16)


def require_size(size: tuple[int, int], limits: Limits) -> None:
    """Refuse a photo with too many pixels, or too few on one side.

    Raises:
        PhotoTooLargeError, UnusablePhotoError: it has.
    """
    width, height = size
    if width * height > limits.max_megapixels * 1e6:
        raise _too_many_pixels(limits, width * height)
    if min(width, height) < MIN_SIDE:
        raise UnusablePhotoError(f"The photo is {width}x{height} pixels; each side must be at least {MIN_SIDE}.")


def open_image(reader: HeaderReader, limits: Limits, formats: Collection[str] = PLAIN_FORMATS) -> Image.Image:
    """Open a photo of one of these formats; its pixels are not read.

    Raises:
        PhotoTooLargeError: its header announces more pixels than Pillow accepts.
        NotAPhotoError: none of these formats.
        DamagedPhotoError: one of them, but broken.
    """
    signature = signature_of(reader)
    if signature.startswith(_ICON):
        raise _not_a_photo()
    if signature.startswith(_WALKED):
        reader.bytes_left = _MAX_WALKED_BYTES
    try:
        if signature.startswith(_TIFF_SIGNATURES):
            _require_short_tables(reader, signature)
        file = cast("BinaryIO", reader)  # it reads, seeks and tells, which is all they use
        return Image.open(file, formats=sorted(formats))
    except Image.DecompressionBombError as error:
        raise too_many_pixels(limits, error) from error
    except UnidentifiedImageError as error:
        if not signature.startswith(_SIGNATURES):
            raise _not_a_photo() from error
        raise DamagedPhotoError("The photo's header is damaged.") from error
    except CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's header is damaged.") from error


def _require_short_tables(reader: HeaderReader, signature: bytes) -> None:
    """Refuse a TIFF (6.0, section 2) with longer tables than a photo needs, before Pillow unpacks them."""
    order = "<" if signature.startswith(b"II") else ">"
    is_big = signature[2:3] == b"+"  # Pillow, too, reads a BigTIFF of the other byte order as a TIFF
    start, count, entry = ("8xQ", "Q", "2xHQ8x") if is_big else ("4xI", "H", "2xHI4x")
    reader.seek(*struct.unpack_from(order + start, signature))
    for _ in range(*_unpacked(reader, order + count)):
        kind, values = _unpacked(reader, order + entry)
        if kind not in _TIFF_BYTE_TYPES and values > _MAX_TIFF_VALUES:
            raise DamagedPhotoError("The photo's header is damaged: it has too many parts.")


def _unpacked(reader: HeaderReader, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, reader.read(struct.calcsize(layout)))


def stands_sideways(image: Image.Image) -> bool:
    """Return whether width and height are swapped when the photo is turned upright."""
    # The size of a TIFF is upright already; Pillow turns its pixels as it loads them.
    return image.format != "TIFF" and orientation(image) in {5, 6, 7, 8}


def orientation(image: Image.Image) -> int:
    """Return the orientation of a photo (Exif 2.32, 4.6.4); 1, upright, if it has none."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return 1  # a table of fractions this long would take seconds to unpack
    try:
        # Not image.getexif(): that of a PNG decodes the whole picture to look for metadata behind it.
        return int(Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1))
    except CODEC_ERRORS:
        return 1  # unreadable metadata does not make a photo unreadable
