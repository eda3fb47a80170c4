"""The face detector, on the photos that scikit-image brings."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from structlog.testing import capture_logs

from shared.conversion import Faces, Options
from shared.drawing import ProgressCallback, Tensor
from shared.engines import EngineName
from shared.errors import EngineError, SakugaError, UnavailableError, WeightsError
from shared.files import file_sha256
from shared.photos.decoding import Rgb, decode
from shared.photos.formats import Format, Limits
from shared.photos.sizes import drawn_side
from shared.pipeline import convert, to_draw
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, Size, Styles
from worker.engines import faces
from worker.engines.base import LOWEST_STRIP, PICTURE_BYTES, DrawingEngine
from worker.engines.faces import Boxes, FaceDetector, Logits, require_detector
from worker.engines.torch_engine import ACTIVATION_BYTES, TorchEngine
from worker.model_loader import loader_for
from worker.tune import SIDE, sample_photo

LIMITS = Limits(max_bytes=32 << 20, max_megapixels=64)
FOREHEAD_TO_CHIN = 108  # pixels of the astronaut's face, by a mesh of 478 points


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def astronaut(side: int, *, corner: tuple[int, int] = (0, 0)) -> Rgb:
    """A square of the photo of a woman; her face is in the middle of one of 200 pixels at (125, 15)."""
    left, top = corner
    return np.asarray(skimage.data.astronaut()[top : top + side, left : left + side])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("side", "corner"), [(512, (0, 0)), (300, (80, 0)), (200, (125, 15)), (150, (145, 35))])
def test_the_height_of_a_face_is_measured(detector: FaceDetector, side: int, corner: tuple[int, int]) -> None:
    heights = detector.face_heights(astronaut(side, corner=corner))
    assert max(heights) * side == pytest.approx(FOREHEAD_TO_CHIN, rel=0.15)


@pytest.mark.parametrize("larger", [0.5, 2, 5])
@pytest.mark.parametrize("crop", [np.s_[:, 60:], np.s_[60:, :]])
def test_a_face_is_found_at_every_size_and_shape(
    detector: FaceDetector, larger: float, crop: tuple[slice, ...]
) -> None:
    close = astronaut(200, corner=(125, 5))[crop]
    size = round(close.shape[1] * larger), round(close.shape[0] * larger)
    heights = detector.face_heights(np.asarray(Image.fromarray(close).resize(size)))
    assert max(heights) * 200 == pytest.approx(FOREHEAD_TO_CHIN, rel=0.25)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "brick", "grass", "moon"])
def test_no_face_is_found_where_none_is(detector: FaceDetector, name: str) -> None:
    photo = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))
    assert detector.face_heights(photo) == []
    assert len(detector.find_faces(photo)) == (name == "rocket")  # whose badge is taken for one


@pytest.mark.parametrize("shape", [(16, 16), (1, 2000), (2000, 16), (7, 9)])
def test_photos_of_any_shape_can_be_looked_at(detector: FaceDetector, shape: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), 128, np.uint8)
    assert detector.face_heights(photo) == []
    assert detector.find_faces(photo) == []


def test_a_lack_of_memory_is_told_as_such(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_inputs: object, **_options: object) -> None:
        raise RuntimeError("could not allocate memory")

    monkeypatch.setattr("openvino.InferRequest.infer", fail)
    for look in (detector.face_heights, detector.find_faces):
        with pytest.raises(UnavailableError):
            look(astronaut(200))


def test_an_upside_down_face_is_not_taken_for_a_larger_one(detector: FaceDetector) -> None:
    with Image.open(BUNDLED_WEIGHTS / "hinata-light.webp") as image:
        photo = image.convert("RGB").resize((1024, 1024))
    for turned in (photo, photo.rotate(180)):  # from a third on, the photo would be drawn smaller
        assert max(detector.face_heights(np.asarray(turned)), default=0) < 0.3


def crowd(face: int, size: tuple[int, int], places: Sequence[tuple[int, int]]) -> Rgb:
    """A grey photo with one woman at all `places`, the corners of squares; her face in them is `face` pixels high."""
    photo = Image.new("RGB", size, (120, 125, 130))
    side = round(200 * face / FOREHEAD_TO_CHIN)
    woman = Image.fromarray(astronaut(200, corner=(125, 15))).resize((side, side), Image.Resampling.LANCZOS)
    for left, top in places:
        photo.paste(woman, (left, top))
    return np.asarray(photo)


def found_at(detector: FaceDetector, photo: Rgb) -> list[tuple[float, float, float]]:
    """The middles and heights of the faces that are found, in pixels, row by row."""
    unit = max(photo.shape[:2])
    found = [(face.x * unit, face.y * unit, face.height * unit) for face in detector.find_faces(photo)]
    return sorted(found, key=lambda face: (face[1] // 200, face[0]))


GRID = [(left, top) for top in (20, 320, 620) for left in (60, 360, 660, 960)]


@pytest.mark.parametrize("face", [50, 64, 100, 120])
def test_every_face_of_a_crowd_is_found_once(detector: FaceDetector, face: int) -> None:
    found = found_at(detector, crowd(face, (1280, 960), GRID))
    assert len(found) == len(GRID)
    for (x, y, height), (left, top) in zip(found, GRID, strict=True):
        middle = face * 100 / FOREHEAD_TO_CHIN
        assert (x, y) == pytest.approx((left + middle, top + middle), abs=0.3 * face)
        assert height == pytest.approx(face, rel=0.25)


@pytest.mark.parametrize("size", [(480, 360), (640, 480), (1000, 750)])
def test_a_crowd_is_seen_alike_in_photos_of_every_size(detector: FaceDetector, size: tuple[int, int]) -> None:
    """Parts of a small photo do not fill the square that the net looks at."""
    photo = Image.fromarray(crowd(100, (1280, 960), GRID)).resize(size, Image.Resampling.LANCZOS)
    found = [(face.x, face.y) for face in detector.find_faces(np.asarray(photo))]
    assert len(found) == len(GRID)
    for left, top in GRID:
        x, y = (left + 93) / 1280, (top + 93) / 1280
        assert any(np.hypot(x - face_x, y - face_y) < 0.03 for face_x, face_y in found)


@pytest.mark.parametrize("side", [60, 100])
def test_a_face_in_a_tiny_photo_is_measured_too(detector: FaceDetector, side: int) -> None:
    tiny = np.asarray(Image.fromarray(astronaut(200, corner=(125, 5))).resize((side, side)))
    assert max(detector.face_heights(tiny)) * 200 == pytest.approx(FOREHEAD_TO_CHIN, rel=0.25)


@pytest.mark.parametrize("size", [(2400, 500), (500, 2400), (1000, 1000)])
def test_small_faces_are_found_in_photos_of_any_shape(detector: FaceDetector, size: tuple[int, int]) -> None:
    corners = [(10, 10), (size[0] - 150, size[1] - 150)]
    assert len(found_at(detector, crowd(70, size, corners))) == len(corners)


def test_a_large_face_is_found_once(detector: FaceDetector) -> None:
    (_, _, height), *others = found_at(detector, crowd(480, (1280, 960), [(100, 0)]))
    assert not others
    assert height == pytest.approx(480, rel=0.15)


def test_two_faces_are_measured(detector: FaceDetector) -> None:
    near = Image.fromarray(astronaut(200, corner=(125, 5)))
    both = Image.new("RGB", (400, 300), (90, 90, 90))
    both.paste(near, (0, 50))
    both.paste(near.resize((120, 120)), (270, 20))
    heights = [height * 400 for height in detector.face_heights(np.asarray(both))]
    assert max(heights) == pytest.approx(FOREHEAD_TO_CHIN, rel=0.15)
    assert min(heights) == pytest.approx(0.6 * FOREHEAD_TO_CHIN, rel=0.2)


def test_the_heights_of_faces_are_possible_ones(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def scale(self, _photo: Rgb) -> float:
            return 1

        def look(self, _photo: Rgb) -> tuple[Boxes, Logits]:
            boxes = np.full((896, 16), 0.07, np.float32)
            boxes[:, 3] = np.repeat((0, -0.4, 40, 0.5), 224)
            return boxes, np.full(896, 9, np.float32)

    monkeypatch.setattr(detector, "_near", Wrong())
    assert {round(height, 2) for height in detector.face_heights(astronaut(200))} == {1.0, 0.54}


@pytest.mark.parametrize("wrong", [0, -0.4, np.nan, np.inf])
def test_impossible_boxes_are_no_faces(detector: FaceDetector, wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def scale(self, _photo: Rgb) -> float:
            return 1

        def look(self, _photo: Rgb) -> tuple[Boxes, Logits]:
            return np.full((48 * 48, 16), wrong, np.float32), np.full(48 * 48, 9, np.float32)

    monkeypatch.setattr(detector, "_far", Wrong())
    assert detector.find_faces(astronaut(200)) == []


@pytest.mark.parametrize("net", ["NEAR", "FAR"])
@pytest.mark.parametrize("content", [None, b"", b"TFL3"])
def test_a_missing_or_damaged_detector_is_told_before_and_after_the_fork(
    net: str, content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "net.tflite"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(faces, net, replace(getattr(faces, net), file=file))
    loader = loader_for(Settings(), Styles(BUNDLED_WEIGHTS), threads=1, memory=1 << 31)
    for use in (loader.preload, loader.engine):
        with pytest.raises(WeightsError, match="face detector"):
            use("hinata-light")


def test_the_detectors_files_are_hashed_once_before_the_fork_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def hash_of(file: Path) -> str:
        hashed.append(file.name)
        return file_sha256(file)

    monkeypatch.setattr(faces, "file_sha256", hash_of)
    for net in ("NEAR", "FAR"):
        original = getattr(faces, net)
        copy = Path(shutil.copy(original.file, tmp_path / f"{net}.tflite"))
        monkeypatch.setattr(faces, net, replace(original, file=copy))
    require_detector()
    FaceDetector()
    assert hashed == ["NEAR.tflite", "FAR.tflite"]


@pytest.mark.parametrize(("reason", "error"), [("std::bad_alloc", UnavailableError), ("no such node", EngineError)])
def test_a_detector_that_cannot_be_opened_is_told_once(
    reason: str, error: type[SakugaError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr("openvino.Core.compile_model", fail)
    with pytest.raises(error), capture_logs() as logs:
        loader_for(Settings(), Styles(BUNDLED_WEIGHTS), threads=1, memory=1 << 31).engine("hinata-light")
    assert [log for log in logs if log["log_level"] == "warning"] == []  # no other engine is tried


@pytest.mark.parametrize("max_side", [512, 1024, 2048])
def test_a_close_up_is_drawn_smaller(max_side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = loader_for(Settings(), Styles(BUNDLED_WEIGHTS), threads=1, memory=1 << 31).engine("hinata-light")
    drawn, generate = [], engine.generate

    def watched(photo: Tensor, report: ProgressCallback) -> Tensor:
        drawn.append(photo.shape[2] - 2 * engine.margin)
        return generate(photo, report)

    monkeypatch.setattr(engine, "generate", watched)
    buffer = BytesIO()
    Image.fromarray(astronaut(150, corner=(145, 35))).resize((1600, 1600)).save(buffer, "JPEG", quality=92)
    picture = convert(buffer.getvalue(), Options(max_side, Format.PNG), engine, LIMITS)
    assert (picture.width, picture.height) == (min(1600, max_side),) * 2
    assert drawn == [288]  # the face is 207 pixels high


def drawing(engine: DrawingEngine, photo: Rgb, faces: Faces) -> Rgb:
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    picture = convert(buffer.getvalue(), Options(1024, Format.PNG, faces), engine, LIMITS)
    with Image.open(BytesIO(picture.data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("style", ["hinata-light", "yoi-light"])
def test_small_faces_get_eyes(style: str) -> None:
    """Both eyes are darker against the forehead than without, and what is far from faces hardly changes."""
    engine = loader_for(Settings(), Styles(BUNDLED_WEIGHTS), threads=1, memory=1 << 31).engine(style)
    corners, side = [(200, 300), (700, 350)], 81  # of the squares of `crowd`
    photo = crowd(44, (1024, 768), corners)
    apart, together = (drawing(engine, photo, faces).mean(2) for faces in (Faces.AUTO, Faces.OFF))
    far = np.ones(apart.shape, bool)
    for left, top in corners:
        darkness = []
        for one in (apart, together):
            square = one[top : top + side, left : left + side]
            forehead, eyes = square[28:31, 38:44].mean(), (square[32:39, 28:36], square[32:39, 46:54])
            darkness.append(min(forehead - eye.min() for eye in eyes))
        assert darkness[0] > darkness[1] + 10
        far[top - 20 : top + side + 20, left - 20 : left + side + 20] = False
    assert np.abs(apart - together)[far].mean() < 2


def test_small_faces_are_drawn_as_well_where_memory_suffices_for_strips_alone() -> None:
    def drawn_with(memory: int) -> Rgb:
        loader = loader_for(Settings(engine=EngineName.TORCH), Styles(BUNDLED_WEIGHTS), threads=1, memory=memory)
        return drawing(loader.engine("hinata-light"), photo, Faces.AUTO)

    photo = crowd(60, (400, 3200), [(100, 200), (150, 2000)])  # drawn with 256 x 1760 pixels
    strip, whole = 256 * (LOWEST_STRIP + 2 * 512 + 1), 256 * 1760
    least = TorchEngine.resident_bytes + ACTIVATION_BYTES[Size.LIGHT] * strip + PICTURE_BYTES * whole
    difference = np.abs(drawn_with(least).astype(int) - drawn_with(1 << 31))
    assert difference.max() <= 1  # which rounding explains


@pytest.mark.parametrize("drawn_at", [None, 640])
def test_weights_that_do_not_ask_for_faces_do_without_the_detector(
    drawn_at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for net in ("NEAR", "FAR"):
        monkeypatch.setattr(faces, net, replace(getattr(faces, net), file=tmp_path / "missing"))
    plain = {"drawn_at": drawn_at, "close_ups": False, "small_faces": False}
    style = Styles(BUNDLED_WEIGHTS)["hinata-light"].model_copy(update=plain)
    loader = loader_for(Settings(), {"hinata-light": style}, threads=1, memory=1 << 31)
    loader.preload("hinata-light")
    drawn = to_draw(astronaut(150, corner=(145, 35)), loader.engine("hinata-light"))
    assert drawn.shape[:2] == ((300, 300) if drawn_at else (150, 150))


def test_what_is_measured_draws_at_full_size(detector: FaceDetector) -> None:
    photo = decode(BytesIO(sample_photo()), LIMITS, max_side=SIDE).rgb
    assert drawn_side((SIDE, SIDE), 640, detector.face_heights(photo)) == 640
