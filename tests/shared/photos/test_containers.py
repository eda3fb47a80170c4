"""HEIF, AVIF and WebP, whose size is read without a codec: real files, and malformed ones."""

import struct
from io import BytesIO

import pytest
from PIL import Image

from shared.errors import DamagedPhotoError, SakugaError, UnreadPhotoError
from shared.photos.formats import Header
from shared.photos.inspection import inspect
from tests.shared.test_pipeline import LIMITS, box, saved

LANDSCAPE = Image.new("RGB", (64, 48))
FTYP = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
AVIF = box(b"ftyp", b"avif" + bytes(4) + b"mif1avif")
EXTENT = box(b"ispe", struct.pack(">II", 64, 48), full=True)
TURN = box(b"irot", b"\1")
SHOWN = box(b"pitm", b"\0\1", full=True)


def header(photo: bytes) -> Header:
    return inspect(BytesIO(photo), LIMITS)


def turned(image_format: str, *, description: int = 0) -> bytes:
    """A landscape that its EXIF rotates to portrait, with a description of this many bytes."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * description
    return saved(LANDSCAPE, image_format, exif=exif)


def heic(properties: bytes, table: bytes, *, before: bytes = FTYP, shown: bytes = SHOWN, behind: bytes = b"") -> bytes:
    """A HEIC with only a header; `table` says which of the `properties` belong to which picture."""
    kept = box(b"iprp", box(b"ipco", properties) + table)
    return before + box(b"meta", shown + kept, full=True) + behind


def table(*places: int, item: int = 1) -> bytes:
    """The properties of one picture, by their positions from 1."""
    return box(b"ipma", struct.pack(">IHB", 1, item, len(places)) + bytes(places), full=True)


def wide_table(*places: int, item: int = 1) -> bytes:
    """The same with numbers of 32 bits for pictures and of 15 for properties."""
    entry = struct.pack(f">IIB{len(places)}H", 1, item, len(places), *(0x8000 | place for place in places))
    return box(b"ipma", b"\1\0\0\1" + entry)


def cropped(width: tuple[int, int], height: tuple[int, int]) -> bytes:
    return box(b"clap", struct.pack(">8I", *width, *height, 0, 1, 0, 1))


def sequence(*sides: tuple[int, int], name: bytes = b"moov") -> bytes:
    """Tracks of an image sequence, each with its size; the sides are fixed-point numbers with 16 bits of fraction."""
    heads = [box(b"tkhd", bytes(72) + struct.pack(">II", *(side << 16 for side in size)), full=True) for size in sides]
    return box(name, b"".join(box(b"trak", box(b"tref", b"") + head) for head in heads))


MEASURED: dict[str, tuple[bytes, tuple[int, int]]] = {
    "webp": (saved(LANDSCAPE, "WEBP"), (64, 48)),
    "webp without loss": (saved(LANDSCAPE, "WEBP", lossless=True), (64, 48)),
    "webp with transparency": (saved(LANDSCAPE.convert("RGBA"), "WEBP", exact=True), (64, 48)),
    "webp on its side": (turned("WEBP"), (48, 64)),
    "webp on its side by xmp": (
        saved(LANDSCAPE, "WEBP", xmp=b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'),
        (48, 64),
    ),
    "webp whose description nobody can read": (saved(LANDSCAPE, "WEBP", xmp=b"odd", exif=b"Exif\0\0odd"), (64, 48)),
    "png whose description is too long": (turned("PNG", description=2 << 20), (64, 48)),
    "heic of pillow": (saved(LANDSCAPE, "HEIF"), (64, 48)),
    "avif of pillow": (saved(LANDSCAPE, "AVIF"), (64, 48)),
    "heic": (heic(EXTENT, table(1)), (64, 48)),
    "heic turned": (heic(EXTENT + TURN, table(1, 2)), (48, 64)),
    "heic turned twice by one property": (heic(EXTENT + TURN, table(1, 2, 2)), (64, 48)),
    "heic turned by half": (heic(EXTENT + box(b"irot", b"\2"), table(1, 2)), (64, 48)),
    "heic of which a part is shown": (heic(EXTENT + cropped((40, 1), (60, 2)), table(1, 2)), (40, 30)),
    "avif of which a part is shown": (
        heic(EXTENT + cropped((40, 1), (60, 2)), table(1, 2), before=AVIF),
        (40, 30),
    ),
    "heic with wide numbers": (heic(EXTENT + TURN, wide_table(1, 2)), (48, 64)),
    "heic whose second table is the one": (heic(EXTENT, table(9, item=7) + table(1)), (64, 48)),
    "heic whose table names what is not there": (heic(EXTENT, table(1, 9)), (64, 48)),
    "heic whose picture has a wide number": (heic(EXTENT, table(1), shown=box(b"pitm", b"\1\0\0\0\0\0\0\1")), (64, 48)),
    "heic with something behind": (heic(EXTENT, table(1), behind=b"\0\0\0\xffjunk and more"), (64, 48)),
    "heic of a last part that goes on to the end": (heic(EXTENT, table(1), behind=b"\0\0\0\0mdat"), (64, 48)),
    "heic with a long length": (
        heic(EXTENT, table(1), behind=struct.pack(">I4sQ", 1, b"free", 20) + bytes(4)),
        (64, 48),
    ),
    "sequence": (AVIF + sequence((64, 48)), (64, 48)),
    "sequence whose first track is sound": (AVIF + sequence((0, 0), (64, 48)), (64, 48)),
    "sequence that names no picture": (heic(b"", b"", before=AVIF, shown=b"", behind=sequence((64, 48))), (64, 48)),
}


@pytest.mark.parametrize("case", MEASURED)
def test_the_size_is_the_displayed_one(case: str) -> None:
    photo, size = MEASURED[case]
    found = header(photo)
    assert (found.width, found.height) == size


def without_key_frame() -> bytes:
    photo = bytearray(saved(LANDSCAPE, "WEBP"))
    photo[23:26] = bytes(3)
    return bytes(photo)


DAMAGED: dict[str, bytes] = {
    "webp without a key frame": without_key_frame(),
    "webp that ends in its head": saved(LANDSCAPE, "WEBP")[:25],
    "heic of more pictures than there are": heic(EXTENT, box(b"ipma", struct.pack(">I", 1 << 20), full=True)),
    "heic of a part without a size": heic(EXTENT + cropped((40, 0), (30, 1)), table(1, 2)),
    "heic of no size": heic(TURN, table(1)),
    "heic that belongs to none": heic(EXTENT, table(1, item=7)),
    "heic whose pictures are cut off": FTYP + struct.pack(">I4s", 100, b"mdat"),
    "sequence without a track that is seen": AVIF + sequence((0, 0)),
    "sequence of too many tracks without a size": AVIF + sequence(*[(0, 0)] * 4, (64, 48)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_header_without_a_size_is_damaged(case: str) -> None:
    with pytest.raises(DamagedPhotoError):
        header(DAMAGED[case])


def test_a_heic_sequence_without_a_main_picture_is_named() -> None:
    with pytest.raises(UnreadPhotoError, match="a HEIF sequence"):
        header(FTYP + sequence((64, 48)))


@pytest.mark.parametrize("case", ["webp", "webp on its side", "heic turned", "heic with wide numbers", "sequence"])
def test_a_truncated_header_is_reported_as_damaged_or_as_no_photo(case: str) -> None:
    photo, _ = MEASURED[case]
    for length in range(min(len(photo), 400)):
        with pytest.raises(SakugaError) as refused:
            header(photo[:length])
        assert refused.value.status in {415, 422}


def test_a_property_is_read_once_and_no_further_than_it_counts() -> None:
    class Counting(BytesIO):
        most = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.most = max(self.most, len(data))
            return data

    long = box(b"ispe", struct.pack(">II", 64, 48) + bytes(1 << 19), full=True)
    photo = Counting(heic(long, table(*[1] * 255)))
    assert inspect(photo, LIMITS).width == 64
    assert photo.most < 1000
