"""The picture of a HEIF or AVIF that is shown, and its properties (ISO/IEC 23008-12). No codec.

Whatever is wrong raises ValueError, ArithmeticError, EOFError or struct.error.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple

from shared.photos.boxes import Box, SeekableFile, boxes, content_of
from shared.photos.kinds import unread

EXTENT: Final = b"ispe"
_PROPERTIES: Final = {EXTENT: 12, b"irot": 1, b"clap": 32, b"colr": 11}  # bytes of each that are looked at
_MAX_ALIKE: Final = 4  # boxes of one kind that are looked through
_MAX_ITEMS: Final = 1 << 14  # of a table; they are gone through one by one
_ENTRY_BYTES: Final = 14  # of an item's entry, up to its kind
_READ: Final = {b"hvc1", b"av01", b"grid", b"iovl", b"iden"}
_UNREAD: Final = {
    b"avc1": "an H.264 (AVC) image",
    b"evc1": "an EVC image",
    b"j2k1": "a JPEG 2000 image",
    b"jpeg": "a JPEG image",
    b"unci": "an uncompressed image",
    b"vvc1": "an H.266 (VVC) image",
}

Property = tuple[bytes, bytes]
"""Kind and content."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The properties of the picture that is shown, in the order in which they hold.

    `patches`, by their places in the file, are the bytes that make decoders show that picture, too.
    """

    properties: Sequence[Property]
    patches: Mapping[int, bytes]


class _Thumbnail(NamedTuple):
    """A statement that an item is the thumbnail of others; the numbers of all are as they are stored."""

    place: int
    item: bytes
    masters: list[bytes]

    def turned_round(self) -> dict[int, bytes]:
        """Return the patches that make it say that the first of the others is the thumbnail."""
        return {self.place: self.masters[0], self.place + len(self.item) + 2: self.item}


def shown(file: SeekableFile, meta: Box) -> Shown | None:
    """Return the picture that is shown; None if the file names none.

    That is the primary item. Where it is called a thumbnail, decoders show what it is a thumbnail of or, if that is
    not there, the first picture that is. So of these the largest is shown: some programs write the thumbnail first, and
    some name a picture as the thumbnail of its thumbnail.

    Raises:
        UnreadPhotoError: it is stored in a way that is not read.
    """
    inner = list(boxes(file, meta.start + 4, meta.end))
    table = next((box for box in inner if box.kind == b"pitm"), None)
    if table is None:
        return None
    version, *_ = head = content_of(file, table, 8)
    primary = head[4 : 6 if version == 0 else 8]
    properties = _Properties(file, inner)
    thumbnails = list(islice(_thumbnails(file, inner, primary), _MAX_ALIKE))
    masters = [master for thumbnail in thumbnails for master in thumbnail.masters][:_MAX_ALIKE]
    item = max(map(_number, [primary, *masters]), key=properties.pixels)
    _require_read(_kind(file, inner, item))
    if item != _number(primary):
        return Shown(properties.of(item), {table.start + 4: item.to_bytes(len(primary))})
    turned_round = [found.turned_round() for found in thumbnails if found.masters]
    return Shown(properties.of(item), {place: data for patches in turned_round for place, data in patches.items()})


class _Properties:
    """The properties of all items."""

    def __init__(self, file: SeekableFile, inner: Sequence[Box]) -> None:
        kept = [part for box in inner if box.kind == b"iprp" for part in boxes(file, box.start, box.end)]
        self._file = file
        self._stored = [part for box in kept if box.kind == b"ipco" for part in boxes(file, box.start, box.end)]
        self._tables = [content_of(file, box) for box in [box for box in kept if box.kind == b"ipma"][:_MAX_ALIKE]]

    def of(self, item: int) -> list[Property]:
        """Return those of an item that are looked at."""
        places = next((found for table in self._tables if (found := _places(table, item))), [])
        wanted = [self._stored[place - 1] for place in places if 0 < place <= len(self._stored)]
        return [
            (box.kind, content_of(self._file, box, _PROPERTIES[box.kind])) for box in wanted if box.kind in _PROPERTIES
        ]

    def pixels(self, item: int) -> int:
        """Return how many pixels an item has; 0 if it does not say."""
        extent = next((content for kind, content in self.of(item) if kind == EXTENT), bytes(12))
        width, height = struct.unpack(">4xII", extent[:12])
        return int(width * height)


def _number(stored: bytes) -> int:
    return int.from_bytes(stored)


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


def _thumbnails(file: SeekableFile, inner: Sequence[Box], primary: bytes) -> Iterator[_Thumbnail]:
    """Return the item that the primary item is a thumbnail of."""
    for table in [box for box in inner if box.kind == b"iref"][:_MAX_ALIKE]:
        version, *_ = content_of(file, table, 4)
        width = 2 if version == 0 else 4
        for box in boxes(file, table.start + 4, table.end):
            if box.kind == b"thmb":
                content = content_of(file, box, width + 2 + width * _MAX_ALIKE)
                item, masters = content[:width], content[width + 2 :]
                if _number(item) == _number(primary):
                    count = min(_MAX_ALIKE, _number(content[width : width + 2]))
                    found = [masters[number * width :][:width] for number in range(count)]
                    yield _Thumbnail(box.start, item, found)


def _kind(file: SeekableFile, inner: Sequence[Box], item: int) -> bytes:
    """Return the kind of an item; empty if it is recorded in an older way."""
    for table in [box for box in inner if box.kind == b"iinf"][:_MAX_ALIKE]:
        version, *_ = content_of(file, table, 4)
        for box in islice(boxes(file, table.start + (6 if version == 0 else 8), table.end), _MAX_ITEMS):
            entry = content_of(file, box, _ENTRY_BYTES) if box.kind == b"infe" else b"\0"
            layout = {2: ">4xHxx4s", 3: ">4xIxx4s"}.get(entry[0])
            if layout and (found := struct.unpack_from(layout, entry))[0] == item:
                return bytes(found[1])
    return b""


def _require_read(kind: bytes) -> None:
    if kind and kind not in _READ:
        raise unread(f"a HEIF with {_UNREAD.get(kind, 'an image of a rare kind')} inside")
