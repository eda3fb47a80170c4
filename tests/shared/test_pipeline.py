"""The conversion of a photo: formats, orientation, colour, transparency, sizes, limits."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from shared.conversion import Options, Stage, working_pixels
from shared.drawing import ProgressCallback, Tensor
from shared.errors import DamagedPhotoError, NotAPhotoError, PhotoTooLargeError, SakugaError, UnusablePhotoError
from shared.photos.decoding import Rgb, decode, readable_formats
from shared.photos.encoding import encode
from shared.photos.formats import Format, Limits
from shared.photos.inspection import inspect
from shared.photos.sizes import drawn_side, drawn_size, fit
from shared.pipeline import Picture, convert, draw, postprocess, preprocess
from tests.conftest import ROOT, ToyEngine, photo_bytes
from worker.engines.probe import PHOTO, psnr_db

LIMITS = Limits(max_bytes=32 << 20, max_megapixels=64)
RED, GREEN, BLUE, GREY = (200, 30, 40), (30, 180, 60), (40, 60, 200), (128, 128, 128)


class IdentityEngine(ToyEngine):
    multiple = 8
    margin = 16

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:  # noqa: ARG002
        assert photo.shape[2] % self.multiple == photo.shape[3] % self.multiple == 0
        assert photo.dtype == np.float32
        assert photo.min() >= -1
        assert photo.max() <= 1
        return photo


class SmallEngine(IdentityEngine):
    """Draws at 64 pixels only, and records the (width, height) of what it drew."""

    drawn_at = 64
    margin = 0

    def __init__(self) -> None:
        self.drawn: list[tuple[int, int]] = []

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        self.drawn.append((photo.shape[3], photo.shape[2]))
        return super().generate(photo, report)


def quadrants(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Red top left, green top right, blue bottom left, grey bottom right."""
    image = Image.new("RGB", size, GREY)
    width, height = size[0] // 2, size[1] // 2
    for colour, corner in ((RED, (0, 0)), (GREEN, (width, 0)), (BLUE, (0, height))):
        image.paste(colour, (*corner, corner[0] + width, corner[1] + height))
    return image


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:  # noqa: ANN401
    readable_formats()  # so that HEIF is known
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def run(data: bytes, picture_format: Format = Format.PNG, max_side: int = 512) -> Picture:
    return convert(data, Options(max_side, picture_format), IdentityEngine(), LIMITS)


def opened(picture: Picture) -> Image.Image:
    image = Image.open(BytesIO(picture.data))
    image.load()
    return image


