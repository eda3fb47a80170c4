"""What a conversion counts for."""

import pytest

from shared.conversion import MIN_PIXELS, cost_pixels, decoding_ms
from shared.photos.formats import Header


def test_a_phones_photo_counts_as_its_picture() -> None:
    assert cost_pixels(Header(4000, 3000, "JPEG"), 512) == 512 * 384


def test_a_small_photo_counts_for_a_minimum() -> None:
    assert cost_pixels(Header(64, 64, "JPEG"), 512) == MIN_PIXELS


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "HEIF", "WEBP", "JPEG2000", "a new one"])
def test_a_large_photo_counts_for_what_decoding_takes_however_small_its_picture(image_format: str) -> None:
    header = Header(9000, 7000, image_format)
    assert cost_pixels(header, 16) == cost_pixels(header, 512) > 10 * MIN_PIXELS
    assert decoding_ms(header) > 500
