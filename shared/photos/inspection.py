"""Inspecting a photo's header before anything is decoded: its format, its size, whether it is complete.

No codec runs here: a file that crashes one costs the job that decodes it, and not the process that takes everybody's
uploads.
"""

import io
import struct
from typing import BinaryIO

from PIL import Image

from shared.errors import DamagedPhotoError
from shared.photos import containers
from shared.photos.formats import Header, Limits, too_many_bytes
from shared.photos.opening import CODEC_ERRORS, HeaderReader, open_image, require_size, signature_of, stands_sideways

_PNG_END = b"IEND"
_JPEG_MARKER, _JPEG_SCAN, _JPEG_END = 0xFF, 0xDA, b"\xff\xd9"


def inspect(file: BinaryIO, limits: Limits) -> Header:
    """Check a photo by its header alone, in constant memory and a bounded number of reads; no codec is run.

    Raises:
        PhotoTooLargeError: too many bytes or megapixels.
        NotAPhotoError: none of the formats we read.
        DamagedPhotoError: one of them, but broken or cut short.
        UnusablePhotoError: narrower or lower than 16 pixels.
    """
    size = file.seek(0, io.SEEK_END)
    if size > limits.max_bytes:
        raise too_many_bytes(limits.max_bytes)
    reader = HeaderReader(file)
    if containers.is_known(signature_of(reader)):
        return _measured(reader, limits, size)
    image = open_image(reader, limits)
    require_size(image.size, limits)
    _require_whole(reader, image.format or "", size)
    return _header(image.format or "unknown", image.size, is_sideways=stands_sideways(image))


def _cut_short() -> DamagedPhotoError:
    return DamagedPhotoError("The photo is damaged or incomplete.")


def _measured(reader: HeaderReader, limits: Limits, size: int) -> Header:
    """Check a photo that only a codec could open."""
    try:
        sides = containers.measure(reader, size)
    except EOFError as error:
        raise _cut_short() from error
    except CODEC_ERRORS as error:
        raise DamagedPhotoError("The photo's header is damaged.") from error
    require_size(sides.stored, limits)
    require_size(sides.seen, limits)
    _require_whole(reader, sides.format, size)
    image = Image.Image()
    image.info |= {"exif": sides.exif} if sides.exif else {}
    image.info |= {"xmp": sides.xmp} if sides.xmp else {}
    return _header(sides.format, sides.seen, is_sideways=stands_sideways(image))


def _header(format_name: str, size: tuple[int, int], *, is_sideways: bool) -> Header:
    width, height = reversed(size) if is_sideways else size
    return Header(width, height, format_name)


def _require_whole(reader: HeaderReader, format_name: str, size: int) -> None:
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


def _jpeg_has_end(reader: HeaderReader, size: int) -> bool:
    """Return whether an end marker follows the first scan; Pillow's decoder refuses a JPEG without one.

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


def _contains(reader: HeaderReader, start: int, needle: bytes) -> bool:
    reader.seek(start)
    tail = b""
    while block := reader.read(1 << 16):
        if needle in tail + block:
            return True
        tail = block[-len(needle) + 1 :]
    return False


def _png_chunks_fit(reader: HeaderReader, size: int) -> bool:
    """Return whether every chunk up to the end chunk lies inside the file. The end chunk itself may be missing."""
    position = 8
    while position + 12 <= size:
        reader.seek(position)
        length, kind = struct.unpack(">I4s", reader.read(8))
        if kind == _PNG_END:
            return True
        position += 12 + length
    return position == size
