"""Colour spaces that are named without a profile, and HDR."""

import struct
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from shared.photos.colour_spaces import SRGB, by_codes, by_exif, by_gamma
from shared.photos.colours import to_srgb
from tests.shared.photos.making import LEVELS, decoded
from tests.shared.test_pipeline import assert_quadrants, matrix_profile, png_chunk, quadrants, saved

# Linear sRGB to linear BT.2020 and Display P3, from ITU-R BT.2087 and SMPTE EG 432-1.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1775, 0.0], [0.0332, 0.9668, 0.0], [0.0171, 0.0724, 0.9105]])
TO_ADOBE = np.array([[0.7152, 0.2848, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0412, 0.9588]])
Levels = npt.NDArray[np.uint8]


def light(levels: Levels = LEVELS) -> npt.NDArray[np.float64]:
    signal = levels / 255
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def to_levels(signal: npt.NDArray[np.float64]) -> Levels:
    levels: Levels = np.rint(signal * 255).astype(np.uint8)
    return levels


def pq(linear: npt.NDArray[np.float64], white: float = 203) -> Levels:
    power = (linear.clip(0) * white / 10_000) ** 0.1593017578125
    signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    return to_levels(signal)


def hlg(linear: npt.NDArray[np.float64]) -> Levels:
    """Through the inverse of the display's gamma of 1.2, so that diffuse white (203 nits) is 75 % of the signal."""
    seen = linear.clip(1e-9) * 0.203
    luminance = (seen @ np.array([0.2627, 0.678, 0.0593]))[..., None]
    scene = seen * luminance ** (1 / 1.2 - 1)
    signal = np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log((12 * scene - 0.28466892).clip(1e-9)) + 0.55991073
    )
    return to_levels(signal)


def png(levels: Levels, *chunks: bytes) -> bytes:
    photo = saved(Image.fromarray(levels), "PNG")
    return photo[:33] + b"".join(chunks) + photo[33:]


def cicp(primaries: int, transfer: int) -> bytes:
    return png_chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


def with_nclx(levels: Levels, image_format: str, primaries: int, transfer: int) -> bytes:
    photo = bytearray(saved(Image.fromarray(levels), image_format, quality=100, subsampling="4:4:4"))
    at = photo.index(b"colrnclx") + 8
    photo[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(photo)


WIDE = light() @ TO_2020.T
HDR: dict[str, bytes] = {
    "png pq": png(pq(WIDE), cicp(9, 16)),
    "png hlg": png(hlg(WIDE), cicp(9, 18)),
    "png pq by the name of its profile": png(pq(WIDE), png_chunk(b"iCCP", b"ITUR_2100_PQ_FULL\0\0")),
    "heic pq": with_nclx(pq(WIDE), "HEIF", 9, 16),
    "heic hlg": with_nclx(hlg(WIDE), "HEIF", 9, 18),
    "avif pq": with_nclx(pq(WIDE), "AVIF", 9, 16),
    "avif hlg": with_nclx(hlg(WIDE), "AVIF", 9, 18),
}


@pytest.mark.parametrize("case", HDR)
def test_what_is_no_brighter_than_white_looks_alike_in_hdr(case: str) -> None:
    found = decoded(HDR[case])
    assert_quadrants(Image.fromarray(found.rgb), tolerance=32)  # 8 bits are few for dark red light in green
    assert "HDR" in found.notes[0]


def test_highlights_are_toned_down_and_middle_tones_stay() -> None:
    ramp = np.tile(np.geomspace(0.01, 5, 64)[None, :, None], (48, 1, 3))
    found = decoded(png(pq(ramp), cicp(9, 16))).rgb[20, :, 0].astype(int)
    plain = np.rint(255 * np.where(ramp < 0.003, 0, 1.055 * ramp.clip(0, 1) ** (1 / 2.4) - 0.055))[20, :, 0]
    assert (np.diff(found) >= 0).all()
    assert len(set(found[ramp[20, :, 0] > 1])) > 8  # clouds keep their shape
    assert np.abs(found - plain)[ramp[20, :, 0] < 0.3].max() <= 5
    assert found.max() > 250


OTHERS: dict[str, bytes] = {
    "linear by gAMA": png(to_levels(light()), png_chunk(b"gAMA", struct.pack(">I", 100_000))),
    "p3 by cICP": png(to_levels((light() @ TO_P3.T).clip(0, 1) ** (1 / 2.2)), cicp(12, 4)),
    "p3 by nclx": with_nclx(to_levels((light() @ TO_P3.T).clip(0, 1) ** (1 / 2.2)), "AVIF", 12, 4),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_colour_space_without_a_profile_is_converted_and_noted(case: str) -> None:
    found = decoded(OTHERS[case])
    assert_quadrants(Image.fromarray(found.rgb), tolerance=12)
    assert "sRGB" in found.notes[0]


@pytest.mark.parametrize("chunks", [
    [b"gAMA" + struct.pack(">I", 45455)],
    [b"sRGB\0", b"gAMA" + struct.pack(">I", 100_000)],
    [b"gAMA" + bytes(4)],
    [b"cHRM" + bytes(32)],
    [b"cICP\1\x0d\0\1"],
])  # fmt: skip
def test_chunks_that_mean_srgb_change_nothing(chunks: list[bytes]) -> None:
    found = decoded(png(LEVELS, *(png_chunk(chunk[:4], chunk[4:]) for chunk in chunks)))
    assert np.array_equal(found.rgb, LEVELS)
    assert found.notes == ()


def exif_of_adobe(colour_space: int = 0xFFFF, index: str = "R03") -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = colour_space
    exif.get_ifd(0x8769)[0xA005] = {1: index}
    return exif.tobytes()


def adobe_rgb(exif: bytes, **options: bytes) -> bytes:
    levels = to_levels((light() @ TO_ADOBE.T).clip(0, 1) ** (1 / 2.2))
    return saved(Image.fromarray(levels), "JPEG", quality=100, subsampling=0, exif=exif, **options)


def test_adobe_rgb_that_exif_alone_tells_is_converted_and_noted() -> None:
    found = decoded(adobe_rgb(exif_of_adobe()))
    assert_quadrants(Image.fromarray(found.rgb))
    assert "sRGB" in found.notes[0]


def test_a_profile_counts_more_than_exif() -> None:
    srgb = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])
    photo = saved(
        quadrants(), "JPEG", quality=100, subsampling=0, exif=exif_of_adobe(), icc_profile=matrix_profile(srgb, 2.2)
    )
    assert_quadrants(Image.fromarray(decoded(photo).rgb))


