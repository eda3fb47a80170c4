"""The colours that the header of a JPEG 2000 declares: converted, or refused by their kind."""

from io import BytesIO

import numpy as np
import pytest

from shared.errors import UnreadPhotoError
from shared.photos.inspection import inspect
from tests.shared.photos.making import decoded, swapped_profile
from tests.shared.test_pipeline import LIMITS, box, quadrants, saved

JP2 = saved(quadrants(), "JPEG2000", irreversible=False)
GREY_JP2 = saved(quadrants().convert("L"), "JPEG2000", irreversible=False)


def with_boxes(photo: bytes, *inner: bytes) -> bytes:
    """The same JPEG 2000 with these boxes in its header, in place of what says its colours."""
    header, size = photo.index(b"ihdr") - 4, photo.index(b"jp2h") - 4
    old = photo[header : size + int.from_bytes(photo[size : size + 4])]
    kept = old[:22]
    return photo[:size] + box(b"jp2h", kept + b"".join(inner)) + photo[size + 8 + len(old) :]


def colour(number: int) -> bytes:
    return box(b"colr", b"\1\0\0" + number.to_bytes(4))


def profile(content: bytes) -> bytes:
    return box(b"colr", b"\2\0\0" + content)


def palette(colours: list[bytes], *, depth: int = 7) -> bytes:
    columns = len(colours[0])
    head = len(colours).to_bytes(2) + bytes([columns]) + bytes([depth]) * columns
    return box(b"pclr", head + b"".join(colours))


COLOURS = [bytes([level, 255 - level, level // 2]) for level in range(256)]
MAP = box(b"cmap", b"".join(bytes([0, 0, 1, column]) for column in range(3)))


def test_a_profile_is_followed() -> None:
    found = decoded(with_boxes(JP2, profile(swapped_profile())))
    expected = np.asarray(quadrants())[..., ::-1].astype(int)
    assert np.abs(found.rgb - expected).max() <= 12


def test_without_a_profile_it_is_srgb() -> None:
    assert np.abs(decoded(JP2).rgb - np.asarray(quadrants()).astype(int)).max() <= 2
    assert np.abs(decoded(with_boxes(JP2, colour(16))).rgb - np.asarray(quadrants()).astype(int)).max() <= 2


def test_a_palette_is_followed() -> None:
    found = decoded(with_boxes(GREY_JP2, colour(16), palette(COLOURS), MAP))
    levels = np.asarray(quadrants().convert("L"))
    expected = np.array([list(entry) for entry in COLOURS])[levels]
    assert np.abs(found.rgb - expected).max() <= 3


@pytest.mark.parametrize(
    ("photo", "named"),
    [
        (with_boxes(JP2, colour(14)), "colour space"),
        (with_boxes(JP2, colour(21)), "colour space"),
        (with_boxes(JP2, profile(bytes(16) + b"CMYK" + bytes(112))), "colour space"),
        (with_boxes(GREY_JP2, colour(16), palette(COLOURS, depth=6), MAP), "palette"),
        (with_boxes(GREY_JP2, colour(16), palette(COLOURS), box(b"cmap", MAP[16:20] + MAP[8:16])), "palette"),
        (
            with_boxes(
                *(GREY_JP2, colour(16), palette(COLOURS), MAP),
                box(b"cdef", bytes([0, 3, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1])),
            ),
            "palette",
        ),
    ],
    ids=["Lab", "ROMM", "CMYK", "seven bits", "mixed columns", "blue first"],
)
def test_colours_that_would_come_out_wrongly_are_refused(photo: bytes, named: str) -> None:
    with pytest.raises(UnreadPhotoError, match=f"JPEG 2000 .* {named}"):
        inspect(BytesIO(photo), LIMITS)