def corners(image: Image.Image) -> list[npt.NDArray[np.int16]]:
    pixels = np.asarray(image.convert("RGB"), np.int16)
    height, width = pixels.shape[:2]
    places = ((height // 4, width // 4), (height // 4, 3 * width // 4), (3 * height // 4, width // 4))
    return [pixels[place] for place in (*places, (3 * height // 4, 3 * width // 4))]


def assert_quadrants(image: Image.Image, tolerance: int = 12) -> None:
    for found, expected in zip(corners(image), (RED, GREEN, BLUE, GREY), strict=True):
        assert np.abs(found - np.array(expected)).max() <= tolerance, (found, expected)


@pytest.mark.parametrize(
    "image_format", ["PNG", "BMP", "TIFF", "WEBP", "JPEG", "AVIF", "PPM", "TGA", "JPEG2000", "QOI"]
)
def test_every_format_comes_out_in_its_colours(image_format: str) -> None:
    assert_quadrants(opened(run(saved(quadrants(), image_format))))


def test_heic_comes_out_in_its_colours() -> None:
    buffer = BytesIO()
    pillow_heif.from_pillow(quadrants()).save(buffer, quality=95)
    assert_quadrants(opened(run(buffer.getvalue())))


def test_exactly_the_allowed_formats_can_be_read() -> None:
    assert set(readable_formats()) == {
        *("AVIF", "BMP", "DDS", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI"),
        *("TGA", "TIFF", "WEBP"),
    }


def test_jpg_is_another_name_of_jpeg() -> None:
    assert Format("jpg") is Format.JPEG
    with pytest.raises(ValueError, match="gif"):
        Format("gif")


@pytest.mark.parametrize("picture_format", Format)
def test_a_picture_is_written_in_the_format_that_was_asked_for(picture_format: Format) -> None:
    assert opened(run(photo_bytes(), picture_format)).format == picture_format.value.upper()


TURNS: dict[int, Callable[[Image.Image], Image.Image]] = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_a_photo_is_turned_upright_by_its_exif(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = opened(run(saved(TURNS[orientation](quadrants()), "JPEG", quality=95, subsampling=0, exif=exif)))
    assert picture.size == (64, 48)
    assert_quadrants(picture)


def test_a_photo_is_turned_upright_by_its_xmp() -> None:
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    picture = opened(run(saved(TURNS[6](quadrants()), "JPEG", quality=95, subsampling=0, xmp=xmp)))
    assert picture.size == (64, 48)
    assert_quadrants(picture)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_header_gives_the_upright_size(image_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = saved(TURNS[6](quadrants()), image_format, exif=exif)
    header = inspect(BytesIO(photo), LIMITS)
    assert (header.width, header.height) == opened(run(photo)).size == (64, 48)


SELDOM_RUN = {"AVIF": {}, "HEIF": {}, "WEBP": {}, "WEBP without loss": {"lossless": True}}


@pytest.mark.parametrize("kind", SELDOM_RUN)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6])
def test_the_header_gives_the_size_that_the_codec_decodes(kind: str, mode: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    for size in ((64, 48), (101, 33)):
        photo = saved(grainy(size).convert(mode), kind.split(maxsplit=1)[0], exif=exif, **SELDOM_RUN[kind])
        header, decoded = inspect(BytesIO(photo), LIMITS), decode(BytesIO(photo), LIMITS, max_side=2048)
        assert (header.height, header.width) == decoded.rgb.shape[:2]
        assert header.format == kind.split(maxsplit=1)[0]


@pytest.mark.parametrize("image_format", ["AVIF", "HEIF", "WEBP"])
def test_the_header_of_an_animation_gives_its_size(image_format: str) -> None:
    photo = saved(quadrants(), image_format, save_all=True, append_images=[quadrants(), quadrants()])
    assert (inspect(BytesIO(photo), LIMITS).width, inspect(BytesIO(photo), LIMITS).height) == (64, 48)


CODECS = (
    *("PIL._webp.WebPAnimDecoder", "PIL._avif.AvifDecoder", "_pillow_heif.load_file"),  # decode, and open
    *("PIL.Image._getdecoder", "PIL.Image.core.new", "PIL.ImageFile.ImageFile.load", "PIL.ImageCms.getOpenProfile"),
)


def test_inspecting_a_photo_runs_no_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    photos = {name: saved(quadrants(), name) for name in sorted(set(readable_formats()) - {"MPO", "PSD", "QOI"})}
    profile = matrix_profile(np.eye(3), 2.2)
    photos |= {
        f"{name} with a profile": saved(quadrants(), name, icc_profile=profile) for name in ("AVIF", "HEIF", "WEBP")
    }

    def crash(*_: object, **__: object) -> None:
        pytest.fail("a codec is run")

    for codec in CODECS:
        monkeypatch.setattr(codec, crash)
    for name, photo in photos.items():
        assert inspect(BytesIO(photo), LIMITS).width == 64, name


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("picture_format", [Format.PNG, Format.WEBP])
def test_transparency_is_kept(mode: str, picture_format: Format) -> None:
    image = quadrants().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 32, 24))
    alpha = opened(run(saved(image.convert(mode), "PNG"), picture_format)).getchannel("A")
    assert alpha.getpixel((5, 5)) == 0
    assert alpha.getpixel((60, 40)) == 255


def test_transparency_is_filled_with_white_in_a_jpeg_and_noted() -> None:
    picture = run(saved(Image.new("RGBA", (32, 32), (10, 20, 30, 0)), "PNG"), Format.JPEG)
    assert opened(picture).getpixel((16, 16)) == (255, 255, 255)
    assert "transparency" in picture.notes[0]


@pytest.mark.parametrize("max_side", [64, 96, 192])
def test_transparent_pixels_do_not_bleed_into_their_neighbours(max_side: int) -> None:
    image = Image.new("RGBA", (192, 192), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (50, 50, 139, 139))
    picture = opened(run(saved(image, "PNG"), Format.JPEG, max_side))
    assert picture.convert("L").getextrema() == (255, 255)


def test_cmyk_and_greyscale_become_rgb() -> None:
    assert_quadrants(opened(run(saved(quadrants().convert("CMYK"), "JPEG", quality=95))), tolerance=25)
    for mode in ("L", "1", "P"):
        assert opened(run(saved(quadrants().convert(mode), "PNG"))).mode == "RGB"


@pytest.mark.parametrize("white", [65535, 4095, 1023])
def test_sixteen_bit_grey_uses_its_own_full_scale(white: int) -> None:
    ramp = np.tile(np.linspace(0, white, 64).astype(np.uint16), (48, 1))
    picture = np.asarray(opened(run(saved(Image.fromarray(ramp), "TIFF"))))
    assert picture[10, 0, 0] == 0
    assert picture[10, -1, 0] == 255
    assert abs(int(picture[10, 32, 0]) - 130) <= 2


def matrix_profile(colorants: npt.NDArray[np.float64], gamma: float) -> bytes:
    """An ICC v2 display profile (ICC.1:2001-04): XYZ (D50) of the primaries, one a row, and one gamma for all."""
    white = b"XYZ " + bytes(4) + _s15fixed16(0.9642, 1.0, 0.8249)
    curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(gamma * 256))
    primaries = [b"XYZ " + bytes(4) + _s15fixed16(*row) for row in colorants]
    bodies = dict(zip(("wtpt", "rXYZ", "gXYZ", "bXYZ"), (white, *primaries), strict=True))
    bodies |= dict.fromkeys(("rTRC", "gTRC", "bTRC"), curve)
    table, data = struct.pack(">I", len(bodies)), b""
    for name, content in bodies.items():
        table += name.encode() + struct.pack(">II", 132 + 12 * len(bodies) + len(data), len(content))
        data += content
    header = struct.pack(
        ">I4s4s4s4s4s12x4s", 132 + 12 * len(bodies) + len(data), b"", b"\2\x20\0\0", b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    return header + bytes(28) + _s15fixed16(0.9642, 1.0, 0.8249) + bytes(48) + table + data


def _s15fixed16(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def test_a_wide_gamut_photo_is_converted_to_srgb() -> None:
    display_p3 = np.array([[0.5151, 0.2412, -0.0011], [0.2920, 0.6922, 0.0419], [0.1571, 0.0666, 0.7841]])
    srgb = np.array([[0.4361, 0.2225, 0.0139], [0.3851, 0.7169, 0.0971], [0.1431, 0.0606, 0.7141]])
    stored = np.array([180, 120, 90])
    linear = (stored / 255) ** 2.2 @ display_p3 @ np.linalg.inv(srgb)
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(expected - stored).max() > 8  # otherwise the test could not tell whether anything was converted
    photo = Image.new("RGB", (32, 32), tuple(stored.tolist()))
    for image_format in ("PNG", "JPEG", "WEBP", "TIFF"):
        picture = opened(run(saved(photo, image_format, icc_profile=matrix_profile(display_p3, 2.2))))
        assert np.abs(np.asarray(picture.getpixel((16, 16))) - expected).max() < 3, image_format


def test_a_broken_colour_profile_is_ignored() -> None:
    photo = saved(Image.new("L", (32, 32), 128), "PNG", icc_profile=b"no profile at all")
    assert opened(run(photo)).getpixel((3, 3)) == (128, 128, 128)


@pytest.mark.parametrize("primaries", [np.zeros((3, 3)), np.diag([0.0, 1.0, 0.0]), np.tile([0.4, 0.3, 0.2], (3, 1))])
def test_a_profile_whose_primaries_mix_no_colours_is_ignored(primaries: npt.NDArray[np.float64]) -> None:
    photo = saved(quadrants(), "PNG", icc_profile=matrix_profile(primaries, 1.8))
    assert_quadrants(opened(run(photo)))


def test_the_first_frame_of_an_animation_is_taken_and_noted() -> None:
    frames = [quadrants(), Image.new("RGB", (64, 48), BLUE)]
    for image_format in ("GIF", "WEBP", "PNG"):
        picture = run(saved(frames[0], image_format, save_all=True, append_images=frames[1:]))
        assert "first frame" in picture.notes[0]
        assert_quadrants(opened(picture), tolerance=30)


def test_layers_are_not_an_animation() -> None:
    size = (32, 32)
    layer = struct.pack(">4iHHI", 0, 0, *size, 1, 0, 0) + bytes(16)
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, *size, 8, 1) + bytes(8)
    layers = struct.pack(">h", 2) + 2 * layer + bytes(64)
    photo = header + struct.pack(">II", len(layers) + 4, len(layers)) + layers + bytes(2 + size[0] * size[1])
    assert run(photo).notes == ()


@pytest.mark.parametrize("picture_format", Format)
def test_no_metadata_survives(picture_format: Format) -> None:
    exif = Image.Exif()
    exif[0x010E] = "SECRET description"
    exif.get_ifd(0x8825)[1] = "N"
    text = PngInfo()
    text.add_text("Comment", "SECRET comment")
    photo = saved(quadrants(), "PNG", exif=exif, pnginfo=text)
    assert b"SECRET" in photo
    picture = run(photo, picture_format)
    assert b"SECRET" not in picture.data
    assert dict(opened(picture).getexif()) == {}


@pytest.mark.parametrize(
    "size", [(16, 16), (33, 17), (31, 500), (16, 2048), (1000, 17), (513, 511), (2047, 301), (4000, 16)]
)
def test_any_size_keeps_its_shape(size: tuple[int, int]) -> None:
    picture = run(photo_bytes(size), max_side=2048)
    assert (picture.width, picture.height) == opened(picture).size == fit(size, 2048)


def test_a_long_photo_is_shrunk_and_a_small_one_never_enlarged() -> None:
    assert fit((4000, 3000), 512) == (512, 384)
    assert fit((301, 203), 512) == (301, 203)
    assert fit((10_000, 3), 512) == (512, 1)


def grainy(size: tuple[int, int]) -> Image.Image:
    """A photo with grain in every pixel, like that of a camera."""
    with Image.open(PHOTO) as photo:
        image = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 5, (size[1], size[0], 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def turned_by_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(grainy((1500, 1001)), "JPEG", quality=92, exif=exif)


def plainly_decoded(photo: bytes, max_side: int) -> Rgb:
    """Every pixel decoded, LANCZOS from there; grey stays grey."""
    with Image.open(BytesIO(photo)) as image:
        upright = ImageOps.exif_transpose(image)
        small = upright.resize(fit(upright.size, max_side), Image.Resampling.LANCZOS)
        return np.asarray(small.convert("RGB"))


def assert_decoded_well(photo: bytes, least_db: Mapping[int, float]) -> None:
    for max_side, least in least_db.items():
        found, expected = decode(BytesIO(photo), LIMITS, max_side=max_side).rgb, plainly_decoded(photo, max_side)
        assert found.shape == expected.shape
        assert psnr_db(found, expected) >= least, max_side


MIN_DB = {1024: 46, 512: 46, 509: 46, 301: 46, 64: 37}
DECODED: dict[str, Callable[[], bytes]] = {
    "twice as large": lambda: saved(grainy((1024, 1024)), "JPEG", quality=92),
    "a little larger": lambda: saved(grainy((613, 459)), "JPEG", quality=92),
    "no larger": lambda: saved(grainy((512, 300)), "JPEG", quality=92),
    "sides are primes": lambda: saved(grainy((1999, 1511)), "JPEG", quality=92),
    "upright": lambda: saved(grainy((1201, 1801)), "JPEG", quality=92, subsampling=0),
    "of a phone": lambda: saved(grainy((4000, 3000)), "JPEG", quality=92),
    "turned": lambda: turned_by_exif(6),
    "turned and mirrored": lambda: turned_by_exif(7),
    "grey": lambda: saved(grainy((1801, 1201)).convert("L"), "JPEG", quality=92),
    "for printers": lambda: saved(grainy((1801, 1201)).convert("CMYK"), "JPEG", quality=92),
    "without loss": lambda: saved(grainy((2203, 1009)), "PNG", compress_level=1),
}


@pytest.mark.parametrize("case", DECODED)
def test_decoding_at_a_reduced_size_makes_no_visible_difference(case: str) -> None:
    assert_decoded_well(DECODED[case](), MIN_DB)


def test_decoding_a_strip_at_a_reduced_size_makes_little_difference() -> None:
    assert_decoded_well(saved(grainy((4001, 16)), "JPEG", quality=92), {1024: 37, 512: 37, 64: 37})


@pytest.mark.parametrize(
    "name",
    ["exif_landscape_1", "exif_landscape_8", "exif_portrait_6", "group_obama_biden", "portrait_obama", "odd_cmyk"],
)
def test_decoding_a_real_photo_at_a_reduced_size_makes_no_visible_difference(photos_dir: Path, name: str) -> None:
    assert_decoded_well((photos_dir / f"{name}.jpg").read_bytes(), MIN_DB)


def test_a_picture_full_of_grain_can_be_written() -> None:
    grain = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    for picture_format in Format:
        assert len(encode(grain, None, picture_format)) > 0


@pytest.mark.parametrize("size", [(64, 48), (33, 17), (101, 77)])
def test_tensors_match_their_formulas_bit_for_bit(size: tuple[int, int]) -> None:
    rng, engine = np.random.default_rng(0), IdentityEngine()
    photo = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    prepared, box = preprocess(photo, engine)
    expected = photo.astype(np.float32) / np.float32(127.5) - np.float32(1)
    assert np.array_equal(prepared[0].transpose(1, 2, 0)[box], expected)
    drawn = rng.normal(0, 1, prepared.shape).astype(np.float32)
    before = drawn.copy()
    levels = ((drawn[0].transpose(1, 2, 0)[box] + 1) * 127.5).clip(0, 255).round().astype(np.uint8)
    assert np.array_equal(postprocess(drawn, box), levels)
    assert np.array_equal(drawn, before)


def test_an_identity_engine_returns_the_photo_unchanged_up_to_the_border() -> None:
    photo = photo_bytes((101, 77))
    picture = np.asarray(opened(run(photo)))
    with Image.open(BytesIO(photo)) as original:
        assert np.array_equal(picture, np.asarray(original))


def test_values_out_of_range_are_clipped() -> None:
    class Overshooting(IdentityEngine):
        def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:  # noqa: ARG002
            return photo * 9

    picture = convert(saved(quadrants(), "PNG"), Options(64, Format.PNG), Overshooting(), LIMITS)
    assert corners(opened(picture))[0].tolist() == [255, 0, 0]


def test_the_stages_come_in_order_and_are_timed() -> None:
    stages: list[Stage] = []
    picture = convert(
        photo_bytes(), Options(64, Format.PNG), ToyEngine(), LIMITS, checkpoint=lambda stage, _: stages.append(stage)
    )
    assert list(dict.fromkeys(stages)) == list(Stage)
    assert stages == sorted(stages, key=list(Stage).index)
    assert set(picture.timings) == {f"{stage}_s" for stage in Stage}


def test_progress_goes_on_while_a_large_picture_is_generated() -> None:
    class Stepwise(ToyEngine):
        def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
            for share in (0.25, 0.5):
                report(share)
            return photo

    reported: list[tuple[Stage, float]] = []
    convert(photo_bytes(), Options(64, Format.PNG), Stepwise(), LIMITS, checkpoint=lambda *at: reported.append(at))
    assert [progress for stage, progress in reported if stage is Stage.GENERATE] == [0.1, 0.3, 0.5]
    assert [progress for _, progress in reported] == sorted(progress for _, progress in reported)


def test_a_checkpoint_can_stop_a_conversion() -> None:
    def stop_at_generate(stage: Stage, _progress: float) -> None:
        if stage is Stage.GENERATE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(photo_bytes(), Options(64, Format.PNG), ToyEngine(), LIMITS, checkpoint=stop_at_generate)


LARGE = (400, 304)  # width and height in pixels


@pytest.mark.parametrize("max_side", [16, 33, 63, 64, 65, 100, 200, 400, 2048])
def test_a_fixed_size_engine_draws_every_picture_at_that_size(max_side: int) -> None:
    engine, photo = SmallEngine(), saved(quadrants(LARGE), "JPEG", quality=95)
    picture = convert(photo, Options(max_side, Format.PNG), engine, LIMITS)
    assert engine.drawn == [(64, 56)]  # 49 rows, up to a multiple of 8
    assert (picture.width, picture.height) == opened(picture).size == fit(LARGE, max_side)
    assert picture.width * picture.height == working_pixels(LARGE, max_side)
    assert_quadrants(opened(picture), tolerance=30 if max_side < 33 else 12)


def test_an_engine_without_a_fixed_size_draws_at_the_size_of_the_picture() -> None:
    photo = saved(grainy((300, 200)), "PNG")
    picture = convert(photo, Options(150, Format.PNG), IdentityEngine(), LIMITS)
    assert np.array_equal(np.asarray(opened(picture)), decode(BytesIO(photo), LIMITS, max_side=150).rgb)


@pytest.mark.parametrize(
    ("size", "drawn"), [((16, 16), (32, 32)), ((64, 48), (64, 48)), ((50, 30), (64, 38)), ((17, 63), (21, 79))]
)
def test_a_small_photo_is_enlarged_up_to_twofold_to_be_drawn(size: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert drawn_size(size, 64) == drawn
    picture = convert(saved(grainy(size), "PNG"), Options(512, Format.PNG), SmallEngine(), LIMITS)
    assert (picture.width, picture.height) == size
    if drawn == size:
        assert np.array_equal(np.asarray(opened(picture)), np.asarray(grainy(size)))


@pytest.mark.parametrize("max_side", [40, 64, 128, 250])
def test_lines_and_regions_look_alike_at_every_size(max_side: int) -> None:
    image = Image.new("RGB", (1000, 1000), (250, 250, 250))
    image.paste((60, 90, 200), (100, 100, 500, 900))
    image.paste((0, 0, 0), (700, 100, 730, 900))
    levels = np.asarray(opened(convert(saved(image, "PNG"), Options(max_side, Format.PNG), SmallEngine(), LIMITS)))
    darkness = (250.0 - levels[..., 2]) / 250
    half = max_side * 6 // 10
    assert darkness[:, half:].mean() * 0.4 == pytest.approx(0.03 * 0.8, rel=0.2)
    assert (levels[:, :half, 0] < 155).mean() * half / max_side == pytest.approx(0.4 * 0.8, rel=0.2)


def test_a_long_photo_is_drawn_with_enough_of_its_short_side() -> None:
    assert drawn_side((3000, 2000), 640) == drawn_side((2000, 3000), 640) == drawn_side((3000, 1000), 640) == 640
    for shape in (4, 6, 9, 20, 100):
        longest = drawn_side((shape * 1000, 1000), 640)
        assert longest / shape >= min(213, 640 / np.sqrt(shape) - 1)
        assert longest * longest / shape <= 1.01 * 640**2  # no more pixels than a square
    engine = SmallEngine()
    picture = convert(saved(grainy((1600, 100)), "PNG"), Options(128, Format.PNG), engine, LIMITS)
    assert engine.drawn == [(256, 32)]  # 16 rows, up to the smallest side
    assert (picture.width, picture.height) == (128, 8)


@pytest.mark.parametrize(
    ("faces", "side"),
    [
        ((), 640),
        ((0.1, 0.2), 640),
        ((0.34,), 640),
        ((0.36, 0.35), 608),  # 611, in steps of 32 pixels
        ((0.5,), 416),
        ((1.0,), 192),
        ((0.5, 0.49, 0.52), 416),  # one face, found three times
        ((0.8, 0.4), 256),
        ((0.8, 0.2), 352),  # the smaller one stays 70 pixels high
    ],
)
def test_a_close_up_is_drawn_smaller(faces: tuple[float, ...], side: int) -> None:
    assert drawn_side((3000, 2000), 640, faces) == side
    assert max(drawn_size((3000, 2000), 640, faces)) == side


def test_a_long_or_small_close_up_is_drawn_with_its_face_as_high_as_others() -> None:
    assert drawn_side((4000, 500), 640, [0.125]) == drawn_side((4000, 500), 640)  # 213 pixels
    assert drawn_side((4000, 1000), 640, [0.25]) == drawn_side((4000, 1000), 640) == 853
    assert drawn_side((4000, 1000), 640, [0.3]) == 704
    assert drawn_size((100, 100), 640, [0.9]) == (200, 200)  # twofold, as without the face


class CloseUps(SmallEngine):
    """Draws at 320 pixels, and sees a face in every photo."""

    drawn_at = 320
    faces = (0.9,)


@pytest.mark.parametrize("max_side", [100, 320, 700])
def test_a_close_up_is_drawn_smaller_and_its_picture_is_as_large_as_others(max_side: int) -> None:
    engine, photo = CloseUps(), quadrants(LARGE)
    picture = convert(saved(photo, "PNG"), Options(max_side, Format.PNG), engine, LIMITS)
    drawn = draw(np.asarray(photo), engine)
    assert engine.drawn == [(224, 176)] * 2
    assert opened(picture).size == fit(LARGE, max_side)
    assert drawn.shape == (*LARGE[::-1], 3)
    for result in (opened(picture), Image.fromarray(drawn)):
        assert_quadrants(result)


def test_faces_are_not_measured_where_pictures_are_drawn_at_their_own_size() -> None:
    class Blind(IdentityEngine):
        def face_heights(self, _photo: Rgb) -> tuple[float, ...]:
            raise AssertionError

    convert(saved(quadrants(), "PNG"), Options(100, Format.PNG), Blind(), LIMITS)


@pytest.mark.parametrize("max_side", [32, 64, 160])
def test_transparency_is_kept_at_every_size(max_side: int) -> None:
    image = quadrants((320, 240)).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 160, 120))
    picture = opened(convert(saved(image, "PNG"), Options(max_side, Format.PNG), SmallEngine(), LIMITS))
    alpha = picture.getchannel("A")
    assert alpha.size == picture.size == fit((320, 240), max_side)
    assert alpha.getpixel((max_side // 8, max_side // 8)) == 0
    assert alpha.getpixel((max_side - 3, max_side // 2)) == 255


def test_a_decoded_photo_is_drawn_as_one_that_is_sent() -> None:
    for engine in (IdentityEngine(), SmallEngine()):
        sent = convert(saved(grainy((200, 150)), "PNG"), Options(200, Format.PNG), engine, LIMITS)
        assert np.array_equal(draw(np.asarray(grainy((200, 150))), engine), np.asarray(opened(sent)))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_photo_on_its_side_is_drawn_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = saved(TURNS[orientation](quadrants(LARGE)), "JPEG", quality=95, subsampling=0, exif=exif)
    picture = opened(convert(photo, Options(101, Format.PNG), SmallEngine(), LIMITS))
    assert picture.size == fit(LARGE, 101)
    assert_quadrants(picture)


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def blank_png(side: int, *, depth: int = 1, transparent: bool = False) -> bytes:
    """A black square of a few kB, however long its side in pixels; grey, or fully transparent RGBA."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, 6 if transparent else 0, 0, 0, 0))
    row = bytes(1 + (side * depth * (4 if transparent else 1) + 7) // 8)
    deflate = zlib.compressobj(1)
    rows = b"".join(deflate.compress(row) for _ in range(side)) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND")


def icon(png: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png


def iptc(payload: bytes) -> bytes:
    """IPTC records (IIM 4.2) of a 100x100 grey image, marked as uncompressed, whose object data is `payload`."""
    fields = [
        (3, 60, b"\1\0"),
        (3, 65, b"\1"),
        (3, 20, b"\0\x64"),
        (3, 30, b"\0\x64"),
        (3, 120, b"\1"),
        (8, 10, payload),
    ]
    return b"".join(struct.pack(">BBBH", 0x1C, record, tag, len(value)) + value for record, tag, value in fields)


def jpeg_of(parts: bytes) -> bytes:
    """Put `parts` before the first segment of a JPEG, up to just under 32 MiB."""
    jpeg = photo_bytes((64, 48), "JPEG")
    return jpeg[:2] + parts * ((LIMITS.max_bytes - len(jpeg)) // len(parts)) + jpeg[2:]


def png_of(chunk: bytes) -> bytes:
    png = photo_bytes((64, 48))
    return png[:33] + chunk * ((LIMITS.max_bytes - len(png)) // len(chunk)) + png[33:]


def tiff_of_strips(strips: int) -> bytes:
    """An 8-bit grey TIFF of 8000x8000 pixels with a table of that many strips."""
    tags = [(256, 8000), (257, 8000), (258, 8), (259, 1), (262, 1), (278, 1)]
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags]
    entries.append(struct.pack("<HHII", 273, 4, strips, 10 + 12 * 7 + 4))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(sorted(entries)) + bytes(4 + 4 * strips)


def box(kind: bytes, content: bytes, *, full: bool = False) -> bytes:
    """A box of ISO/IEC 14496-12, a full one of version 0 without flags."""
    return struct.pack(">I4s", 8 + 4 * full + len(content), kind) + bytes(4 * full) + content


def heic_of_items(items: int, tables: int) -> bytes:
    """A HEIC whose tables each list this many items, of which only the last is displayed."""
    extent = box(b"ispe", struct.pack(">II", 64, 64), full=True)
    table = box(b"ipma", struct.pack(">I", items) + b"\0\2\0" * items, full=True)
    properties = box(b"iprp", box(b"ipco", extent) + tables * table)
    shown = box(b"pitm", b"\0\1", full=True)
    return box(b"ftyp", b"heic" + bytes(4) + b"heic") + box(b"meta", shown + properties, full=True)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n"
REFUSED: dict[str, tuple[bytes, type[SakugaError]]] = {
    "nothing": (b"", NotAPhotoError),
    "text": (b"just some words, no image", NotAPhotoError),
    "eps": (EPS, NotAPhotoError),
    "eps inside iptc": (iptc(EPS), NotAPhotoError),
    "icon": (icon(blank_png(64)), NotAPhotoError),
    "jpeg 2000 without a header": (b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 ", DamagedPhotoError),
    "jpeg header only": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", DamagedPhotoError),
    "jpeg cut short": (photo_bytes((300, 300), "JPEG")[:-200], DamagedPhotoError),
    "png cut short": (photo_bytes((300, 300), "PNG")[:-200], DamagedPhotoError),
    "webp cut short": (photo_bytes((300, 300), "WEBP")[:-200], DamagedPhotoError),
    "heic cut short": (saved(Image.new("RGB", (300, 300)), "HEIF")[:-20], DamagedPhotoError),
    "avif cut short": (saved(Image.new("RGB", (300, 300)), "AVIF")[:-20], DamagedPhotoError),
    "heic without a picture": (b"\0\0\0\x10ftypheic" + bytes(4) + b"\0\0\0\x0cmeta" + bytes(4), DamagedPhotoError),
    "tiff of more strips than a photo has": (tiff_of_strips(70_000), DamagedPhotoError),
    "jpeg without a scan": (photo_bytes((64, 48), "JPEG").partition(b"\xff\xda")[0], DamagedPhotoError),
    "too narrow": (photo_bytes((15, 300)), UnusablePhotoError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_photos_and_other_files_are_refused(case: str) -> None:
    data, error = REFUSED[case]
    with pytest.raises(error):
        run(data)


def test_a_photo_with_a_gap_is_not_reported_as_cut_short() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    photo = saved(Image.fromarray(noise), "PNG")
    second = photo.rindex(b"IDAT")
    assert second > photo.index(b"IDAT")
    with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
        run(photo[: second - 4] + bytes(400) + photo[second + 396 :])


def test_a_first_frame_of_countless_blocks_is_still_a_photo() -> None:
    gif = saved(quadrants(), "GIF")
    picture = run(gif[:-2] + b"\1a" * 100_000 + b"\0;")
    assert picture.notes == ()
    assert_quadrants(opened(picture), tolerance=30)


@pytest.mark.parametrize(("side", "megapixels"), [(9000, "81"), (20_000, "400")])
def test_the_error_for_too_many_pixels_says_how_many_there_are(side: int, megapixels: str) -> None:
    with pytest.raises(PhotoTooLargeError, match=f"at most 64 megapixels; this one has {megapixels}"):
        inspect(BytesIO(blank_png(side)), LIMITS)


def test_too_many_bytes_or_pixels_are_refused_with_the_limit() -> None:
    for limits, limit in ((Limits(1 << 20, 0.05), "0.05 megapixels"), (Limits(500, 64), "MiB")):
        with pytest.raises(PhotoTooLargeError, match=limit):
            convert(photo_bytes((300, 300)), Options(64, Format.PNG), ToyEngine(), limits)


@dataclass
class Cost:
    """The outcome of one call with `file` and `limits`: HTTP status, Python calls, peak memory of its process."""

    status: int
    calls: int
    peak_mib: int


COST = """
import re, sys
from shared.errors import SakugaError
from shared.photos.decoding import decode
from shared.photos.formats import Limits
from shared.photos.inspection import inspect

def count(_frame, event, _argument):
    global calls
    calls += event in {"call", "c_call"}

status, calls, limits, file = 200, 0, Limits(32 << 20, 64), open(sys.argv[1], "rb")
sys.setprofile(count)
try:
    CALL
except SakugaError as error:
    status = error.status
sys.setprofile(None)
peak = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(status, calls, int(peak[1]) >> 10)
"""


def cost_of(call: str, path: Path) -> Cost:
    command = [sys.executable, "-c", COST.replace("CALL", call), str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Cost(*map(int, done.stdout.split()))


HOSTILE = ["bad_corrupt_header.jpg", "bad_truncated.jpg", "bomb_65536.png", "bomb_giant.jpg", "bomb_small.gif"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_photos_are_refused_in_little_memory(photos_dir: Path, name: str) -> None:
    cost = cost_of("inspect(file, limits)", photos_dir / name)
    assert cost.status == (422 if name.startswith("bad") else 413)
    assert cost.peak_mib < 200


COSTLY: dict[str, tuple[Callable[[], bytes], int]] = {
    "jpeg of fill bytes": (lambda: jpeg_of(b"\xff"), 422),
    "jpeg of empty segments": (lambda: jpeg_of(b"\xff\xe0\0\2"), 422),
    "jpeg of frame headers": (lambda: jpeg_of(b"\xff\xc0\xff\xfb\10\0\x30\0\x40\3" + bytes(65523)), 422),
    "jpeg of exif segments": (lambda: jpeg_of(b"\xff\xe1\xff\xfdExif\0\0" + bytes(65525)), 200),
    "png of empty chunks": (lambda: png_of(png_chunk(b"abCd")), 422),
    "png of empty data": (lambda: photo_bytes()[:-12] + png_chunk(b"IDAT") * 2_700_000 + png_chunk(b"IEND"), 422),
    "tiff of strips": (lambda: tiff_of_strips(8_000_000), 422),
    "heic of items": (lambda: heic_of_items(340_000, 30), 422),
    "heic of boxes": (lambda: heic_of_items(0, 2_000_000), 422),
    "png within an icon": (lambda: icon(blank_png(13_000)), 415),
}


@pytest.mark.parametrize("case", COSTLY)
def test_a_header_that_would_cost_much_is_refused_cheaply(tmp_path: Path, case: str) -> None:
    build, expected = COSTLY[case]
    (tmp_path / "photo").write_bytes(build())
    cost = cost_of("inspect(file, limits)", tmp_path / "photo")
    assert cost.status == expected
    assert cost.calls < 3_000_000
    assert cost.peak_mib < 200


@pytest.mark.parametrize(("depth", "transparent"), [(16, False), (8, True)])
def test_the_largest_photos_are_decoded_without_a_second_copy(tmp_path: Path, depth: int, *, transparent: bool) -> None:
    (tmp_path / "photo").write_bytes(blank_png(8000, depth=depth, transparent=transparent))
    cost = cost_of("decode(file, limits, max_side=2048)", tmp_path / "photo")
    assert cost.status == 200
    assert cost.peak_mib < 550


def test_every_good_and_odd_photo_converts(photos_dir: Path) -> None:
    good = [path for path in photos_dir.iterdir() if path.name.split("_")[0] not in {"bad", "bomb", "MANIFEST.tsv"}]
    assert len(good) >= 15
    for path in good:
        picture = run(path.read_bytes(), Format.WEBP, max_side=256)
        assert 16 <= max(opened(picture).size) <= 256


def test_a_rotated_phone_photo_stands_upright(photos_dir: Path) -> None:
    upright, turned = (opened(run((photos_dir / f"exif_landscape_{n}.jpg").read_bytes())) for n in (1, 6))
    assert turned.size == upright.size
    difference = np.abs(np.asarray(upright, np.int16) - np.asarray(turned, np.int16))
    assert np.median(difference) <= 4
