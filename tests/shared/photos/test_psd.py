"""Photoshop documents with more channels than colours, in black and white, or in channels alone."""

import struct
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest

from shared.errors import UnreadPhotoError
from shared.photos.inspection import inspect
from tests.shared.photos.making import GREY_LEVELS, LEVELS, decoded
from tests.shared.test_pipeline import LIMITS, quadrants

Planes = list[npt.NDArray[np.uint8]]
BITMAP, GREY, RGB, CMYK, MULTICHANNEL = 0, 1, 3, 4, 7
HALF = np.full(GREY_LEVELS.shape, 128, np.uint8)
INKS = 255 - np.asarray(quadrants().convert("CMYK"))  # 0 is full


def planes(levels: npt.NDArray[np.uint8]) -> Planes:
    return [levels] if levels.ndim == 2 else list(np.moveaxis(levels, 2, 0))


def psd(channels: Planes, colours: int, *, is_packed: bool = False, layers: int | None = None, depth: int = 8) -> bytes:
    """A PSD (Adobe's specification) of planes (H, W); a negative number of layers means that they are transparent."""
    height, width = channels[0].shape[0], channels[0].shape[1] * 8 // depth
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, len(channels), height, width, depth, colours) + bytes(8)
    info = b"" if layers is None else struct.pack(">Ih", 2, layers) + bytes(4)
    rows = [row.tobytes() for plane in channels for row in plane]
    if not is_packed:
        return header + struct.pack(">I", len(info)) + info + b"\0\0" + b"".join(rows)
    lengths = b"".join(struct.pack(">H", len(row) + 1) for row in rows)
    data = b"".join(bytes([len(row) - 1]) + row for row in rows)
    return header + struct.pack(">I", len(info)) + info + b"\0\1" + lengths + data


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("beyond", [0, 1, 2, 5])
@pytest.mark.parametrize(("levels", "colours"), [(GREY_LEVELS, GREY), (LEVELS, RGB), (INKS, CMYK)])
def test_channels_beyond_the_colours_do_not_shift_the_picture(
    levels: npt.NDArray[np.uint8], colours: int, beyond: int, *, is_packed: bool
) -> None:
    found = decoded(psd(planes(levels) + [HALF] * beyond, colours, is_packed=is_packed))
    expected = GREY_LEVELS[..., None] if colours == GREY else LEVELS
    assert np.abs(found.rgb.astype(int) - expected).max() <= 2
    assert found.alpha is None


@pytest.mark.parametrize(("layers", "is_transparent"), [(None, False), (1, False), (-1, True)])
def test_a_saved_selection_is_no_transparency(layers: int | None, *, is_transparent: bool) -> None:
    found = decoded(psd([*planes(LEVELS), HALF], RGB, layers=layers))
    assert (found.alpha is not None) == is_transparent
    assert np.abs(found.rgb.astype(int) - LEVELS).max() <= 2


@pytest.mark.parametrize("is_packed", [False, True])
def test_in_a_bitmap_1_is_black(*, is_packed: bool) -> None:
    bits = np.zeros((48, 64), np.uint8)
    bits[:24] = 1
    found = decoded(psd([np.packbits(bits, axis=1)], BITMAP, is_packed=is_packed, depth=1))
    assert not found.rgb[:24].any()
    assert (found.rgb[24:] == 255).all()


def test_channels_of_no_known_colour_are_refused() -> None:
    with pytest.raises(UnreadPhotoError, match="multichannel"):
        inspect(BytesIO(psd(planes(LEVELS), MULTICHANNEL)), LIMITS)
