"""The face detector, on the photos that scikit-image brings."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from shared.errors import UnavailableError
from shared.photos.decoding import Rgb
from shared.photos.sizes import LARGEST_FACE, drawn_side
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, Styles
from worker.faces import BlazeFace
from worker.model_loader import loader_for

FOREHEAD_TO_CHIN = 108  # pixels of the astronaut's face, by a mesh of 478 points


@pytest.fixture(scope="module")
def find_faces() -> BlazeFace:
    return BlazeFace()


def astronaut(side: int, *, corner: tuple[int, int] = (0, 0)) -> Rgb:
    """A square of the photo of a woman; her face is in the middle of one of 200 pixels at (125, 15)."""
    left, top = corner
    return np.asarray(skimage.data.astronaut()[top : top + side, left : left + side])  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("side", "corner"), [(512, (0, 0)), (300, (80, 0)), (200, (125, 15)), (150, (145, 35))])
def test_the_height_of_a_face_is_measured(find_faces: BlazeFace, side: int, corner: tuple[int, int]) -> None:
    heights = find_faces(astronaut(side, corner=corner))
    assert max(heights) * side == pytest.approx(FOREHEAD_TO_CHIN, rel=0.15)


@pytest.mark.parametrize("larger", [0.5, 2, 5])
@pytest.mark.parametrize("crop", [np.s_[:, 60:], np.s_[60:, :]])
def test_a_face_is_found_at_every_size_and_shape(find_faces: BlazeFace, larger: float, crop: tuple[slice, ...]) -> None:
    close = astronaut(200, corner=(125, 5))[crop]
    size = round(close.shape[1] * larger), round(close.shape[0] * larger)
    heights = find_faces(np.asarray(Image.fromarray(close).resize(size)))
    assert max(heights) * 200 == pytest.approx(FOREHEAD_TO_CHIN, rel=0.25)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "brick", "grass", "moon"])
def test_no_face_is_found_where_none_is(find_faces: BlazeFace, name: str) -> None:
    assert find_faces(np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))) == []


@pytest.mark.parametrize("shape", [(16, 16), (1, 2000), (2000, 16), (7, 9)])
def test_photos_of_any_shape_can_be_looked_at(find_faces: BlazeFace, shape: tuple[int, int]) -> None:
    assert find_faces(np.full((*shape, 3), 128, np.uint8)) == []


def test_a_lack_of_memory_is_told_as_such(find_faces: BlazeFace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def infer(self, *_inputs: object, **_options: object) -> None:
            raise RuntimeError("could not allocate memory")

    monkeypatch.setattr(find_faces, "_request", Full())
    with pytest.raises(UnavailableError):
        find_faces(astronaut(200))


def test_styles_drawn_at_one_size_draw_close_ups_smaller() -> None:
    engine = loader_for(Settings(), Styles(BUNDLED_WEIGHTS), threads=1, memory=1 << 31).engine("hinata-light")
    assert engine.drawn_at
    close = astronaut(150, corner=(145, 35))
    side = drawn_side((150, 150), engine.drawn_at, engine.find_faces(close))
    assert side * FOREHEAD_TO_CHIN / 150 == pytest.approx(LARGEST_FACE, rel=0.15)
