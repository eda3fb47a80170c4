"""The header of a JPEG 2000 file (ISO/IEC 15444-1, annex I, and 15444-2, annex M): what Pillow does not see. No codec.

A picture without its colours would be a wrong one. Whatever is wrong raises ValueError, EOFError or struct.error.
"""

from itertools import islice
from typing import Final

from shared.photos.boxes import Box, boxes, content_of, exactly
from shared.photos.kinds import unread
from shared.photos.reading import HeaderReader

SIGNATURE: Final = b"\0\0\0\x0cjP  "
_MAX_BOXES: Final = 64
_MAX_PROFILE_BYTES: Final = 4 << 20
_BY_NUMBER, _BY_PROFILE = 1, {2, 3}
_READ: Final = {0, 12, 15, 16, 17, 18}  # black and white, CMYK, sRGB, grey, YCC of sRGB
_SPACES: Final = {b"RGB ", b"GRAY"}  # of a profile: Pillow takes four channels for RGB and alpha
_EIGHT_BITS: Final = 7


def profile(reader: HeaderReader, size: int) -> bytes | None:
    """Return the ICC profile of a file of `size` bytes; None if it has none, or says otherwise what its colours are.

    Raises:
        UnreadPhotoError: its colours would come out wrongly.
    """
    header = [box for box in islice(boxes(reader, 0, size), _MAX_BOXES) if box.kind == b"jp2h"][:1]
    inner = [box for outer in header for box in islice(boxes(reader, outer.start, outer.end), _MAX_BOXES)]
    found = {box.kind: box for box in reversed(inner)}  # the first of each kind
    if b"pclr" in found and not _has_plain_palette(reader, found):
        raise unread("a JPEG 2000 image with a palette of a rare kind")
    return _profile(reader, found[b"colr"]) if b"colr" in found else None


def _profile(reader: HeaderReader, box: Box) -> bytes | None:
    method, _, _, *rest = content_of(reader, box, 7)
    if method == _BY_NUMBER and int.from_bytes(rest) not in _READ:
        raise unread("a JPEG 2000 image in a rare colour space")
    if method not in _BY_PROFILE or box.end - box.start > _MAX_PROFILE_BYTES:
        return None
    found = exactly(reader, box.start + 3, box.end - box.start - 3)
    if found[16:20] not in _SPACES:
        raise unread("a JPEG 2000 image in a rare colour space")
    return found


def _has_plain_palette(reader: HeaderReader, found: dict[bytes, Box]) -> bool:
    """Return whether a palette has 8 bits for each channel, and its columns are the channels in their order."""
    columns = content_of(reader, found[b"pclr"], 3)[2]
    depths = exactly(reader, found[b"pclr"].start + 3, columns)
    mapped = content_of(reader, found[b"cmap"]) if b"cmap" in found else b""
    named = content_of(reader, found[b"cdef"]) if b"cdef" in found else b""
    plain_map = b"".join(bytes([0, 0, 1, column]) for column in range(columns))
    plain_names = b"".join(bytes([0, column, 0, 0, 0, column + 1]) for column in range(columns))
    return set(depths) == {_EIGHT_BITS} and mapped in {b"", plain_map} and named[2:] in {b"", plain_names}
