"""JPEG and PNG with more, or less, than a decoder needs: healthy photos whatever else is in their files."""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from shared.errors import DamagedPhotoError, UnreadPhotoError
from shared.photos.decoding import decode
from shared.photos.formats import Header
from shared.photos.inspection import inspect
from shared.photos.reading import excerpt
from tests.shared.photos.making import LEVELS, decoded
from tests.shared.test_pipeline import LIMITS, TURNS, assert_quadrants, matrix_profile, png_chunk, quadrants, saved

DISPLAY_P3 = matrix_profile(
    np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]]), 2.2
)
PNG = saved(quadrants(), "PNG")
JPEG = saved(quadrants((320, 240)), "JPEG", quality=95, subsampling=0)
PROGRESSIVE = saved(quadrants((320, 240)), "JPEG", quality=95, progressive=True)


def test_the_decoder_of_a_photo_is_known_before_it_runs() -> None:
    plain = b"P3\n16 16\n255\n" + b"7 " * 768
    assert inspect(BytesIO(plain), LIMITS).decoder == "ppm_plain"
    assert inspect(BytesIO(PNG), LIMITS).decoder == "zip"


def test_a_photo_is_decoded_within_limits_that_its_header_tells() -> None:
    headers = []

    @contextmanager
    def within(header: Header) -> Iterator[None]:
        headers.append(header)
        yield
        headers.append(header)

    decode(BytesIO(JPEG), LIMITS, max_side=64, within=within)
    assert headers == 2 * [inspect(BytesIO(JPEG), LIMITS)]


