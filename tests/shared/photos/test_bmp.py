"""The colour profiles of BMPs."""

import struct

import numpy as np
import pytest
from PIL import Image

from tests.shared.photos.making import LEVELS, decoded, swapped_profile
from tests.shared.test_pipeline import quadrants

PROFILE = swapped_profile()


def bmp(profile: bytes, *, kind: bytes = b"DEBM", size: int | None = None) -> bytes:
    """A BMP of 24 bits with a header of version 5, whose profile is behind the pixels."""
    rows = quadrants().transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGR")
    about = struct.pack("<IiiHHIIiiII", 124, 64, 48, 1, 24, 0, len(rows), 0, 0, 0, 0)
    told = struct.pack("<4sIII", kind.rjust(4), 124 + len(rows), len(profile) if size is None else size, 0)
    header = about + bytes(16) + told[:4] + bytes(52) + told[4:]
    return struct.pack("<2sIHHI", b"BM", 138 + len(rows + profile), 0, 0, 138) + header + rows + profile


def test_the_profile_of_a_bmp_is_followed() -> None:
    assert np.abs(decoded(bmp(PROFILE)).rgb - LEVELS[..., ::-1].astype(int)).max() <= 3


@pytest.mark.parametrize(
    "photo",
    [bmp(PROFILE, kind=b"BGRs"), bmp(PROFILE, size=len(PROFILE) + 1), bmp(PROFILE, size=1 << 31), bmp(bytes(200))],
    ids=["sRGB", "cut short", "too long", "no profile"],
)
def test_without_a_sound_profile_a_bmp_is_srgb(photo: bytes) -> None:
    assert np.abs(decoded(photo).rgb - LEVELS.astype(int)).max() == 0
