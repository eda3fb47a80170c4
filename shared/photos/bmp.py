"""The colour profile of a BMP (BITMAPV5HEADER of Windows), which Pillow does not read. No codec."""

import struct
from typing import Final

from shared.photos.reading import HeaderReader

SIGNATURE: Final = b"BM"
_HEADER: Final = 14  # where it begins
_MIN_BYTES, _KIND, _PLACE = 124, 56, 112  # of a header of version 5, and where it tells of a profile
_EMBEDDED: Final = b"DEBM"
_MAX_PROFILE_BYTES: Final = 4 << 20


def profile(reader: HeaderReader) -> bytes | None:
    """Return the ICC profile; None if there is none, or it is cut short or too long."""
    reader.seek(_HEADER)
    header = reader.read(_MIN_BYTES)
    is_of_version_5 = len(header) == _MIN_BYTES <= int.from_bytes(header[:4], "little")
    if not is_of_version_5 or header[_KIND : _KIND + 4] != _EMBEDDED:
        return None
    place, size = struct.unpack_from("<II", header, _PLACE)
    if size > _MAX_PROFILE_BYTES:
        return None
    reader.seek(_HEADER + place)
    found = reader.read(size)
    return found if len(found) == size else None
