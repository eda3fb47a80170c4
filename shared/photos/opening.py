"""Opening a photo with Pillow to read its header, so that a hostile one costs little. No pixel is decoded."""

import math
import re
from collections.abc import Collection
from typing import BinaryIO, cast

from PIL import (  # each makes its formats known to Pillow  # noqa: F401
    BmpImagePlugin,
    DdsImagePlugin,
    ExifTags,
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
from shared.photos import containers, psd, tiff
from shared.photos.colour_spaces import ColourSpace, by_exif
from shared.photos.formats import MIN_SIDE, Limits
from shared.photos.kinds import READ, unread
from shared.photos.reading import CODEC_ERRORS, HeaderReader

# Raster formats whose plugins read nothing but a header when they open a file, and decode it by themselves; MPO comes
# as a JPEG. Left out for a reason: EPS starts Ghostscript, and IPTC opens its payload as whatever that is, an EPS too;
# ICO, CUR and ICNS decode while they open; BLP and FPX carry another image past our limits, FITS a gzip of any size;
# WMF, BUFR, GRIB, HDF5, MIC and MPEG are only recognised or need other packages. The rest is no photo anybody sends.
# HEIF, AVIF and WebP are opened by the libraries that decode them: only `shared.photos.decoding` knows those.
PLAIN_FORMATS = frozenset(
    {"BMP", "DDS", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA", "TIFF"}
)
# Pillow walks these in Python, byte by byte; the metadata of a JPEG may be long, but never that long.
_WALKED, _MAX_WALKED_BYTES = (b"\xff\xd8\xff", b"8BPS"), 5 << 20
_MAX_EXIF_BYTES = 1 << 20
# First bytes of formats people send, to tell a damaged photo from something that is none.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*", b"8BPS")
_EXIF_ORIENTATION = 0x0112


def _not_a_photo() -> NotAPhotoError:
    return NotAPhotoError(READ)


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
    if signature.startswith(_WALKED):
        reader.bytes_left = _MAX_WALKED_BYTES
    try:
        if signature.startswith(tiff.SIGNATURES):
            tiff.first(reader)  # before Pillow unpacks it
        file = cast("BinaryIO", reader)  # it reads, seeks and tells, which is all they use
        image = Image.open(file, formats=sorted(formats))
    except Image.DecompressionBombError as error:
        raise too_many_pixels(limits, error) from error
    except UnidentifiedImageError as error:
        _require_known_tiff(reader, signature, opens=False)
        if not (signature.startswith(_SIGNATURES) or containers.is_known(signature)):
            raise _not_a_photo() from error
        raise damaged_header() from error
    except CODEC_ERRORS as error:
        if str(error).startswith("Unsupported BMP"):
            raise unread("a BMP of a rare kind") from error
        raise damaged_header() from error
    _require_known_tiff(reader, signature, opens=True)
    psd.prepare(image, reader)
    return image


def damaged_header() -> DamagedPhotoError:
    return DamagedPhotoError("The photo's header is damaged.")


def _require_known_tiff(reader: HeaderReader, signature: bytes, *, opens: bool) -> None:
    if not signature.startswith(tiff.SIGNATURES):
        return
    try:
        tiff.require_readable(reader, opens=opens)
    except CODEC_ERRORS as error:
        raise damaged_header() from error


def stands_sideways(image: Image.Image, otherwise: int = 1) -> bool:
    """Return whether width and height are swapped when the photo is turned upright."""
    # The size of a TIFF is upright already; Pillow turns its pixels as it loads them.
    return image.format != "TIFF" and orientation(image, otherwise) in {5, 6, 7, 8}


def orientation(image: Image.Image, otherwise: int = 1) -> int:
    """Return the orientation of a photo (Exif 2.32, 4.6.4); `otherwise`, or 1, which is upright, if it has none."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return 1  # a table of fractions this long would take seconds to unpack
    try:
        # Not image.getexif(): that of a PNG decodes the whole picture to look for metadata behind it.
        return int(Image.Image.getexif(image).get(_EXIF_ORIENTATION, otherwise))
    except CODEC_ERRORS:
        return 1  # unreadable metadata does not make a photo unreadable


def colour_space_in_exif(image: Image.Image) -> ColourSpace | None:
    """Return the colour space that a photo's EXIF tells, if it is not sRGB."""
    if len(image.info.get("exif") or b"") > _MAX_EXIF_BYTES:
        return None
    try:
        exif = Image.Image.getexif(image)
        found = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        return by_exif(found, exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex, ""))
    except CODEC_ERRORS:
        return None