def damaged(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


def packed(kind: bytes, before: bytes, content: bytes) -> bytes:
    return png_chunk(kind, before + zlib.compress(content))


WORKFLOW = b'{"nodes": ' + bytes(range(32, 127)) * 22_000 + b"}"
CHUNKS: dict[str, bytes] = {
    "a long text": png_chunk(b"tEXt", b"workflow\0" + WORKFLOW),
    "a long packed text": packed(b"zTXt", b"workflow\0\0", WORKFLOW),
    "a long international text": packed(b"iTXt", b"workflow\0\1\0\0\0", WORKFLOW),
    "texts of 80 MB": 40 * packed(b"zTXt", b"x\0\0", bytes(2 << 20)),
    "a text with a wrong checksum": damaged(png_chunk(b"tEXt", b"Comment\0hello")),
    "a profile with a wrong checksum": damaged(packed(b"iCCP", b"x\0\0", DISPLAY_P3)),
    "a profile that is cut short": png_chunk(b"iCCP", b"x\0\0" + zlib.compress(DISPLAY_P3)[:50]),
    "a profile of 64 MB": packed(b"iCCP", b"x\0\0", bytes(64 << 20)),
    "transparency with a wrong checksum": damaged(png_chunk(b"tRNS", struct.pack(">HHH", *LEVELS[0, 0]))),
    "metadata with a wrong checksum": damaged(png_chunk(b"eXIf", b"II*\0")),
    "animation with a wrong checksum": damaged(png_chunk(b"acTL", struct.pack(">II", 5, 0))),
    "primaries that are all the same": png_chunk(b"cHRM", struct.pack(">8I", *4 * (31_270, 32_900))),
    "primaries beyond all colours": png_chunk(b"cHRM", struct.pack(">8I", *8 * (1 << 30,))),
    "no gamma": png_chunk(b"gAMA", bytes(4)),
    "a gamma of nothing": png_chunk(b"gAMA", struct.pack(">I", 1)),
    "a gamma of too many bytes": png_chunk(b"gAMA", b"\1" + struct.pack(">I", 100_000)),
    "chunks of a program": png_chunk(b"prVW", bytes(3 << 20)),
}


@pytest.mark.parametrize("case", CHUNKS)
@pytest.mark.parametrize("place", [33, -12])
def test_a_png_is_read_whatever_chunks_it_could_do_without(case: str, place: int) -> None:
    found = decoded(PNG[:place] + CHUNKS[case] + PNG[place:])
    assert np.array_equal(found.rgb, LEVELS)
    assert found.alpha is None
    assert found.notes == ()


def test_a_long_profile_counts() -> None:
    long = bytearray(DISPLAY_P3 + np.random.default_rng(0).bytes(1_600_000))
    struct.pack_into(">I", long, 0, len(long))
    for image_format in ("PNG", "JPEG"):
        plain, wide = (
            decoded(saved(quadrants(), image_format, icc_profile=icc)).rgb for icc in (DISPLAY_P3, bytes(long))
        )
        assert not np.array_equal(plain, LEVELS)
        assert np.array_equal(wide, plain)


@pytest.mark.parametrize("length", range(12))
def test_a_png_without_its_last_chunk_is_whole(length: int) -> None:
    assert np.array_equal(decoded(PNG[: len(PNG) - 12 + length]).rgb, LEVELS)


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = saved(TURNS[6](quadrants()), "PNG")
    photo = photo[:-12] + png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + photo[-12:]
    assert (inspect(BytesIO(photo), LIMITS).width, decoded(photo).size) == (64, (64, 48))
    assert_quadrants(Image.fromarray(decoded(photo).rgb))


def test_a_png_of_iphone_apps_is_refused_and_named() -> None:
    with pytest.raises(UnreadPhotoError, match="CgBI"):
        decoded(PNG[:8] + png_chunk(b"CgBI", b"\x50\0\x20\6") + PNG[8:])


def test_only_one_profile_is_inflated_and_none_to_inspect(monkeypatch: pytest.MonkeyPatch) -> None:
    inflated = []
    inflate = zlib.decompressobj

    def noted() -> object:
        inflated.append(1)
        return inflate()

    monkeypatch.setattr(zlib, "decompressobj", noted)
    photo = PNG[:33] + 9000 * packed(b"iCCP", b"x\0\0", DISPLAY_P3) + PNG[33:]
    inspect(BytesIO(photo), LIMITS)
    assert inflated == []
    decoded(photo)
    assert len(inflated) == 1


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


SEGMENTS: dict[str, bytes] = {
    "extended xmp": 100 * segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000)),
    "texts": 100 * segment(0xFE, bytes(65_000)),
    "sounds": 100 * segment(0xE2, b"FPXR\0" + bytes(65_000)),
    "an index of other pictures": segment(0xE2, b"MPF\0" + b"damaged"),
    "a profile of 9 MB": 140 * segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000)),
}


@pytest.mark.parametrize("case", SEGMENTS)
def test_a_jpeg_is_read_whatever_segments_it_could_do_without(case: str) -> None:
    found = decoded(JPEG[:2] + SEGMENTS[case] + JPEG[2:])
    assert np.array_equal(found.rgb, decoded(JPEG).rgb)
    assert found.notes == ()


@pytest.mark.parametrize("photo", [JPEG, PROGRESSIVE], ids=["sequential", "progressive"])
@pytest.mark.parametrize("max_side", [32, 512])
def test_a_jpeg_without_an_end_is_whole_if_nothing_else_is_missing(photo: bytes, max_side: int) -> None:
    whole = decoded(photo, max_side)
    for missing in (1, 2):
        assert np.array_equal(decoded(photo[:-missing], max_side).rgb, whole.rgb)
    for missing in (40, 300, len(photo) // 2):
        with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
            decoded(photo[:-missing], max_side)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(600, 400), (33, 17), (16, 100)])
def test_a_jpeg_without_an_end_that_has_too_few_bytes_for_its_blocks_is_refused_at_once(
    mode: str, size: tuple[int, int]
) -> None:
    for image, optimised in product((Image.new("L", size, 99), Image.effect_noise(size, 60)), (False, True)):
        photo = saved(image.convert(mode), "JPEG", quality=90, optimize=optimised)
        pixels = photo.index(b"\xff\xda") + {"L": 10, "RGB": 14}[mode]
        inspect(BytesIO(photo[:-2]), LIMITS)
        with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
            inspect(BytesIO(photo[:pixels]), LIMITS)


