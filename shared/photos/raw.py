"""The photos that cameras embed in raw files. No codec.

Raw files are not developed; but nearly all have a JPEG, as large as the photo or as a screen, made by the camera. It is
found by its first bytes, as makers keep it in many places: a TIFF's strips, boxes, their own notes.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from shared.errors import DamagedPhotoError, UnreadPhotoError
from shared.photos import tiff
from shared.photos.reading import CODEC_ERRORS, HeaderReader, excerpt

MIN_PREVIEW_SIDE: Final = 512  # of a preview, in pixels; anything smaller is a stamp
_BUILT_LIKE_TIFF: Final = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")  # of Olympus and Panasonic
_OTHERS: Final = (b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")  # Fujifilm, Sigma, Minolta, Canon
_CR3: Final = b"ftypcrx "  # Canon, built like a HEIF
_CANON_NOTES: Final = b"CMT1"
_BLOCK: Final = 1 << 20
_BEGINNING: Final = b"\xff\xd8\xff"
_FRAMES: Final = {0xC0, 0xC1, 0xC2}
_MAX_SEGMENTS: Final = 64  # before the size
_MAX_FOUND: Final = 2000


def is_raw(reader: HeaderReader) -> bool:
    """Return whether a file is a raw file, whatever it is called."""
    reader.seek(0)
    head = reader.read(16)
    return (
        head.startswith((*_BUILT_LIKE_TIFF, *_OTHERS))
        or head[4:12] == _CR3
        or (head.startswith(tiff.SIGNATURES) and tiff.is_raw(reader))
    )


def preview(reader: HeaderReader, size: int) -> int:
    """Return where the largest JPEG in a raw file begins.

    Raises:
        UnreadPhotoError: there is none that is large enough.
    """
    found = dict(_jpegs(reader, size))
    _leave_out_sensor_data(found, reader)
    place = max(found, key=lambda place: found[place][0] * found[place][1], default=None)
    if place is None or max(found[place]) < MIN_PREVIEW_SIDE:
        raise UnreadPhotoError(
            "This is a raw file without a preview that is large enough. Raw files are not developed here; "
            "export it as a JPEG or TIFF."
        )
    return place


def orientation(reader: HeaderReader) -> int:
    """Return how the photo in a raw file stands (Exif 2.32, 4.6.4), for previews that do not tell.

    It is 1, upright, where that cannot be read.
    """
    try:
        head = reader.read_at(0, 16)
        if head[4:12] == _CR3:
            return tiff.orientation(_notes_of_canon(reader))
        return tiff.orientation(reader) if head.startswith((*_BUILT_LIKE_TIFF, *tiff.SIGNATURES)) else 1
    except (*CODEC_ERRORS, DamagedPhotoError):
        return 1


def _notes_of_canon(reader: HeaderReader) -> HeaderReader:
    """The first of the boxes in a CR3 that are each a TIFF without a picture."""
    beginning = _read(reader, 0, 1 << 16)
    place = beginning.find(_CANON_NOTES) + len(_CANON_NOTES)
    return HeaderReader(excerpt(reader.file, [(place, len(beginning))]))


def _leave_out_sensor_data(found: dict[int, tuple[int, int]], reader: HeaderReader) -> None:
    if not found or reader.read_at(0, 4) not in tiff.SIGNATURES:
        return
    with suppress(*CODEC_ERRORS, DamagedPhotoError):
        for places in tiff.places_of_sensor_data(reader):
            for place in found.keys() & places:
                del found[place]


def _jpegs(reader: HeaderReader, size: int) -> Iterator[tuple[int, tuple[int, int]]]:
    for number, place in enumerate(_beginnings(reader)):
        if number == _MAX_FOUND:
            return
        if sides := _sides(reader, place, size):
            yield place, sides


def _beginnings(reader: HeaderReader) -> Iterator[int]:
    place = 0
    while block := _read(reader, place, _BLOCK + len(_BEGINNING) - 1):
        at = block.find(_BEGINNING)
        while 0 <= at < _BLOCK:
            yield place + at
            at = block.find(_BEGINNING, at + 1)
        place += _BLOCK


def _read(reader: HeaderReader, place: int, size: int) -> bytes:
    reader.seek(place)
    return reader.read(size)


def _sides(reader: HeaderReader, place: int, size: int) -> tuple[int, int] | None:
    """The width and height of what may be a JPEG that a decoder of 8 bits reads."""
    place += 2
    for _ in range(_MAX_SEGMENTS):
        head = _read(reader, place, 9)
        if len(head) < 9 or head[0] != 0xFF:  # noqa: PLR2004
            return None
        if head[1] in _FRAMES:
            height, width = struct.unpack_from(">HH", head, 5)
            return (width, height) if head[4] == 8 and place < size else None  # noqa: PLR2004
        place += 2 + int.from_bytes(head[2:4])
    return None
