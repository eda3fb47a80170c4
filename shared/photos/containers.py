"""The size of a HEIF, AVIF or WebP, read in plain Python: otherwise their own libraries would have to open them.

So no codec runs where photos are only inspected. A file that crashes one costs the job that decodes it, and not the
process that takes everybody's uploads. The contents of boxes are those of ISO/IEC 23008-12 (HEIF) and 23000-22 (AVIF);
WebP is RFC 9649. Whatever is wrong raises ValueError, EOFError or struct.error.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from typing import Final

from shared.photos import items
from shared.photos.boxes import Box, SeekableFile, boxes, content_of, exactly
from shared.photos.colour_spaces import ColourSpace, by_codes
from shared.photos.frames import Rectangle, size_of
from shared.photos.items import Property
from shared.photos.kinds import unread

_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_SHARED_BRANDS: Final = {b"mif1", b"msf1"}  # of either; which it is the other brands say
_MAX_METADATA_BYTES: Final = 1 << 20
_MAX_BRANDS_BYTES: Final = 4096
_CLAP_BYTES: Final = 32
_MAX_TRACKS: Final = 4  # that are looked through
_WEBP_CHUNKS: Final = {b"VP8 ", b"VP8L", b"VP8X"}
_HAS_EXIF, _HAS_XMP, _IS_ANIMATED = 0x08, 0x04, 0x02  # flags of VP8X


@dataclass(frozen=True, slots=True)
class Sides:
    """The size in pixels as stored, and as the picture is seen; for a WebP the metadata that may turn it.

    `space` is the colour space of a HEIF or AVIF that names one by numbers, if it is not sRGB; `part` is what is to be
    seen of an AVIF, whose decoder returns the rest as well; `frame` is where the first one of an animated WebP lies.
    `patches` are bytes by their places in the file, without which a decoder would show another picture.
    """

    format: str
    stored: tuple[int, int]
    seen: tuple[int, int]
    exif: bytes = b""
    xmp: bytes = b""
    space: ColourSpace | None = None
    part: Rectangle | None = None
    frame: Rectangle | None = None
    is_sequence: bool = False
    patches: Mapping[int, bytes] = field(default_factory=dict)


def is_known(signature: bytes) -> bool:
    """Return whether these first 16 bytes belong to a format that can be measured here."""
    return _is_webp(signature) or (
        signature[4:8] == b"ftyp" and signature[8:12] in _HEIF_BRANDS | _AVIF_BRANDS | _SHARED_BRANDS
    )


def measure(file: SeekableFile, size: int) -> Sides:
    """Return the sides of a photo in a file of `size` bytes whose signature is known."""
    return _webp(file, size) if _is_webp(exactly(file, 0, 16)) else _heif(file, size)


def _is_webp(signature: bytes) -> bool:
    return signature[:4] == b"RIFF" and signature[8:12] == b"WEBP" and signature[12:16] in _WEBP_CHUNKS


def _webp(file: SeekableFile, size: int) -> Sides:
    kind, head = exactly(file, 12, 4), exactly(file, 20, 10)
    exif = xmp = b""
    frame = None
    match kind:
        case b"VP8 ":
            if head[3:6] != b"\x9d\x01\x2a":
                raise ValueError("no key frame")
            sides = [side & 0x3FFF for side in struct.unpack_from("<HH", head, 6)]
        case b"VP8L":
            bits = int.from_bytes(head[1:5], "little")
            sides = [(bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1]
        case _:
            sides = [int.from_bytes(head[place : place + 3], "little") + 1 for place in (4, 7)]
            wanted = {b"EXIF": head[0] & _HAS_EXIF, b"XMP ": head[0] & _HAS_XMP}
            found = _webp_chunks(file, size, {name for name, flag in wanted.items() if flag})
            exif, xmp = found.get(b"EXIF", b""), found.get(b"XMP ", b"")
            frame = _first_frame(file, size) if head[0] & _IS_ANIMATED else None
    width, height = sides
    return Sides("WEBP", (width, height), (width, height), exif, xmp, frame=frame)


def _webp_chunks(file: SeekableFile, size: int, wanted: set[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for kind, place, length in _chunks(file, size) if wanted else ():
        if kind in wanted and length <= _MAX_METADATA_BYTES:
            found.setdefault(kind, exactly(file, place, length))
        if not wanted - found.keys():
            break
    return found


def _chunks(file: SeekableFile, size: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk of a WebP, where its content begins, and the length of that."""
    place = 12
    while place + 8 <= size:
        kind, length = struct.unpack("<4sI", exactly(file, place, 8))
        yield kind, place + 8, length
        place += 8 + length + length % 2


