"""Small faces: which are drawn apart, and how they are put back."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shared.conversion import Faces, Options, Stage, result_key
from shared.drawing import ProgressCallback, Tensor
from shared.photos.decoding import Photo, Rgb, decode
from shared.photos.formats import Format, Limits
from shared.pipeline import convert, draw
from shared.small_faces import AROUND, DRAWN_FACES, MAX_FACES, Face, Part, Sides, lack_pixels, parts, put_back
from tests.conftest import ToyEngine

LIMITS = Limits(max_bytes=32 << 20, max_megapixels=64)
PICTURE = (1024, 768)
SIDES = Sides(photo=1280, drawing=640, picture=1024)


def plain(size: tuple[int, int], colour: tuple[int, int, int]) -> Rgb:
    return np.asarray(Image.new("RGB", size, colour))


def only(face: Face, picture: tuple[int, int] = PICTURE, sides: Sides = SIDES) -> Part:
    (part,) = parts([face], picture, sides)
    return part


@pytest.mark.parametrize(
    ("height", "drawn_face"),
    [
        (0.009, None),  # of 1280 pixels 11.5
        (0.013, 50),  # threefold
        (0.02, 77),
        (0.05, 192),
        (0.1, DRAWN_FACES[1]),
        (0.26, DRAWN_FACES[1]),  # 166 pixels otherwise
        (0.27, None),  # 173
        (0.9, None),
    ],
)
def test_a_face_is_drawn_apart_if_it_is_drawn_larger_so_and_can_be_seen(height: float, drawn_face: int | None) -> None:
    drawn = only(Face(0.5, 0.4, height)).drawn_size
    assert drawn == pytest.approx((AROUND * drawn_face,) * 2, abs=3) if drawn_face else drawn is None


def test_a_face_that_nobody_will_see_in_the_picture_is_not_drawn_apart() -> None:
    assert only(Face(0.5, 0.4, 0.03), (256, 192), Sides(1280, 640, 256)).drawn_size is None


def test_the_part_around_a_face_stays_within_the_picture() -> None:
    assert only(Face(0.5, 0.375, 0.05)).place == (slice(333, 435), slice(461, 563))
    assert only(Face(0.01, 0.74, 0.05)).place == (slice(666, 768), slice(0, 102))
    assert only(Face(0.999, -0.01, 0.05)).place == (slice(0, 102), slice(922, 1024))


def test_a_picture_lower_than_the_part_gives_what_it_has() -> None:
    part = only(Face(0.5, 0.02, 0.1), (1024, 40), Sides(1024, 640, 1024))
    assert part.place == (slice(0, 40), slice(410, 615))
    assert part.drawn_size == (440, 86)


@pytest.mark.parametrize(
    ("count", "height"), [(1, DRAWN_FACES[1]), (2, DRAWN_FACES[1]), (4, 156), (8, DRAWN_FACES[0]), (29, DRAWN_FACES[0])]
)
def test_the_fewer_faces_there_are_the_larger_they_are_drawn(count: int, height: int) -> None:
    faces = [Face(0.5, 0.4, 0.08)] * count
    large = [Face(0.5, 0.4, 0.5)] * 3
    drawn = [part.drawn_size for part in parts(large + faces, PICTURE, SIDES)]
    assert drawn[:3] == [None] * 3
    assert drawn[3:] == [pytest.approx((AROUND * height,) * 2, abs=3)] * count


@pytest.mark.parametrize(
    ("face_height", "photo_side", "lacks"),
    [(0.1, 1280, True), (0.2, 1280, False), (0.2, 1024, True), (0.3, 640, False)],
)
def test_more_pixels_are_wanted_for_a_face_that_is_drawn_with_more_than_it_has(
    face_height: float,
    photo_side: int,
    *,
    lacks: bool,
) -> None:
    assert lack_pixels([Face(0.5, 0.4, face_height)], photo_side, 640) == lacks


def test_only_the_largest_faces_are_looked_after() -> None:
    faces = [Face(0.5, 0.4, 0.02 + 0.0001 * number) for number in range(MAX_FACES + 20)]
    chosen = parts(faces, PICTURE, SIDES)
    assert [part.face for part in chosen] == faces[: -MAX_FACES - 1 : -1]


def test_a_face_is_put_back_with_a_soft_border() -> None:
    part = only(Face(0.5, 0.375, 0.05))
    grey = plain(PICTURE, (100, 100, 100))
    drawing = plain(part.size, (110, 110, 110))
    picture = put_back(grey, [(part, drawing)], [part]).astype(int)
    changed = picture[..., 0] - 100
    assert (changed >= 0).all()
    assert changed[part.place].sum() == changed.sum() > 0, "nothing outside changes"
    middle = changed[384, 461:563]
    assert (np.abs(np.diff(middle)) <= 2).all(), "no edge is seen"
    assert middle[0] == middle[-1] == 0


def test_a_face_keeps_the_tone_of_its_skin() -> None:
    """Hands and neck, which are not drawn apart, have the tone that the face had."""
    part = only(Face(0.5, 0.375, 0.05))
    picture = put_back(plain(PICTURE, (220, 180, 160)), [(part, plain(part.size, (180, 150, 130)))], [part])
    assert picture[384, 512] == pytest.approx((210, 172, 152), abs=3)


def test_a_face_is_drawn_as_it_was_drawn_itself_beside_others() -> None:
    left, right = parts([Face(0.48, 0.375, 0.05), Face(0.52, 0.375, 0.05)], PICTURE, SIDES)
    red, blue = plain(left.size, (110, 100, 100)), plain(left.size, (100, 100, 110))
    picture = put_back(plain(PICTURE, (100, 100, 100)), [(left, red), (right, blue)], [left, right])
    assert picture[384, round(0.475 * 1024), 0] > picture[384, round(0.475 * 1024), 2]
    assert picture[384, round(0.525 * 1024), 2] > picture[384, round(0.525 * 1024), 0]


def test_a_small_face_leaves_a_large_one_beside_it_alone() -> None:
    large, small = parts([Face(0.5, 0.375, 0.3), Face(0.5, 0.375, 0.05)], PICTURE, SIDES)
    assert large.drawn_size is None
    picture = put_back(plain(PICTURE, (100, 100, 100)), [(small, plain(small.size, (0, 0, 0)))], [large, small])
    assert picture[384, 512, 0] >= 45  # at most half


class TwoScales(ToyEngine):
    """Draws whole photos black and what is drawn apart white, at 64 pixels, and sees one small face."""

    drawn_at = 64
    multiple = 8

    def __init__(self, *faces: Face) -> None:
        self.drawn: list[tuple[int, ...]] = []
        self.seen: list[tuple[int, ...]] = []
        self.small_faces = faces

    def find_faces(self, photo: Rgb) -> tuple[Face, ...]:  # type: ignore[override]
        self.seen.append(photo.shape)
        return self.small_faces

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        for share in (0.0, 0.5):
            report(share)
        self.drawn.append(photo.shape[2:])
        return np.full_like(photo, -1 if len(self.drawn) == 1 else 1)


def sent(size: tuple[int, int]) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, (90, 90, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def converted(engine: TwoScales, max_side: int = 256, faces: Faces = Faces.AUTO) -> Rgb:
    picture = convert(sent((512, 384)), Options(max_side, Format.PNG, faces), engine, LIMITS)
    with Image.open(BytesIO(picture.data)) as image:
        return np.asarray(image)


FACE = Face(0.25, 0.4, 0.1)


def test_a_small_face_is_drawn_from_the_photos_own_pixels() -> None:
    engine = TwoScales(FACE)
    picture = converted(engine)
    assert picture.shape == (192, 256, 3)
    assert engine.drawn == [(48, 64), (160, 160)]  # the face is 77 pixels high, threefold
    white = picture[..., 0] > 128
    rows, columns = np.nonzero(white)
    assert (columns.mean(), rows.mean()) == pytest.approx((0.25 * 256, 0.4 * 256), abs=2)
    assert 0.4 * 0.1 * 256 < np.ptp(rows) / 2 < 0.1 * 256


@pytest.mark.parametrize("max_side", [64, 100, 128, 200])
def test_a_photo_with_small_faces_is_decoded_again_if_that_gives_them_more_pixels(
    max_side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(*args: object, **options: object) -> Photo:
        photo = decode(*args, **options)  # type: ignore[arg-type]
        sides.append(max(photo.rgb.shape))
        return photo

    sides: list[int] = []
    monkeypatch.setattr("shared.pipeline.decode", watched)
    engine = TwoScales(Face(0.25, 0.4, 0.2))
    assert max(converted(engine, max_side).shape) == max_side
    assert sides == ([max_side, 128] if max_side < 128 else [max_side])
    looked_at = min(max_side, 128)
    assert engine.seen == [(looked_at * 3 // 4, looked_at, 3)]
    assert len(engine.drawn) == 2
    engine.small_faces = ()
    converted(engine, max_side)
    assert sides[-1:] == [max_side]


def test_without_small_faces_and_without_wanting_them_the_whole_is_drawn_alone() -> None:
    for engine, faces in (
        (TwoScales(), Faces.AUTO),
        (TwoScales(FACE), Faces.OFF),
        (TwoScales(Face(0.5, 0.4, 0.04)), Faces.AUTO),
    ):
        assert (converted(engine, faces=faces) == 0).all()
        assert engine.drawn == [(48, 64)]
        assert len(engine.seen) == (faces is Faces.AUTO)


def test_faces_that_are_not_wanted_are_not_measured_either() -> None:
    class Blind(ToyEngine):
        drawn_at = 64

        def face_heights(self, _photo: Rgb) -> tuple[float, ...]:
            raise AssertionError

    convert(sent((512, 384)), Options(256, Format.PNG, Faces.OFF), Blind(), LIMITS)


def test_progress_goes_on_over_whole_and_faces_and_can_stop_between() -> None:
    reported: list[float] = []

    def follow(stage: Stage, progress: float) -> None:
        reported.append(progress)
        if stage is Stage.GENERATE and progress > 0.7:
            raise KeyboardInterrupt

    engine = TwoScales(FACE, Face(0.75, 0.4, 0.1))
    with pytest.raises(KeyboardInterrupt):
        convert(sent((512, 384)), Options(256, Format.PNG), engine, LIMITS, checkpoint=follow)
    assert len(engine.drawn) == 2
    assert reported == sorted(reported)


def test_a_decoded_photo_gets_its_faces_too() -> None:
    photo = plain((256, 192), (90, 90, 90))
    assert np.array_equal(draw(photo, TwoScales(FACE)), converted(TwoScales(FACE)))
    assert (draw(photo, TwoScales(FACE), Faces.OFF) == 0).all()


def test_faces_are_part_of_the_identity_of_a_result() -> None:
    options = [Options(512, Format.PNG, faces) for faces in Faces]
    assert len({result_key("public", "photo", "style", one) for one in options}) == 2
