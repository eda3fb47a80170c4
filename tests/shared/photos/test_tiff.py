"""TIFFs of every layout: read rightly, or refused by their tags. A negative or a doubled picture is no answer."""

import struct
from contextlib import suppress
from io import BytesIO
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from shared.errors import DamagedPhotoError, SakugaError, UnreadPhotoError
from shared.photos.inspection import inspect
from tests.shared.photos.making import GREY_LEVELS, LEVELS, decoded, tiff, tiff_of
from tests.shared.test_pipeline import LIMITS, assert_quadrants, quadrants, saved

CMYK = np.asarray(quadrants().convert("CMYK"))
OPAQUE = np.full((*GREY_LEVELS.shape, 1), 255, np.uint8)
COLOURS: dict[str, tuple[npt.NDArray[np.uint8], int]] = {
    "grey": (GREY_LEVELS, 1),
    "grey, 0 is white": (255 - GREY_LEVELS, 0),
    "grey with alpha": (np.dstack([GREY_LEVELS, OPAQUE]), 1),
    "rgb": (LEVELS, 2),
    "rgb with alpha": (np.dstack([LEVELS, OPAQUE]), 2),
    "cmyk": (CMYK, 5),
    "cmyk with alpha": (np.dstack([CMYK, OPAQUE]), 5),
}
FULL = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "i1": 127, "i2": 32767, "i4": 2**31 - 1, "f4": 1.0, "f8": 1.0}


def in_kind(levels: npt.NDArray[np.uint8], kind: str) -> npt.NDArray[np.generic]:
    """The same levels in numbers of another kind, 0 is black."""
    return (levels.astype(np.float64) / 255 * FULL[kind]).astype(kind)


def right(colours: str) -> npt.NDArray[np.int16]:
    return np.asarray(quadrants().convert("L" if "grey" in colours else "RGB").convert("RGB"), np.int16)


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("kind", FULL)
def test_a_tiff_is_read_rightly_or_refused(colours: str, kind: str) -> None:
    levels, photometric = COLOURS[colours]
    for order, is_planar, is_packed in product("<>", (False, True), (False, True)):
        photo = tiff(in_kind(levels, kind), photometric, order=order, is_planar=is_planar, is_packed=is_packed)
        with suppress(UnreadPhotoError):
            assert np.abs(decoded(photo).rgb - right(colours)).max() <= 3, (order, is_planar, is_packed)


READ = {
    "grey": "u1 u2 i2 i4 f4",
    "grey, 0 is white": "u1 u2 f4",
    "rgb": "u1 u2",
    "rgb with alpha": "u1 u2",
    "cmyk": "u1 u2",
}


@pytest.mark.parametrize("colours", READ)
def test_a_tiff_of_a_usual_kind_is_read(colours: str) -> None:
    levels, photometric = COLOURS[colours]
    for kind, is_planar in product(READ[colours].split(), (False, True)):
        found = decoded(tiff(in_kind(levels, kind), photometric, is_planar=is_planar))
        assert np.abs(found.rgb - right(colours)).max() <= 3, kind
        assert found.notes == ()


def test_grey_that_is_multiplied_with_its_alpha_is_read() -> None:
    levels = np.dstack([GREY_LEVELS // 2, np.full_like(GREY_LEVELS, 128)])
    found = decoded(tiff(levels, 1, tags={338: [1]}))
    assert found.alpha is not None
    assert (found.alpha == 128).all()
    assert np.abs(found.rgb - right("grey")).max() <= 3


@pytest.mark.parametrize(("kind", "photometric"), [("i2", 1), ("i4", 1), ("f4", 1), ("f4", 0)])
def test_levels_that_go_below_zero_are_stretched(kind: str, photometric: int) -> None:
    levels = (GREY_LEVELS.astype(float) / 255 * 2 - 1) * FULL[kind]
    found = decoded(tiff(levels.astype(kind), photometric))
    low, high = int(GREY_LEVELS.min()), int(GREY_LEVELS.max())
    stretched = (GREY_LEVELS.astype(float) - low) / (high - low) * 255
    assert np.abs(found.rgb[..., 0] - (stretched if photometric else 255 - stretched)).max() <= 2
    assert found.notes == ("Its levels go below zero; the lowest was taken for black.",)


def test_noise_below_zero_is_black() -> None:
    levels = in_kind(GREY_LEVELS, "i2").astype("i2")
    levels[:4, :4] = -20
    found = decoded(tiff(levels, 1))
    assert not found.rgb[:4, :4].any()
    assert np.abs(found.rgb[8:] - right("grey")[8:]).max() <= 3
    assert found.notes == ()


@pytest.mark.parametrize("step", [1, 257])
def test_a_palette_may_have_8_or_16_bits(step: int) -> None:
    photo = quadrants().quantize(16)
    colours = np.zeros((256, 3), int)
    found = np.array(photo.getpalette()).reshape(-1, 3)
    colours[: len(found)] = found * step
    palette = decoded(tiff(np.asarray(photo), 3, tags={320: colours.T.ravel().tolist()}))
    assert_quadrants(Image.fromarray(palette.rgb))


def test_the_error_for_a_tiff_of_a_rare_kind_describes_it() -> None:
    with pytest.raises(UnreadPhotoError, match=r"RGB, 3 channels of 32 floating-point bits\)"):
        decoded(tiff(in_kind(LEVELS, "f4"), 2))
    with pytest.raises(UnreadPhotoError, match="compressed with WebP"):
        decoded(tiff(LEVELS, 2, tags={259: [50001]}))


def test_lab_comes_out_in_its_colours() -> None:
    photo = Image.new("LAB", (64, 48))
    photo.paste((138, 128, 128), (0, 0, 64, 48))  # L 54, neither a nor b
    assert np.abs(decoded(saved(photo, "TIFF")).rgb.astype(int) - 129).max() <= 2


def test_pages_are_no_animation_and_small_copies_no_pages() -> None:
    assert decoded(tiff(LEVELS, 2, pages=3)).notes == (
        "There are several pages in this file; the first one was converted.",
    )
    assert decoded(tiff(LEVELS, 2, pages=3, tags={254: [1]})).notes == ()


def test_levels_of_few_bits_are_noted() -> None:
    found = decoded(tiff(GREY_LEVELS.astype(np.uint16) * 16, 1))
    assert found.notes == ("Its brightest level is far from white, and was taken for white.",)
    assert np.abs(found.rgb - right("grey")).max() <= 1


def test_the_first_page_counts_though_the_next_is_damaged() -> None:
    photo = tiff(LEVELS, 2, pages=2)
    second = 8 + LEVELS.nbytes + 2 + 12 * 11 + 4
    broken = photo.replace(second.to_bytes(4, "little"), b"\xff\xff\xff\x7f")
    assert broken != photo
    assert_quadrants(Image.fromarray(decoded(broken).rgb))


@pytest.mark.parametrize("size", [4, 8, 15, 16, 40])
def test_the_first_bytes_of_a_tiff_are_refused_as_damaged(size: int) -> None:
    with pytest.raises(DamagedPhotoError):
        inspect(BytesIO(tiff_of(bytes(8), {256: [64]})[:size]), LIMITS)


@pytest.mark.parametrize("tag", [254, 259, 262, 330])
def test_a_tiff_whose_values_lie_behind_its_end_is_refused_as_damaged(tag: int) -> None:
    entries = struct.pack("<HHHII", 1, tag, 4, 1000, 1 << 30)
    with pytest.raises(SakugaError, match=r"damaged|unknown"):
        inspect(BytesIO(b"II*\0" + struct.pack("<I", 8) + entries + bytes(100)), LIMITS)