def _first_frame(file: SeekableFile, size: int) -> Rectangle | None:
    for kind, place, _ in _chunks(file, size):
        if kind == b"ANMF":
            head = exactly(file, place, 12)
            left, top, width, height = (int.from_bytes(head[at : at + 3], "little") for at in (0, 3, 6, 9))
            return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1
    return None


def _heif(file: SeekableFile, size: int) -> Sides:
    found = {box.kind: box for box in reversed(list(boxes(file, 0, size)))}  # the first of each kind
    brands = content_of(file, found[b"ftyp"], _MAX_BRANDS_BYTES) if b"ftyp" in found else b""
    is_avif = any(brands[place : place + 4] in _AVIF_BRANDS for place in range(0, len(brands), 4))
    kind = "AVIF" if is_avif else "HEIF"
    picture = items.shown(file, found[b"meta"]) if b"meta" in found else None
    if picture and picture.properties:
        return replace(_sides(kind, picture.properties, is_sequence=b"moov" in found), patches=picture.patches)
    if b"moov" in found and kind == "HEIF":
        raise unread("a HEIF sequence without a main picture")
    if b"moov" in found:
        sides = _of_first_track(file, found[b"moov"])
        return Sides(kind, sides, sides, is_sequence=True)
    raise ValueError("there is no picture")


def _sides(kind: str, properties: Sequence[Property], *, is_sequence: bool) -> Sides:
    extent = next((content for name, content in properties if name == items.EXTENT), b"")
    stored: tuple[int, int] = struct.unpack(">4xII", extent[:12])
    part = _part(stored, properties) if kind == "AVIF" else None
    width, height = size_of(part) if part else stored
    for name, content in properties:
        if name == b"irot" and content[0] & 1:
            width, height = height, width
        elif name == b"clap" and kind == "HEIF":
            across, of_across, down, of_down = struct.unpack(">4I", content[:16])
            if not of_across or not of_down:
                raise ValueError("a part without a size is shown")
            width, height = min(width, round(across / of_across)), min(height, round(down / of_down))
    return Sides(kind, stored, (width, height), space=_space(properties), part=part, is_sequence=is_sequence)


def _part(size: tuple[int, int], properties: Sequence[Property]) -> Rectangle | None:
    """Return what is to be seen of an AVIF; None if that is all, or does not lie within it."""
    clap = next((content for name, content in properties if name == b"clap"), b"")
    if len(clap) < _CLAP_BYTES:
        return None
    numbers = struct.unpack(">4I", clap[:16]) + struct.unpack(">iIiI", clap[16:])  # the place may be negative
    if not all(numbers[1::2]):
        return None
    across, down, right, below = (Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = floor((size[0] - across) / 2 + right), floor((size[1] - down) / 2 + below)
    part = (left, top, left + round(across), top + round(down))
    lies_within = 0 <= left < part[2] <= size[0] and 0 <= top < part[3] <= size[1]
    return part if lies_within else None


def _space(properties: Sequence[Property]) -> ColourSpace | None:
    for name, content in properties:
        if name == b"colr" and content.startswith(b"nclx"):
            return by_codes(*struct.unpack_from(">HH", content, 4))
    return None


def _of_first_track(file: SeekableFile, moov: Box) -> tuple[int, int]:
    """The size of a sequence that names no picture of its own."""
    tracks = [box for box in boxes(file, moov.start, moov.end) if box.kind == b"trak"]
    for track in tracks[:_MAX_TRACKS]:
        for box in boxes(file, track.start, track.end):
            if box.kind == b"tkhd":
                width, height = struct.unpack(">II", exactly(file, box.end - 8, 8))
                if width and height:
                    return width >> 16, height >> 16
    raise ValueError("there is no track that is seen")