def test_exif_that_names_no_colour_space_changes_nothing() -> None:
    for colour_space, index in ((1, "R98"), (0xFFFF, "R98"), (0xFFFF, "THM")):
        assert by_exif(colour_space, index) is None
    assert by_exif(2, "") == by_exif(0xFFFF, "R03") is not None


def test_code_points_near_srgb_or_unknown_are_taken_for_it() -> None:
    assert [by_codes(*codes) for codes in ((1, 13), (2, 2), (1, 1), (6, 6), (1, 4), (200, 200))] == [None] * 6
    assert by_gamma(SRGB, 2.2) is None


def test_grey_stays_grey_in_every_colour_space() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    for codes in ((9, 16), (9, 18), (12, 13), (9, 14), (11, 13)):
        if space := by_codes(*codes):
            converted = to_srgb(ramp, space).astype(int)
            assert np.ptp(converted, axis=2).max() <= 2, codes
            assert (np.diff(converted[0, :, 1]) >= 0).all(), codes


def test_hdr_named_in_a_profile_counts() -> None:
    profile = bytearray(matrix_profile(np.eye(3), 2.2))
    tags = struct.unpack_from(">I", profile, 128)[0]
    entry = struct.pack(">4sII", b"cicp", len(profile), 12)
    for number in range(tags):  # what is behind the table moves by one entry
        (place,) = struct.unpack_from(">I", profile, 132 + 12 * number + 4)
        struct.pack_into(">I", profile, 132 + 12 * number + 4, place + len(entry))
    struct.pack_into(">I", profile, 128, tags + 1)
    entry = struct.pack(">4sII", b"cicp", len(profile) + len(entry), 12)
    whole = bytes(profile[:132]) + entry + bytes(profile[132:]) + b"cicp" + bytes(4) + bytes([9, 16, 0, 1])
    photo = BytesIO()
    Image.fromarray(pq(WIDE)).save(photo, "PNG", icc_profile=whole)
    assert_quadrants(Image.fromarray(decoded(photo.getvalue()).rgb), tolerance=14)
