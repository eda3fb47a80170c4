"""JPEGs that have an end, and have lost a part of what is before it."""

import random
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from shared.errors import DamagedPhotoError
from shared.photos.inspection import inspect
from tests.shared.photos.making import decoded
from tests.shared.test_pipeline import LIMITS, saved

SIZE = (512, 384)
# Noise that is smooth in places, as photos are, so that all blocks are of different lengths.
SCENE = Image.fromarray(np.random.default_rng(7).integers(0, 255, (24, 32, 3), np.uint8)).resize(
    SIZE, Image.Resampling.BICUBIC
)
SCENE = Image.blend(SCENE, Image.effect_noise(SIZE, 60).convert("RGB"), 0.3)

PHOTOS = {
    "in one scan": saved(SCENE, "JPEG", quality=85),
    "in full colour": saved(SCENE, "JPEG", quality=85, subsampling=0),
    "in grey": saved(SCENE.convert("L"), "JPEG", quality=85),
    "for print": saved(SCENE.convert("CMYK"), "JPEG", quality=85),
    "with a restart in every row": saved(SCENE, "JPEG", quality=85, restart_marker_rows=1),
    "with many restarts": saved(SCENE, "JPEG", quality=85, restart_marker_blocks=4),
    "in many scans": saved(SCENE, "JPEG", quality=85, progressive=True),
    "in many scans with restarts": saved(SCENE, "JPEG", quality=85, progressive=True, restart_marker_rows=1),
}


def scans(photo: bytes) -> list[int]:
    return [place for place in range(len(photo)) if photo.startswith(b"\xff\xda", place)]


@pytest.mark.parametrize("max_side", [48, 512])
@pytest.mark.parametrize("kind", PHOTOS)
def test_a_jpeg_that_lost_a_tenth_of_its_data_is_damaged(kind: str, max_side: int) -> None:
    photo = PHOTOS[kind]
    chance, lost, first = random.Random(3), len(photo) // 10, scans(photo)[0] + 20
    for _ in range(6):
        # The last passes of several may be missing together: nothing builds on them.
        place = chance.randrange(first, len(photo) // 4 if "many scans" in kind else len(photo) * 3 // 4)
        with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
            decoded(photo[:place] + photo[place + lost :], max_side)


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_whole_jpeg_is_read_however_grey_it_is(kind: str) -> None:
    assert decoded(PHOTOS[kind]).size == SIZE
    options = {"progressive": True} if "many scans" in kind else {"restart_marker_rows": 1} if "restart" in kind else {}
    grey = SCENE.copy()
    grey.paste((128, 128, 128), (0, 100, 512, 384))
    assert decoded(saved(grey, "JPEG", quality=85, **options)).size == SIZE


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("last_rows", range(9))
def test_a_whole_jpeg_is_read_however_few_rows_are_left_at_its_end(last_rows: int, mode: str) -> None:
    """A large photo is looked at in bands, and the last one may be lower than a block."""
    size = (1800, 1152 + last_rows)
    assert decoded(saved(SCENE.resize(size).convert(mode), "JPEG", quality=60), 2048).size == size


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_a_progressive_jpeg_that_lacks_a_pass_on_which_others_build_is_refused_at_once(number: int) -> None:
    photo = PHOTOS["in many scans"]
    places = scans(photo)
    tables = photo.rindex(b"\xff\xc4", 0, places[number])
    lacking = photo[: tables if number != 5 else places[number]] + photo[places[number + 1] :]
    with pytest.raises(DamagedPhotoError, match="damaged or incomplete"):
        inspect(BytesIO(lacking), LIMITS)


def test_a_jpeg_that_is_decoded_at_a_fraction_of_its_size_stays_what_it_is() -> None:
    """As an opaque photo, it has no alpha; in grey or for print, its profile counts."""
    assert all(decoded(photo, 48).alpha is None for photo in PHOTOS.values())
