"""The cost of a conversion."""

import pytest

from shared.conversion import MIN_DECODING_LIMIT_S, MIN_PIXELS, cost_pixels, decoding_limit_s, decoding_ms
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


def test_every_pass_over_a_photo_counts() -> None:
    plain, progressive, endless = (Header(9000, 7000, "JPEG", "jpeg", passes) for passes in (1, 10, 100))
    assert cost_pixels(progressive, 16) > 2 * cost_pixels(plain, 16)
    assert cost_pixels(endless, 16) > 5 * cost_pixels(progressive, 16)


@pytest.mark.parametrize(("image_format", "decoder"), [("QOI", "qoi"), ("PPM", "ppm"), ("PPM", "ppm_plain")])
def test_photos_that_are_decoded_slowly_count_for_it(image_format: str, decoder: str) -> None:
    header = Header(9000, 7000, image_format, decoder)
    assert cost_pixels(header, 16) > 10 * cost_pixels(Header(9000, 7000, "PNG", "zip"), 16)


def test_the_limit_on_decoding_is_far_from_what_healthy_photos_take() -> None:
    assert decoding_limit_s(Header(16, 16, "JPEG", "jpeg")) == pytest.approx(MIN_DECODING_LIMIT_S, abs=0.1)
    header = Header(9000, 7000, "HEIF")
    assert decoding_limit_s(header) > 10 * decoding_ms(header) / 1000