def test_a_jpeg_that_ends_long_before_its_size_is_refused_at_once() -> None:
    place = JPEG.index(b"\xff\xc0") + 5
    with pytest.raises(DamagedPhotoError):
        inspect(BytesIO(JPEG[:place] + struct.pack(">HH", 7000, 8000) + JPEG[place + 4 :]), LIMITS)


def test_a_jpeg_that_ends_between_two_restarts_is_cut_short() -> None:
    photo = saved(quadrants((320, 240)), "JPEG", quality=95, restart_marker_rows=1)
    marks = [place for place in range(len(photo)) if photo[place] == 0xFF and 0xD0 <= photo[place + 1] < 0xD8]
    assert len(marks) > 8
    for place in (mark + behind for mark in marks for behind in (-1, 0, 1, 2, 9)):
        with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
            decoded(photo[:place])


@pytest.mark.parametrize(("passes", "is_read"), [(10, True), (90, True), (200, False)])
def test_the_passes_of_a_progressive_jpeg_are_counted(passes: int, *, is_read: bool) -> None:
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    photo = PROGRESSIVE[:-2] + (passes - 10) * last + b"\xff\xd9"
    if is_read:
        assert inspect(BytesIO(photo), LIMITS).passes == passes
        assert_quadrants(Image.fromarray(decoded(photo).rgb))
    else:
        with pytest.raises(DamagedPhotoError, match="200 passes; at most 100"):
            inspect(BytesIO(photo), LIMITS)


@pytest.mark.parametrize("junk", [b"\0", b"junk" * 5000, b"\xff\0", b"\xff\0" * 9000, b"\xff" * 9, b"\xff\x01"])
def test_junk_between_segments_is_skipped_and_hides_no_passes(junk: bytes) -> None:
    place = PROGRESSIVE.index(b"\xff\xdb")
    photo = PROGRESSIVE[:place] + junk + PROGRESSIVE[place:]
    assert np.array_equal(decoded(photo).rgb, decoded(PROGRESSIVE).rgb)
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    with pytest.raises(DamagedPhotoError, match="210 passes"):
        inspect(BytesIO(photo[:-2] + 200 * last + b"\xff\xd9"), LIMITS)


class Counted(BytesIO):
    """A file that counts the bytes read from it."""

    read_bytes = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


def test_tables_without_a_length_are_gone_through_once() -> None:
    photo = Counted(JPEG[:2] + b"\xff\xc4\0\0" * 12_000)
    with pytest.raises(DamagedPhotoError):
        inspect(photo, LIMITS)
    assert photo.read_bytes < 5 * len(photo.getvalue()), "a few times: the tables of codes are read, too"


def test_tables_longer_than_those_of_any_photo_are_refused() -> None:
    with pytest.raises(DamagedPhotoError, match="too long"):
        inspect(BytesIO(JPEG[:2] + 40 * segment(0xC4, bytes(65_000)) + JPEG[2:]), LIMITS)


@pytest.mark.parametrize(
    "between",
    [segment(0xFE, b"\xff\xd9"), segment(0xE5, b"\xff\xd9" * 99), segment(0xDB, b"\3" + b"\xff\xd9" * 32)],
    ids=["a text", "metadata", "a table"],
)
def test_what_is_between_the_passes_may_look_like_the_end(between: bytes) -> None:
    photo = PROGRESSIVE.replace(b"\xff\xda", between + b"\xff\xda")
    assert photo.count(between) == 10
    assert np.array_equal(decoded(photo).rgb, decoded(PROGRESSIVE).rgb)
    with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
        decoded(photo[: len(photo) - 300])


