"""Large pictures: in bands as at once, in bounded memory, and stopped soon in every stage."""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from itertools import count

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

from shared import small_faces
from shared.conversion import Faces, Options, Stage, drawn_pixels, result_key
from shared.errors import CanceledError, PictureTooLargeError
from shared.photos import arrays
from shared.photos.decoding import Photo, Rgb, decode
from shared.photos.encoding import PIXEL_BYTES, encode
from shared.photos.formats import MAX_SIDE_MAX, Format, Limits
from shared.pipeline import convert
from shared.small_faces import Face, Sides, parts, put_back
from tests.conftest import ROOT, ToyEngine

LIMITS = Limits(max_bytes=64 << 20, max_megapixels=64)
SIZE = (90, 70)


def grain(size: tuple[int, int], channels: int = 3) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), np.uint8)


def saved(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def turned(orientation: int, image_format: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(grain(SIZE)), image_format, exif=exif)


def with_profile() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return saved(Image.fromarray(grain(SIZE)), icc_profile=profile)


PHOTOS: dict[str, Callable[[], bytes]] = {
    **{f"orientation {number}": lambda number=number: turned(number) for number in range(1, 9)},  # type: ignore[misc]
    "jpeg": lambda: turned(6, "JPEG"),
    "transparent": lambda: saved(Image.fromarray(grain(SIZE, 4))),
    "palette": lambda: saved(Image.fromarray(grain(SIZE)).quantize(16)),
    "grey": lambda: saved(Image.fromarray(grain(SIZE)).convert("L")),
    "16 bits": lambda: saved(Image.fromarray(grain(SIZE)[..., 0].astype(np.uint16) * 257)),
    "cmyk": lambda: saved(Image.fromarray(grain(SIZE)).convert("CMYK"), "TIFF"),
    "profile": with_profile,
}


@pytest.mark.parametrize("max_side", [90, 64, 20])
@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photo_decoded_in_bands_is_the_same_as_at_once(
    kind: str, max_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded() -> Photo:
        return arrays.on_white(decode(BytesIO(photo), LIMITS, max_side=max_side))

    photo = PHOTOS[kind]()
    whole = decoded()
    monkeypatch.setattr("shared.photos.bands._BAND_PIXELS", 7 * SIZE[0])
    monkeypatch.setattr(arrays, "_PIXELS_AT_ONCE", 7 * SIZE[0])
    bands = decoded()
    assert max(whole.rgb.shape) == max_side
    assert np.array_equal(bands.rgb, whole.rgb)
    assert (bands.alpha is None) == (whole.alpha is None)
    if bands.alpha is not None and whole.alpha is not None:
        assert np.array_equal(bands.alpha, whole.alpha)


def test_a_face_put_back_in_bands_is_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = parts([Face(0.5, 0.4, 0.06)], (1024, 768), Sides(1024, 640, 1024))
    drawing, picture = grain(faces[0].size), grain((1024, 768))
    whole = put_back(picture.copy(), [(faces[0], drawing)], faces)
    monkeypatch.setattr(small_faces, "_ROWS_AT_ONCE", 5)
    assert np.array_equal(put_back(picture.copy(), [(faces[0], drawing)], faces), whole)


class Enlarged(ToyEngine):
    """Draws at 64 pixels, and sees one small face."""

    drawn_at = 64
    multiple = 8

    def __init__(self) -> None:
        self.looked_at: list[tuple[int, ...]] = []

    def find_faces(self, photo: Rgb) -> tuple[Face, ...]:  # type: ignore[override]
        self.looked_at.append(photo.shape)
        return (Face(0.5, 0.4, 0.06),)


LARGE = saved(Image.fromarray(grain((1600, 1200))), "JPEG")


def test_faces_are_looked_for_in_no_more_pixels_than_that_takes() -> None:
    engine = Enlarged()
    for side in (256, 1600):
        convert(LARGE, Options(side, Format.JPEG), engine, LIMITS)
    assert engine.looked_at == [(96, 128, 3)] * 2


@pytest.mark.parametrize("picture_format", [Format.JPEG, Format.PNG])
@pytest.mark.parametrize("stage", Stage)
def test_a_large_picture_can_be_stopped_within_every_long_stage(stage: Stage, picture_format: Format) -> None:
    calls = count()

    def stop_at_the_third(now: Stage, _progress: float) -> None:
        if now is stage and next(calls) == (0 if stage in {Stage.PREPROCESS, Stage.GENERATE} else 2):
            raise CanceledError("enough")

    with pytest.raises(CanceledError):
        convert(LARGE, Options(1600, picture_format), Enlarged(), LIMITS, checkpoint=stop_at_the_third)


def test_the_progress_of_a_large_picture_never_goes_back() -> None:
    reported: list[float] = []
    convert(LARGE, Options(1600, Format.PNG), Enlarged(), LIMITS, checkpoint=lambda _stage, now: reported.append(now))
    assert reported == sorted(reported)
    assert 0 <= reported[0] < reported[-1] < 1


def test_an_encoder_that_writes_all_at_once_is_not_awaited_after_a_cancel() -> None:
    def stop() -> None:
        raise CanceledError("enough")

    with pytest.raises(CanceledError):
        encode(grain((640, 480)), None, Format.WEBP, stop)


def test_a_picture_with_no_room_is_refused_before_its_photo_is_decoded() -> None:
    class Small(ToyEngine):
        def require_room(self, size: tuple[int, int], pixel_bytes: int) -> None:
            raise PictureTooLargeError(f"{size} {pixel_bytes}")

    half = LARGE[: len(LARGE) // 2] + LARGE[-2:]  # which decoding would find
    with pytest.raises(PictureTooLargeError, match=r"\(1600, 1200\) 16"):
        convert(half, Options(MAX_SIDE_MAX, Format.JPEG), Small(), LIMITS)
    with pytest.raises(PictureTooLargeError, match=r"\(800, 600\)"):
        convert(half, Options(800, Format.JPEG), Small(), LIMITS)


def test_every_size_from_the_photos_own_has_one_key() -> None:
    def key(max_side: int) -> str:
        return result_key("me", "photo", "style", Options(max_side, Format.JPEG, Faces.OFF).within((3000, 4000)))

    assert key(MAX_SIDE_MAX) == key(4000) == key(5000) != key(3999)


def test_a_style_that_is_drawn_at_one_size_draws_as_much_for_every_picture() -> None:
    assert drawn_pixels((8064, 6048), 8192, 640) == drawn_pixels((8064, 6048), 512, 640) == 640 * 480
    assert drawn_pixels((8064, 6048), 8192, None) == 8064 * 6048
    assert drawn_pixels((8064, 6048), 1024, None) == 1024 * 768


_CONVERSION = """
import io, resource, sys
import numpy as np
from PIL import Image
from shared.conversion import Options
from shared.photos.formats import Format, Limits
from shared.pipeline import convert
from tests.shared.test_large_pictures import Enlarged

kind, picture_format = sys.argv[1:]
width, height = 3200, 2400
levels = np.linspace(0, 255, width).astype(np.uint8)[None].repeat(height, 0)
image, exif = Image.merge("RGB", [Image.fromarray(levels)] * 3), Image.Exif()
exif[0x0112] = 6
if kind == "PNG":
    image.putalpha(Image.fromarray(levels))
photo = io.BytesIO()
image.save(photo, kind, exif=exif, compress_level=1)
del image, levels

def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) << 10

convert(photo.getvalue(), Options(512, Format(picture_format)), Enlarged(), Limits(64 << 20, 64))
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = peak()
picture = convert(photo.getvalue(), Options(8192, Format(picture_format)), Enlarged(), Limits(64 << 20, 64))
assert (picture.width, picture.height) == (height, width)
print((peak() - before) / (width * height))
"""


@pytest.mark.parametrize(("kind", "picture_format"), [("JPEG", Format.JPEG), ("PNG", Format.WEBP)])
def test_a_picture_as_large_as_its_photo_takes_the_memory_that_is_required_for_it(
    kind: str, picture_format: Format
) -> None:
    command = [sys.executable, "-c", _CONVERSION, kind, picture_format]
    reported = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=300).stdout
    assert 3 < float(reported) < PIXEL_BYTES[picture_format], "bytes per pixel"
