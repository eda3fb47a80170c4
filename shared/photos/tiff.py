"""The directories of a TIFF (6.0, with BigTIFF), and of raw files, which are built like one. No codec.

Whatever is wrong raises one of `CODEC_ERRORS`, or DamagedPhotoError.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.errors import DamagedPhotoError
from shared.photos.kinds import unread
from shared.photos.reading import CODEC_ERRORS, HeaderReader

SIGNATURES: Final = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0")  # as Pillow reads them
# A TIFF's strips and fractions become an object each; a photo of 64 megapixels has 24,000 strips at most.
_MAX_VALUES: Final = 1 << 16
_MAX_COLOURS: Final = 3 << 16  # values of a palette
_MAX_DIRECTORIES: Final = 64
_LAYOUTS: Final = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 18: "Q"}
_BYTES: Final = {1, 2, 6, 7}  # kinds of values that stay one object, however many they are

_SUBFILE, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 254, 259, 262, 274
_WIDTH, _HEIGHT, _BITS, _STRIPS, _SAMPLES, _PLANAR = 256, 257, 258, 273, 277, 284
_PALETTE, _TILES, _CHILDREN, _SAMPLE_FORMAT, _DNG_VERSION = 320, 324, 330, 339, 50706
_COLOUR_FILTERS, _LINEAR_RAW = 32803, 34892
_REDUCED, _MASK = 1, 4  # flags of a subfile
_SIGNED, _FLOAT = 2, 3
_COMPRESSIONS: Final = {
    *(1, 2, 3, 4, 5, 6, 7, 8, 32946, 32773),
    *(32771, 34925, 50000),
}
_NAMES_OF_COMPRESSIONS: Final = {
    34712: "JPEG 2000", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC", 50001: "WebP",
    34927: "WebP", 34892: "JPEG", 22610: "JPEG XR", 34934: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL",
    34676: "LogLuv", 34677: "LogLuv", 34661: "JBIG",
}  # fmt: skip
_NAMES_OF_COLOURS: Final = {
    0: "grey", 1: "grey", 2: "RGB", 3: "palette colours", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "Lab", 9: "Lab",
    10: "Lab", 32844: "LogLuv", 32845: "LogLuv",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Directory:
    """The tags of one page, as they are stored: kind, number of values, and where they are (or themselves)."""

    tags: dict[int, tuple[int, int, bytes]]
    order: str
    following: int

    def numbers(self, reader: HeaderReader, tag: int, most: int = 16) -> tuple[int, ...]:
        """Return the values of a tag, up to `most`; none if it is not there, or no whole numbers."""
        kind, count, field = self.tags.get(tag, (0, 0, b""))
        layout = f"{self.order}{min(count, most)}{_LAYOUTS.get(kind, 'B')}"
        if kind not in _LAYOUTS or not count:
            return ()
        if struct.calcsize(f"{self.order}{count}{_LAYOUTS[kind]}") <= len(field):
            return struct.unpack_from(layout, field)
        place = int.from_bytes(field, "little" if self.order == "<" else "big")
        return struct.unpack(layout, reader.read_at(place, struct.calcsize(layout)))

    def number(self, reader: HeaderReader, tag: int, otherwise: int) -> int:
        return next(iter(self.numbers(reader, tag, 1)), otherwise)


def directories(reader: HeaderReader, *, with_children: bool = False) -> Iterator[Directory]:
    """The directories of the pages, one after the other; with those below them, where raw files keep their pictures.

    Raises:
        DamagedPhotoError: a table is longer than that of a photo.
    """
    signature = reader.read_at(0, 16)
    order = "<" if signature.startswith(b"II") else ">"
    is_big = signature[2:3] == b"+"
    waiting = list(struct.unpack_from(order + ("8xQ" if is_big else "4xI"), signature))
    known = set[int]()
    while waiting and len(known) < _MAX_DIRECTORIES:
        place = waiting.pop(0)
        if not place or place in known:
            continue
        known.add(place)
        found = _directory(reader, place, order, is_big=is_big)
        waiting.append(found.following)
        if with_children:
            waiting += found.numbers(reader, _CHILDREN)
        yield found


def first(reader: HeaderReader) -> Directory:
    """Return the directory of the first page."""
    for directory in directories(reader):
        return directory
    raise EOFError("there is no page")


def _directory(reader: HeaderReader, place: int, order: str, *, is_big: bool) -> Directory:
    count, entry, following = ("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I")
    (entries,) = struct.unpack(order + count, reader.read_at(place, struct.calcsize(order + count)))
    tags = {}
    for _ in range(entries):
        tag, kind, values, field = struct.unpack(order + entry, _exactly(reader, struct.calcsize(order + entry)))
        if kind not in _BYTES and values > (_MAX_COLOURS if tag == _PALETTE else _MAX_VALUES):
            raise DamagedPhotoError("The photo's header is damaged: it has too many parts.")
        tags[tag] = (kind, values, field)
    last = reader.read(struct.calcsize(order + following)).ljust(8 if is_big else 4, b"\0")
    return Directory(tags, order, *struct.unpack(order + following, last))


def _exactly(reader: HeaderReader, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise EOFError("it ends too early")
    return data


def is_raw(reader: HeaderReader) -> bool:
    """Return whether a TIFF is a raw file: the levels of a sensor, in one of its directories."""
    try:
        if reader.read_at(0, 16)[8:].startswith((b"CR", b"IIII", b"MMMM")):  # Canon, Phase One: they name no colours
            return True
        found = list(directories(reader, with_children=True))
        is_stamp = any(_DNG_VERSION in one.tags and one.number(reader, _SUBFILE, 0) & _REDUCED for one in found[:1])
        return is_stamp or any(_is_of_sensor(reader, one) for one in found)
    except (*CODEC_ERRORS, DamagedPhotoError):
        return False  # it may have a sound first page all the same


def _is_of_sensor(reader: HeaderReader, directory: Directory) -> bool:
    return directory.number(reader, _PHOTOMETRIC, 1) in {_COLOUR_FILTERS, _LINEAR_RAW}


def places_of_sensor_data(reader: HeaderReader) -> Iterator[tuple[int, ...]]:
    """Yield where strips and tiles of a raw file begin, which may look like small photos; those of a directory at once.

    There may be millions in a hostile file, which are not to be kept.
    """
    for directory in directories(reader, with_children=True):
        if _is_of_sensor(reader, directory):
            for tag in (_STRIPS, _TILES):
                yield directory.numbers(reader, tag, _MAX_VALUES)


def orientation(reader: HeaderReader) -> int:
    """Return the orientation of the first page; 1, upright, if it has none."""
    return first(reader).number(reader, _ORIENTATION, 1)


def pages(reader: HeaderReader) -> int:
    """Return how many pages there are; small copies of pages and masks are none."""
    try:
        kinds = [one.number(reader, _SUBFILE, 0) for one in directories(reader)]
    except (*CODEC_ERRORS, DamagedPhotoError):
        return 1
    return sum(not kind & (_REDUCED | _MASK) for kind in kinds[1:]) + 1


def require_readable(reader: HeaderReader, *, opens: bool) -> None:
    """Refuse a TIFF that Pillow cannot read, or takes for another kind; `opens` tells which of them.

    Raises:
        UnreadPhotoError: it names the kind.
    """
    page = first(reader)
    compression = page.number(reader, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        name = _NAMES_OF_COMPRESSIONS.get(compression, "an unknown method")
        raise unread(f"a TIFF compressed with {name}")
    samples = page.number(reader, _SAMPLES, 1)
    is_misread = (page.number(reader, _PLANAR, 1) == 2 and samples == 2) or (  # noqa: PLR2004
        page.number(reader, _SAMPLE_FORMAT, 1) == _SIGNED and page.number(reader, _BITS, 1) <= 8  # noqa: PLR2004
    )
    has_picture = {_WIDTH, _HEIGHT, _PHOTOMETRIC} <= page.tags.keys()
    if is_misread or (has_picture and not opens):
        raise unread(f"a TIFF of a rare kind ({_described(reader, page)})")


def _described(reader: HeaderReader, page: Directory) -> str:
    colours = _NAMES_OF_COLOURS.get(page.number(reader, _PHOTOMETRIC, 1), "unknown colours")
    kind = {_SIGNED: "signed ", _FLOAT: "floating-point "}.get(page.number(reader, _SAMPLE_FORMAT, 1), "")
    samples, bits = page.number(reader, _SAMPLES, 1), page.number(reader, _BITS, 1)
    channels = f"{samples} channels of " if samples > 1 else ""
    separate = ", stored one by one" if samples > 1 and page.number(reader, _PLANAR, 1) == 2 else ""  # noqa: PLR2004
    return f"{colours}, {channels}{bits} {kind}bits{separate}"