def test_passes_are_counted_where_a_decoder_sees_them() -> None:
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    told = segment(0xFE, 200 * last)
    assert inspect(BytesIO(PROGRESSIVE[:-2] + told + b"\xff\xd9"), LIMITS).passes == 10
    hidden = told.replace(b"\xff\xfe", b"\xff\x02", 1)  # no decoder skips what is behind this marker
    with pytest.raises(DamagedPhotoError, match="210 passes"):
        inspect(BytesIO(PROGRESSIVE[:-2] + hidden + b"\xff\xd9"), LIMITS)


def test_passes_of_another_picture_behind_the_photo_do_not_count() -> None:
    assert np.array_equal(decoded(JPEG + 200 * b"\xff\xda").rgb, decoded(JPEG).rgb)


def frame(precision: int = 8, marker: int = 0xC0) -> Callable[[], bytes]:
    return lambda: JPEG.replace(b"\xff\xc0\0\x11\x08", bytes([0xFF, marker, 0, 17, precision]))


UNREAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "12-bit jpeg": (frame(12), "a JPEG with 12 bits per channel"),
    "hierarchical jpeg": (frame(marker=0xC5), "a hierarchical JPEG"),
    "jpeg-ls": (lambda: JPEG[:2] + segment(0xE8, b"SPIFF\0") + segment(0xF7, bytes(15)), "a JPEG-LS image"),
    "jpeg xl": (lambda: b"\xff\x0a" + bytes(40), "a JPEG XL image"),
    "jpeg xl in boxes": (lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "a JPEG XL image"),
    "jpeg xr": (lambda: b"II\xbc\1" + bytes(40), "a JPEG XR image"),
    "psd of 16 bits": (
        lambda: b"8BPS\0\1" + struct.pack(">6xHIIHH", 3, 64, 64, 16, 3) + bytes(99),
        "16 bits per channel",
    ),
    "psb": (lambda: b"8BPS\0\2" + bytes(40), "PSB"),
    "openexr": (lambda: b"v/1\1" + bytes(40), "OpenEXR"),
}


@pytest.mark.parametrize("case", UNREAD)
def test_a_picture_of_a_kind_that_is_not_read_is_named(case: str) -> None:
    build, name = UNREAD[case]
    with pytest.raises(UnreadPhotoError, match=name):
        inspect(BytesIO(build()), LIMITS)


def test_a_photoshop_document_without_a_composite_is_refused() -> None:
    version = b"8BIM" + struct.pack(">H2xI", 1057, 5) + struct.pack(">IB", 1, 0) + b"\0"
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, 32, 32, 8, 1) + bytes(4)
    photo = header + struct.pack(">I", len(version)) + version + bytes(4) + bytes(2 + 32 * 32)
    with pytest.raises(UnreadPhotoError, match="Maximize compatibility"):
        inspect(BytesIO(photo), LIMITS)


def test_two_pictures_in_a_heic_are_no_animation() -> None:
    found = decoded(saved(quadrants(), "HEIF", save_all=True, append_images=[quadrants().rotate(180)], quality=95))
    assert found.notes == ("There are several pictures in this file; the main one was converted.",)


def test_an_animation_whose_metadata_is_long_is_noted() -> None:
    text = PngInfo()
    text.add_text("workflow", "x" * (2 << 20))
    photo = saved(quadrants(), "PNG", save_all=True, append_images=[quadrants().rotate(180)], pnginfo=text)
    found = decoded(photo)
    assert found.notes == ("This is an animation; its first frame was converted.",)
    assert np.array_equal(found.rgb, LEVELS)


def test_an_excerpt_reads_like_the_file_it_stands_for() -> None:
    whole = bytes(range(200))
    file = excerpt(BytesIO(whole), [(0, 10), (10, 30), b"ab", b"cd", (90, 90), (100, 200)])
    expected = whole[:30] + b"abcd" + whole[100:]
    assert file.read() == expected
    for place in range(len(expected)):
        file.seek(place)
        assert file.read(7) == expected[place : place + 7]
    assert file.seek(0, 2) == len(expected)
