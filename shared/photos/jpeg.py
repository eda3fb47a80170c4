"""The segments of a JPEG (ISO/IEC 10918-1, annex B): what its decoder needs, without the rest. No codec.

Whatever is wrong raises EOFError.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

from shared.errors import DamagedPhotoError
from shared.photos.kinds import unread
from shared.photos.passes import lack_any
from shared.photos.reading import HeaderReader, Part

END: Final = b"\xff\xd9"
_LEAD: Final = 0xFF
_STUFFED: Final = 0  # in place of a marker: within a scan, a byte like that which leads one
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # but for those at which a scan's decoder restarts
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
# What a decoder takes for the rest of a scan, or of what is between two restarts, if there should be more.
_NOISE: Final = 16 * bytes(range(1, 128))
_NOISE_AND_RESTARTS: Final = b"".join(bytes([0xFF, marker]) + _NOISE for marker in (0, *range(0xD0, 0xD8)))[1:]
_MAX_RESTARTS: Final = 20_000  # that are looked at
_END_OF_IMAGE, _START_OF_SCAN, _TABLES_OF_CODES, _INTERVAL, _COMMENT = 0xD9, 0xDA, 0xC4, 0xDD, 0xFE
_ALONE: Final = {*range(0x01, 0xC0), *range(0xD0, 0xD9)}  # no decoder skips what follows them
_APPLICATION: Final = range(0xE0, 0xF0)
_LOSSLESS: Final = 0xF7  # of JPEG-LS
_FRAMES: Final = {_LOSSLESS, *range(0xC0, 0xD0)} - {_TABLES_OF_CODES, 0xC8, 0xCC}
_OF_THE_REST: Final = 16  # flag of a table of codes: for all of a block but its mean
_SEQUENTIAL: Final = {0xC0, 0xC1}
_PROGRESSIVE: Final = 0xC2
_HUFFMAN: Final = {*_SEQUENTIAL, _PROGRESSIVE}  # the arithmetic coder of the others leaves out zeros at the end
_HIERARCHICAL: Final = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}
# What says how a photo stands and what its colours are. Of all but a profile, which comes in pieces, the first one
# counts. The rest may be anything: depth maps, other pictures, sounds.
_PROFILE: Final = b"ICC_PROFILE\0"
_NAMES: Final = {
    0xE0: (b"JFIF\0",),
    0xE1: (b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"),
    0xE2: (_PROFILE,),
    0xEE: (b"Adobe",),
}
_MAX_PROFILE_BYTES: Final = 4 << 20
_LONGEST_NAME: Final = 32
_MAX_READ_BYTES: Final = 2 << 20  # of what is before the picture; the tables of a photo take a few kB
_MIN_BLOCK, _MAX_BLOCK = 1 << 12, 1 << 20
# Phones and programs write 10 scans, at most. Each goes over the whole picture, however few bytes it has: thousands
# would take minutes.
_MAX_SCANS: Final = 100


@dataclass(slots=True)
class Outline:
    """The structure of a JPEG. `parts` are what its decoder needs, up to the end of the picture.

    Whether a picture is whole only its decoder can tell, but of any that is shorter than `min_bytes` something is
    missing: its scans would need as many. `scan_ends` are the places where its scans end, `coding` is the marker of its
    frame, and `restarts` is how often a decoder must restart within a picture of one scan.
    """

    parts: list[Part]
    has_end: bool = False
    coding: int = 0
    scans: int = 0
    scan_bytes: int = 0
    scan_ends: list[int] = field(default_factory=list)
    min_bytes: int = 0
    restarts: int = 0
    lacks_passes: bool = False

    @property
    def may_be_whole(self) -> bool:
        return self.scans > 0 and self.scan_bytes >= self.min_bytes and not self.lacks_passes

    @property
    def is_checkable(self) -> bool:
        """True if noise behind a scan makes a difference only where some of that is missing."""
        return self.coding in _HUFFMAN or not self.has_end

    @property
    def shows_gaps(self) -> bool:
        """True if a decoder leaves evenly grey what is missing; it fills in from other scans where there are any."""
        return self.coding in _SEQUENTIAL and self.scans == 1

    def with_noise(self, reader: HeaderReader) -> list[Part] | None:
        """Return the parts, with noise wherever a decoder would read on if something were missing; None if it is."""
        *parts, pixels = self.parts
        start, end = cast("tuple[int, int]", pixels)
        places = list(islice(_restarts(reader, start, end), _MAX_RESTARTS)) if self.shows_gaps else []
        if self.shows_gaps and len(places) < min(self.restarts, _MAX_RESTARTS):
            return None
        for place in places:
            parts += [(start, place), _NOISE]
            start = place
        for place in self.scan_ends:
            parts += [(start, place), _NOISE_AND_RESTARTS]
            start = place
        return [*parts, (start, end)]


def outline(reader: HeaderReader, size: int) -> Outline:
    """Go through a JPEG of `size` bytes.

    Raises:
        UnreadPhotoError: of a kind that is not read.
        DamagedPhotoError: it has more scans, or longer tables, than any photo.
    """
    found = Outline([(0, 2)])
    reader.bytes_left = _MAX_READ_BYTES
    frame, interval, codes, kept = b"", 0, dict[int, int](), Counter[bytes]()
    segments = _segments(reader, size)
    for marker, place, end in segments:
        if marker in _FRAMES:
            found.coding = marker
            frame = bytes([marker]) + reader.read_at(place + 4, 15)
            _require_readable(frame)
        elif marker == _TABLES_OF_CODES:
            codes |= _shortest(_content(reader, place, end))
        elif marker == _INTERVAL:
            interval = int.from_bytes(_content(reader, place, end))
        if _is_needed(reader, marker, place, end, kept):
            found.parts.append((place, min(end, size)))
        if marker == _START_OF_SCAN:
            scan = _content(reader, place, end)
            found.min_bytes, found.restarts = _min_bytes(frame, codes, scan), _min_restarts(frame, interval, scan)
            reader.bytes_left = math.inf  # but not in any number of pieces
            _add_scans(found, reader, segments, (place, end), size)
    return found


def _content(reader: HeaderReader, place: int, end: int) -> bytes:
    """Return what is in a segment."""
    return reader.read_at(place + 4, end - place - 4)


def _segments(reader: HeaderReader, size: int) -> Iterator[tuple[int, int, int]]:
    """The marker, beginning and end of each segment up to the end of the picture.

    Decoders, too, skip what is between them, which are the pixels after the start of a scan. What is inside of one may
    look like any marker.
    """
    place = 2
    while place + 2 <= size:
        reader.seek(place)
        lead, marker, *length = reader.read(4)
        if lead != _LEAD or marker == _STUFFED:
            place = _next_marker(reader, place + 1, size)
            continue
        if marker == _LEAD or marker in _ALONE:
            place += 1 if marker == _LEAD else 2
            continue
        if marker == _END_OF_IMAGE:
            yield marker, place, place + 2
            return
        if place + 4 > size:
            return
        end = place + 2 + max(2, int.from_bytes(length))  # the length counts itself
        yield marker, place, end
        place = _next_marker(reader, end, size) if marker == _START_OF_SCAN else end


def _next_marker(reader: HeaderReader, place: int, size: int) -> int:
    block_size = _MIN_BLOCK
    while place < size:
        reader.seek(place)
        block = reader.read(block_size)
        if found := _MARKER.search(block):
            return place + found.start()
        place += max(1, len(block) - 1)
        block_size = min(2 * block_size, _MAX_BLOCK)
    return size


def _is_needed(reader: HeaderReader, marker: int, place: int, end: int, kept: Counter[bytes]) -> bool:
    """Return whether a segment is needed; `kept` counts the bytes of those that are by their names."""
    if marker not in _APPLICATION:
        return marker != _COMMENT
    reader.seek(place + 4)
    start = reader.read(_LONGEST_NAME)
    name = next((name for name in _NAMES.get(marker, ()) if start.startswith(name)), None)
    if name is None or (kept[name] and name != _PROFILE):
        return False
    kept[name] += end - place
    return kept[name] <= _MAX_PROFILE_BYTES


def _require_readable(frame: bytes) -> None:
    marker, precision = frame[0], frame[1]
    if marker == _LOSSLESS:
        raise unread("a JPEG-LS image")
    if precision != 8:  # noqa: PLR2004
        raise unread(f"a JPEG with {precision} bits per channel")
    if marker in _HIERARCHICAL:
        raise unread("a hierarchical JPEG")


def _add_scans(
    found: Outline, reader: HeaderReader, segments: Iterator[tuple[int, int, int]], first: tuple[int, int], size: int
) -> None:
    """Go through the picture to its end, after the header of its first scan; its decoder needs all of it."""
    start = first[1]
    headers, place, is_coded = [first], size, True
    for marker, begin, end in segments:
        if is_coded:
            found.scan_ends.append(begin)
        is_coded = marker == _START_OF_SCAN
        if is_coded:
            headers.append((begin, end))
        elif marker == _END_OF_IMAGE:
            found.has_end, place = True, end
    found.scans = len(headers)
    if found.scans > _MAX_SCANS:
        raise DamagedPhotoError(f"The photo is stored in {found.scans} passes; at most {_MAX_SCANS} are allowed.")
    if is_coded:
        found.scan_ends.append(size)
    found.lacks_passes = found.coding == _PROGRESSIVE and lack_any(_content(reader, *header) for header in headers)
    found.parts.append((start, place))
    found.scan_bytes = place - start


def _restarts(reader: HeaderReader, start: int, end: int) -> Iterator[int]:
    """The places between two at which a decoder restarts."""
    for place in range(start, end, _MAX_BLOCK):
        reader.seek(place)
        for found in _RESTART.finditer(reader.read(min(_MAX_BLOCK + 1, end - place))):
            yield place + found.start()


def _min_bytes(frame: bytes, codes: Mapping[int, int], scan: bytes) -> int:
    """Return the bytes that a scan needs at the very least: in each block a code for its mean, and those to its end."""
    if not frame or frame[0] not in _SEQUENTIAL or frame[6] not in {1, 3}:
        return 0
    height, width = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
    factors = {frame[7 + 3 * number]: divmod(frame[8 + 3 * number], 16) for number in range(frame[6])}
    across, down = (8 * max(1, *(pair[axis] for pair in factors.values())) for axis in (0, 1))
    bits = 0
    for number in range(scan[0]):
        component, tables = scan[1 + 2 * number : 3 + 2 * number]
        h, v = factors.get(component, (0, 0))
        if scan[0] > 1:  # interleaved: groups of blocks, also where only a part of them is seen
            blocks = -(-width // across) * h * -(-height // down) * v
        else:
            blocks = -(-width * h // across) * -(-height * v // down)
        bits += blocks * (codes.get(tables >> 4, 0) + codes.get(_OF_THE_REST | tables & 15, 0))
    return bits // 8


def _min_restarts(frame: bytes, interval: int, scan: bytes) -> int:
    """Return how often a decoder must restart in a scan of all components: once per so many groups of blocks."""
    if not interval or not frame or frame[6] not in {1, 3}:
        return 0
    height, width = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
    factors = [divmod(frame[8 + 3 * number], 16) for number in range(frame[6])] if scan[0] > 1 else [(1, 1)]
    across, down = (8 * max(1, *(pair[axis] for pair in factors)) for axis in (0, 1))
    groups = -(-width // across) * -(-height // down)
    return max(0, -(-groups // interval) - 1)


def _shortest(segment: bytes) -> dict[int, int]:
    """By the number of each table of codes, the fewest bits that a block takes of it."""
    found, place = dict[int, int](), 0
    while place + 17 <= len(segment):
        lengths = [length for length, count in enumerate(segment[place + 1 : place + 17], 1) for _ in range(count)]
        values = segment[place + 17 : place + 17 + len(lengths)]
        least = min(lengths, default=0)
        if segment[place] & _OF_THE_REST:  # the end of a block or, without one, at least 4 runs of zeros and a value
            least = min(4 * least, lengths[values.index(0)]) if 0 in values else 4 * least
        found[segment[place]] = least
        place += 17 + len(lengths)
    return found
