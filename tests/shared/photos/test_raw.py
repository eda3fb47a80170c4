"""Raw files: the preview that the camera embedded, or a refusal that says what they are; never a stamp."""

import struct
import tracemalloc
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shared.errors import UnreadPhotoError
from shared.photos.inspection import inspect
from tests.shared.photos.making import decoded, directories, preview, raw, tiff_of
from tests.shared.test_pipeline import LIMITS, TURNS, assert_quadrants, box, quadrants, saved

SENSOR = np.random.default_rng(0).integers(0, 255, 50_000, np.uint8).tobytes()
WITH_PREVIEW: dict[str, Callable[[], bytes]] = {
    "dng": lambda: raw(SENSOR, preview(160, 120), preview(), SENSOR),
    "orf": lambda: b"IIRO" + raw(preview())[4:],
    "rw2": lambda: b"IIU\0" + raw(preview())[4:],
    "raf": lambda: b"FUJIFILMCCD-RAW 0201".ljust(160, b"\0") + preview() + SENSOR,
    "cr2": lambda: tiff_of(b"CR\2\0" + preview(), {259: [6], 273: [12]}),
    "cr3": lambda: box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"mdat", preview() + SENSOR),
    "x3f": lambda: b"FOVb" + bytes(60) + SENSOR + preview(),
    "with more behind it": lambda: raw(preview(), preview(320, 240)),
}
STAMPS: dict[str, bytes] = {
    "no preview": raw(SENSOR),
    "a small preview": raw(preview(160, 120)),
    "a preview without loss": raw(preview().replace(b"\xff\xc0", b"\xff\xc3", 1)),
    "a sensor in its first page": tiff_of(
        SENSOR, {256: [64], 257: [48], 258: [16], 262: [32803], 273: [8], 279: [6144]}
    ),
}


@pytest.mark.parametrize("case", WITH_PREVIEW)
def test_the_largest_preview_of_a_raw_file_is_converted_and_noted(case: str) -> None:
    photo = WITH_PREVIEW[case]()
    header, found = inspect(BytesIO(photo), LIMITS), decoded(photo)
    assert (header.width, header.height) == found.size == (640, 480)
    assert_quadrants(Image.fromarray(found.rgb))
    assert found.notes == ("This is a raw file; the preview that the camera put in it was converted.",)


@pytest.mark.parametrize("case", STAMPS)
def test_a_raw_file_without_a_large_preview_is_refused_and_named(case: str) -> None:
    with pytest.raises(UnreadPhotoError, match="raw file without a preview"):
        decoded(STAMPS[case])


def test_strips_and_tiles_of_a_raw_file_are_no_previews() -> None:
    tile = preview(600, 600)
    tags = {
        254: [0],
        256: [6000],
        257: [4000],
        258: [8],
        259: [34892],
        262: [34892],
        324: [8, 8 + len(tile)],
        325: [1, 1],
    }
    with pytest.raises(UnreadPhotoError, match="raw file"):
        decoded(tiff_of(2 * tile, tags))


def test_the_places_of_sensor_data_are_not_kept() -> None:
    values = np.arange(1 << 20, dtype="<u4").tobytes()
    start = 8 + len(values)
    length = 2 + 12 * 2 + 4
    pages = b"".join(
        struct.pack("<HHHIIHHIII", 2, 262, 3, 1, 32803, 273, 4, 1 << 16, 8 + (page << 16), following)
        for page in range(60)
        for following in [start + length * (page + 1) if page < 59 else 0]
    )
    photo = b"II*\0" + struct.pack("<I", start) + values + pages + preview()
    tracemalloc.start()
    inspect(BytesIO(photo), LIMITS)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 << 20


@pytest.mark.parametrize("orientation", TURNS)
def test_a_preview_stands_as_the_raw_file_says(orientation: int) -> None:
    photo = saved(TURNS[orientation](quadrants((640, 480))), "JPEG", quality=95)
    found = decoded(raw(photo, orientation=orientation))
    assert found.size == (640, 480)
    assert_quadrants(Image.fromarray(found.rgb))


def test_a_preview_stands_as_its_own_metadata_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = saved(TURNS[6](quadrants((640, 480))), "JPEG", quality=95, exif=exif)
    assert_quadrants(Image.fromarray(decoded(raw(photo, orientation=3)).rgb))


def with_a_table_too_long(photo: bytes) -> bytes:
    rows = struct.pack("<HHI", 278, 4, 1)
    assert rows in photo
    return photo.replace(rows, struct.pack("<HHI", 278, 4, 1 << 20))


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "orf": lambda: with_a_table_too_long(b"IIRO" + raw(preview())[4:]),
    "cr2": lambda: with_a_table_too_long(tiff_of(b"CR\2\0" + preview(), {259: [6], 273: [12], 278: [24]})),
    "cr3": lambda: canon(with_a_table_too_long(directories({274: [8], 278: [24]}, 8)), preview()),
    "a long directory": lambda: b"IIU\0" + struct.pack("<IH", 8, 0xFFFF) + bytes(12 * 0xFFFF) + preview(),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_preview_is_upright_where_how_the_raw_file_stands_cannot_be_read(case: str) -> None:
    found = decoded(UNREADABLE[case]())
    assert found.size == (640, 480)
    assert_quadrants(Image.fromarray(found.rgb))


def canon(notes: bytes, photo: bytes) -> bytes:
    """A CR3."""
    notes = box(b"CMT1", b"II*\0" + struct.pack("<I", 8) + notes)
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", notes) + box(b"mdat", photo)


def test_a_preview_of_canon_stands_as_their_notes_say() -> None:
    turned = saved(TURNS[8](quadrants((640, 480))), "JPEG", quality=95)
    found = decoded(canon(directories({274: [8]}, 8), turned))
    assert found.size == (640, 480)
    assert_quadrants(Image.fromarray(found.rgb))
