"""The picture of a HEIF that is shown, in files made here of pictures of one colour each."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import pytest
from PIL import Image

from shared.errors import UnreadPhotoError
from shared.photos.inspection import inspect
from tests.shared.photos.making import decoded
from tests.shared.test_pipeline import LIMITS, box, saved

RED, GREEN, BLUE = (190, 40, 40), (40, 160, 40), (40, 40, 190)
LARGE, SMALL, OTHER = (256, 192), (128, 96), (192, 144)


@dataclass(frozen=True)
class Item:
    """A picture of one colour, as an item of a HEIF."""

    size: tuple[int, int]
    colour: tuple[int, int, int]
    kind: bytes = b"hvc1"
    meaning: bytes = b""
    """What it is if it is auxiliary."""


Reference = tuple[bytes, int, Sequence[int]]
"""Its kind, of which item it is told, and which others it names."""


def heif(
    items: Mapping[int, Item], *, primary: int, references: Sequence[Reference] = (), is_wide: bool = False
) -> bytes:
    """A HEIF of several pictures; `is_wide` writes the numbers of items in 32 bits where that can be."""
    layout, version = (">I", b"\1\0\0\0") if is_wide else (">H", bytes(4))
    coded = [saved(Image.new("RGB", item.size, item.colour), "HEIF") for item in items.values()]
    images = [photo[photo.index(b"mdat") + 4 :] for photo in coded]
    properties, associations = _properties(items, coded)
    entries = b"".join(
        box(b"infe", b"\2\0\0\0" + struct.pack(">HH4sB", number, 0, item.kind, 0)) for number, item in items.items()
    )
    told = b"".join(
        box(
            kind,
            b"".join(
                [
                    struct.pack(layout, of),
                    struct.pack(">H", len(others)),
                    *(struct.pack(layout, other) for other in others),
                ]
            ),
        )
        for kind, of, others in references
    )
    parts = [
        box(b"hdlr", bytes(4) + b"pict" + bytes(13), full=True),
        box(b"pitm", version + struct.pack(layout, primary)),
        box(b"iinf", struct.pack(">H", len(items)) + entries, full=True),
        box(b"iprp", box(b"ipco", properties) + box(b"ipma", associations, full=True)),
        box(b"iref", version + told) if references else b"",
    ]
    kind = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    for start in (0, len(kind) + len(_meta(parts, items, images, 0)) + 8):
        meta = _meta(parts, items, images, start)
    return kind + meta + box(b"mdat", b"".join(images))


def _properties(items: Mapping[int, Item], coded: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The properties of all items, and which belong to which."""
    found: list[bytes] = []
    associations = struct.pack(">I", len(items))
    for (number, item), photo in zip(items.items(), coded, strict=True):
        start = photo.index(b"hvcC") - 4
        own = [photo[start : start + struct.unpack_from(">I", photo, start)[0]]]
        own.append(box(b"ispe", struct.pack(">II", *item.size), full=True))
        own += [box(b"auxC", item.meaning + b"\0", full=True)] if item.meaning else []
        places = range(len(found) + 1, len(found) + len(own) + 1)
        associations += struct.pack(">HB", number, len(own)) + bytes(places)
        found += own
    return b"".join(found), associations


def _meta(parts: Sequence[bytes], items: Mapping[int, Item], images: Sequence[bytes], start: int) -> bytes:
    entries = b""
    for number, image in zip(items, images, strict=True):
        entries += struct.pack(">HHHII", number, 0, 1, start, len(image))
        start += len(image)
    places = box(b"iloc", b"\x44\0" + struct.pack(">H", len(items)) + entries, full=True)
    return box(b"meta", b"".join([*parts, places]), full=True)


PICTURES = {1: Item(OTHER, GREEN), 2: Item(LARGE, RED), 3: Item(SMALL, BLUE)}
SHOWN: dict[str, tuple[int, Sequence[Reference]]] = {
    "the primary one": (2, []),
    "with a thumbnail": (2, [(b"thmb", 3, [2])]),
    "of a primary one that is a thumbnail": (3, [(b"thmb", 3, [2])]),
    "of a primary one that is a thumbnail of several": (3, [(b"thmb", 3, [1, 2])]),
    "which is called a thumbnail of its thumbnail": (2, [(b"thmb", 2, [3])]),
    "with other references": (2, [(b"auxl", 7, [8]), (b"thmb", 3, [2])]),
}


@pytest.mark.parametrize("is_wide", [False, True])
@pytest.mark.parametrize("case", SHOWN)
def test_the_main_picture_is_shown(case: str, *, is_wide: bool) -> None:
    primary, references = SHOWN[case]
    photo = heif(PICTURES, primary=primary, references=references, is_wide=is_wide)
    header, found = inspect(BytesIO(photo), LIMITS), decoded(photo)
    assert (header.width, header.height) == found.size == LARGE
    assert abs(found.rgb.mean((0, 1)) - RED).max() < 3


def test_a_thumbnail_is_not_taken_for_the_photo_however_small_a_picture_is_wanted() -> None:
    photo = heif(PICTURES, primary=2, references=[(b"thmb", 3, [2])])
    assert abs(decoded(photo, 32).rgb.mean((0, 1)) - RED).max() < 3


@pytest.mark.parametrize(
    ("kind", "name"),
    [(b"unci", "an uncompressed image"), (b"jpeg", "a JPEG image"), (b"odd ", "an image of a rare kind")],
)
def test_a_heif_with_a_picture_of_another_codec_is_named(kind: bytes, name: str) -> None:
    photo = heif({1: PICTURES[1], 2: Item(LARGE, RED, kind)}, primary=2)
    with pytest.raises(UnreadPhotoError, match=name):
        inspect(BytesIO(photo), LIMITS)


@pytest.mark.parametrize(
    "main",
    [Item(LARGE, RED, b"av01"), Item(LARGE, RED, b"grid"), Item(LARGE, RED, meaning=b"urn:mpeg:hevc:2015:auxid:1")],
    ids=["another codec", "a grid of nothing", "the alpha of another"],
)
def test_no_other_picture_is_shown_where_the_main_one_cannot_be_read(main: Item) -> None:
    photo = heif({1: PICTURES[1], 2: main}, primary=2, references=[(b"auxl", 2, [1])] if main.meaning else [])
    with pytest.raises(UnreadPhotoError, match="whose main picture"):
        decoded(photo)
