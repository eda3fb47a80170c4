"""Of an AVIF, the part that it names is seen."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shared.photos.inspection import inspect
from tests.shared.photos.making import decoded, with_property
from tests.shared.test_pipeline import LIMITS, assert_quadrants, box, quadrants, saved

AVIF = saved(quadrants((128, 96)), "AVIF", quality=100, subsampling="4:4:4")


def clap(width: int, height: int, right: tuple[int, int], down: tuple[int, int]) -> bytes:
    return box(b"clap", struct.pack(">4IiIiI", width, 1, height, 1, *right, *down))


def test_of_an_avif_the_part_that_it_names_is_converted() -> None:
    photo = with_property(AVIF, clap(64, 48, (0, 1), (0, 1)))
    found = decoded(photo)
    assert found.size == (64, 48)
    assert_quadrants(Image.fromarray(found.rgb))
    header = inspect(BytesIO(photo), LIMITS)
    assert (header.width, header.height) == (64, 48)


def test_the_part_may_lie_beside_the_middle_and_half_a_pixel_off() -> None:
    found = decoded(with_property(AVIF, clap(33, 20, (-60, 2), (10, 1))))
    assert found.size == (33, 20)
    top, left = 48, 17
    expected = np.asarray(quadrants((128, 96)))[top : top + 20, left : left + 33]
    assert np.abs(found.rgb.astype(int) - expected).mean() < 3


@pytest.mark.parametrize(
    "part",
    [
        clap(256, 48, (0, 1), (0, 1)),
        clap(64, 48, (33, 1), (0, 1)),
        clap(0, 48, (0, 1), (0, 1)),
        clap(64, 48, (0, 0), (0, 1)),
    ],
    ids=["larger", "outside", "empty", "nowhere"],
)
def test_a_part_that_is_not_within_the_avif_is_ignored(part: bytes) -> None:
    found = decoded(with_property(AVIF, part))
    assert found.size == (128, 96)
    assert_quadrants(Image.fromarray(found.rgb))
