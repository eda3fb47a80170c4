"""The chunks of a PNG (W3C, third edition): what its decoder needs, without the rest. No codec.

A chunk that a picture can do without is left out if it is damaged, as libpng does. Whatever else is wrong raises
EOFError or struct.error.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from shared.photos.colour_spaces import SRGB, ColourSpace, Primaries, by_codes, by_gamma
from shared.photos.reading import HeaderReader, Part

_PICTURE: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_TRANSPARENT: Final = b"tRNS"
_GREY, _RGB = 0, 2  # kinds of colour
_METADATA: Final = {b"eXIf", b"iTXt"}  # how it is turned: moved before the pixels, where they are read in time
_DESCRIBING: Final = {b"IHDR", _TRANSPARENT, b"iCCP", b"cICP", b"sRGB", b"gAMA", b"cHRM", b"acTL"}
_END: Final = b"\0\0\0\0IEND\xae\x42\x60\x82"
_XMP: Final = b"XML:com.adobe.xmp\0"
_MAX_BYTES: Final = 1 << 20  # of a chunk that is looked at
_MAX_PROFILE_BYTES: Final = 4 << 20  # packed or not
_GAMMAS: Final = range(16, 625_000_001)  # others are ignored, as by libpng
_MIN_AREA: Final = 0.01  # twice that of the triangle of the primaries; of sRGB it is 0.22
_PQ_PROFILE: Final = b"ITUR_2100_PQ_FULL\0"  # a W3C note of 2017: the name alone counts


@dataclass(slots=True)
class Outline:
    """The structure of a PNG. `parts` are what its decoder needs; `is_whole`: they all lie inside the file.

    The last chunk, which is empty, may be missing.
    """

    parts: list[Part] = field(default_factory=list)
    is_whole: bool = False
    about: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def is_animated(self) -> bool:
        return int.from_bytes(self.about.get(b"acTL", b"")[:4]) > 1

    def profile(self) -> bytes | None:
        """Inflate the ICC profile; None if there is none, or it is damaged or too long."""
        _, _, packed = self.about.get(b"iCCP", b"").partition(b"\0")
        inflate = zlib.decompressobj()
        try:
            profile = inflate.decompress(packed[1:], _MAX_PROFILE_BYTES)
        except zlib.error:
            return None
        return profile if inflate.eof else None

    def transparent(self) -> int | tuple[int, ...] | None:
        """Return the level, or the colour, that is transparent, as Pillow returns it: only grey may have 16 bits."""
        header, chunk = self.about.get(b"IHDR", b""), self.about.get(b"tRNS", b"")
        depth, kind = (*header[8:10], 0, 0)[:2]
        if kind == _GREY and len(chunk) == 2:  # noqa: PLR2004
            level = int.from_bytes(chunk)
            return level * 255 // ((1 << depth) - 1) if depth in {2, 4} else level
        if kind == _RGB and depth == 16 and len(chunk) == 6:  # noqa: PLR2004
            return tuple(chunk[::2])
        return None

    def colour_space(self) -> ColourSpace | None:
        """Return the colour space if it is known without a profile, and not sRGB."""
        if (codes := self.about.get(b"cICP", b"")[:2]) and len(codes) == 2:  # noqa: PLR2004
            return by_codes(*codes)
        if self.about.get(b"iCCP", b"").startswith(_PQ_PROFILE):
            return by_codes(9, 16)
        if {b"iCCP", b"sRGB"} & self.about.keys():
            return None
        gamma = int.from_bytes(self.about.get(b"gAMA", b""))
        exponent = 100_000 / gamma if gamma in _GAMMAS else None
        return by_gamma(_primaries(self.about.get(b"cHRM", b"")), exponent)


def _primaries(chunk: bytes) -> Primaries:
    """Return the primaries in a chunk; those of sRGB if it has none from which other colours can be mixed."""
    if len(chunk) != 32:  # noqa: PLR2004
        return SRGB
    numbers = [number / 100_000 for number in struct.unpack(">8I", chunk)]
    white, red, green, blue = zip(numbers[::2], numbers[1::2], strict=True)
    area = (red[0] - blue[0]) * (green[1] - blue[1]) - (red[1] - blue[1]) * (green[0] - blue[0])
    is_sound = area > _MIN_AREA and all(0 < number <= 1 for number in numbers)
    return (red, green, blue, white) if is_sound else SRGB


def outline(reader: HeaderReader, size: int) -> Outline:
    """Go through a PNG of `size` bytes."""
    found = Outline([(0, 8)])
    metadata: dict[bytes, Part] = {}
    place, kind = 8, b""
    while place + 12 <= size and kind != b"IEND":
        length, kind = struct.unpack(">I4s", reader.read_at(place, 8))
        end = place + 12 + length
        is_first = kind not in found.about
        if is_first and kind in _DESCRIBING:
            content = _content(reader, place, length, _MAX_PROFILE_BYTES)
            found.about |= {} if content is None else {kind: content}
        if kind in _PICTURE or (kind == _TRANSPARENT and is_first and kind in found.about):
            found.parts.append((place, min(end, size)))
        elif kind in _METADATA - metadata.keys() and _may_tell_orientation(reader, place, length, kind):
            metadata[kind] = (place, end)
        place = end
    found.is_whole = kind == b"IEND" or place == size or _is_end(reader, place, size)
    found.parts[2:2] = metadata.values()  # behind the signature and the header
    return found


def _is_end(reader: HeaderReader, place: int, size: int) -> bool:
    """Return whether what follows is the beginning of the last chunk."""
    return 0 < size - place < len(_END) and _END.startswith(reader.read_at(place, size - place))


def _may_tell_orientation(reader: HeaderReader, place: int, length: int, kind: bytes) -> bool:
    content = _content(reader, place, length)
    return content is not None and (kind == b"eXIf" or content.startswith(_XMP))


def _content(reader: HeaderReader, place: int, length: int, most: int = _MAX_BYTES) -> bytes | None:
    """Return what is in a chunk; None if it is damaged, or too long to be looked at."""
    if length > most:
        return None
    chunk = reader.read_at(place + 4, length + 8)
    return chunk[4:-4] if zlib.crc32(chunk[:-4]) == int.from_bytes(chunk[-4:]) else None
