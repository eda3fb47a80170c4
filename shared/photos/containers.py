"""The size of a HEIF, AVIF or WebP, read in plain Python: otherwise their own libraries would have to open them.

So no codec runs where photos are only inspected. A file that crashes one costs the job that decodes it, and not the
process that takes everybody's uploads. The contents of boxes are those of ISO/IEC 23008-12 (HEIF) and 23000-22 (AVIF);
WebP is RFC 9649. Whatever is wrong raises ValueError, EOFError or struct.error.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Final

from shared.photos.boxes import Box, SeekableFile, boxes, content_of, exactly
from shared.photos.colour_spaces import ColourSpace, by_codes
from shared.photos.frames import Rectangle, size_of

_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_SHARED_BRANDS: Final = {b"mif1", b"msf1"}  # of either; which it is the other brands say
_MAX_METADATA_BYTES: Final = 1 << 20
_MAX_BRANDS_BYTES: Final = 4096
_PROPERTIES: Final = {b"ispe": 12, b"irot": 1, b"clap": 32, b"colr": 11}  # bytes of each that are looked at
_MAX_ALIKE: Final = 4  # boxes of one kind that are looked through
_MAX_ITEMS: Final = 1 << 14  # of a table; they are gone through one by one
_WEBP_CHUNKS: Final = {b"VP8 ", b"VP8L", b"VP8X"}
_HAS_EXIF, _HAS_XMP, _IS_ANIMATED = 0x08, 0x04, 0x02  # flags of VP8X


@dataclass(frozen=True, slots=True)
class Sides:
    """The size in pixels as stored, and as the picture is seen; for a WebP the metadata that may turn it.

    `space` is the colour space of a HEIF or AVIF that names one by numbers, if it is not sRGB; `part` is what is to be
    seen of an AVIF, whose decoder returns the rest as well; `frame` is where the first one of an animated WebP lies.
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
    if b"meta" in found and (properties := _of_primary_item(file, found[b"meta"])):
        return _sides(kind, properties, is_sequence=b"moov" in found)
    if b"moov" in found:
        sides = _of_first_track(file, found[b"moov"])
        return Sides(kind, sides, sides, is_sequence=True)
    raise ValueError("there is no picture")


def _of_primary_item(file: SeekableFile, meta: Box) -> list[tuple[bytes, bytes]]:
    """The properties of the picture that is shown, in the order in which they hold: kind and content."""
    inner = list(boxes(file, meta.start + 4, meta.end))
    kept = [part for box in inner if box.kind == b"iprp" for part in boxes(file, box.start, box.end)]
    primary = next((_number(content_of(file, box, 8)) for box in inner if box.kind == b"pitm"), None)
    stored = [part for box in kept if box.kind == b"ipco" for part in boxes(file, box.start, box.end)]
    if primary is None:
        return []
    tables = [box for box in kept if box.kind == b"ipma"][:_MAX_ALIKE]
    places = next((found for box in tables if (found := _places(content_of(file, box), primary))), [])
    wanted = [stored[place - 1] for place in places if 0 < place <= len(stored)]
    return [(box.kind, content_of(file, box, _PROPERTIES[box.kind])) for box in wanted if box.kind in _PROPERTIES]


def _number(pitm: bytes) -> int:
    return int.from_bytes(pitm[4:6] if pitm[0] == 0 else pitm[4:8])


def _places(ipma: bytes, wanted: int) -> list[int]:
    """Return the indices of an item's properties, counted from 1."""
    item_layout, is_wide = (">HB" if ipma[0] == 0 else ">IB"), bool(ipma[3] & 1)
    (entries,) = struct.unpack_from(">I", ipma, 4)
    if entries > _MAX_ITEMS:
        raise ValueError("there are more items than a photo has")
    place, width = 8, 2 if is_wide else 1
    for _ in range(entries):
        item, count = struct.unpack_from(item_layout, ipma, place)
        place += struct.calcsize(item_layout)
        if item == wanted:
            numbers = struct.unpack_from(f">{count}{'H' if is_wide else 'B'}", ipma, place)
            return [number & (0x7FFF if is_wide else 0x7F) for number in numbers]
        place += count * width
    return []


def _sides(kind: str, properties: list[tuple[bytes, bytes]], *, is_sequence: bool) -> Sides:
    extent = next((content for name, content in properties if name == b"ispe"), b"")
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


def _part(size: tuple[int, int], properties: list[tuple[bytes, bytes]]) -> Rectangle | None:
    """Return what is to be seen of an AVIF; None if that is all, or does not lie within it."""
    clap = next((content for name, content in properties if name == b"clap"), b"")
    if len(clap) < _PROPERTIES[b"clap"]:
        return None
    numbers = struct.unpack(">4I", clap[:16]) + struct.unpack(">iIiI", clap[16:])  # the place may be negative
    if not all(numbers[1::2]):
        return None
    across, down, right, below = (Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = floor((size[0] - across) / 2 + right), floor((size[1] - down) / 2 + below)
    part = (left, top, left + round(across), top + round(down))
    lies_within = 0 <= left < part[2] <= size[0] and 0 <= top < part[3] <= size[1]
    return part if lies_within else None


def _space(properties: list[tuple[bytes, bytes]]) -> ColourSpace | None:
    for name, content in properties:
        if name == b"colr" and content.startswith(b"nclx"):
            return by_codes(*struct.unpack_from(">HH", content, 4))
    return None


def _of_first_track(file: SeekableFile, moov: Box) -> tuple[int, int]:
    """The size of a sequence that names no picture of its own."""
    tracks = [box for box in boxes(file, moov.start, moov.end) if box.kind == b"trak"]
    for track in tracks[:_MAX_ALIKE]:
        for box in boxes(file, track.start, track.end):
            if box.kind == b"tkhd":
                width, height = struct.unpack(">II", exactly(file, box.end - 8, 8))
                if width and height:
                    return width >> 16, height >> 16
    raise ValueError("there is no track that is seen")
