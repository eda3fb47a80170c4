"""Enlarging a drawing: the same look, no new colours, and edges as sharp as in the photo."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from shared.enlarge import enlarge
from shared.photos.decoding import Rgb

SMALL = (160, 120)
PAPER, INK, SKY, SEA = (240, 220, 200), (30, 20, 40), (120, 190, 250), (40, 110, 120)
SIZES = [(161, 121), (200, 150), (256, 192), (320, 240), (512, 384)]


def scene(size: tuple[int, int]) -> Rgb:
    """Two regions, two lines of ink and a dot, drawn finely and shrunk to `size`."""
    image = Image.new("RGB", (SMALL[0] * 16, SMALL[1] * 16), PAPER)
    draw = ImageDraw.Draw(image)
    draw.polygon([(160, 160), (1200, 320), (1000, 1700), (240, 1500)], fill=SKY)
    draw.ellipse([1500, 200, 2300, 900], fill=SEA)
    draw.line([(1300, 1100), (2480, 1350)], fill=INK, width=24)
    draw.line([(1300, 1400), (2480, 1840)], fill=INK, width=48)
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def grey(size: tuple[int, int]) -> Rgb:
    return np.full((size[1], size[0], 3), 128, np.uint8)


def shrunk(photo: Rgb) -> Rgb:
    return np.asarray(Image.fromarray(photo).resize(SMALL, Image.Resampling.LANCZOS))


def noise(size: tuple[int, int]) -> Rgb:
    return np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)


def luma(picture: Rgb) -> npt.NDArray[np.float64]:
    return np.asarray(picture.astype(np.float64) @ (0.299, 0.587, 0.114))


def share_of(picture: Rgb, colour: tuple[int, int, int]) -> float:
    """The share of the picture that is nearer to this colour than to the others of the scene."""
    distances = np.stack([np.abs(picture.astype(int) - other).sum(2) for other in (colour, PAPER, INK, SKY, SEA)])
    return float((distances[0] <= distances.min(0)).mean())


def ink_of(picture: Rgb) -> float:
    """The darkness of the two lines, as a share of the picture: their width, however soft they are."""
    height, width = picture.shape[:2]
    return float((PAPER[0] - picture[height // 2 :, width * 9 // 16 :, 0].astype(int)).mean())


def edge_pixels(picture: Rgb) -> float:
    """Return how many pixels of a row are neither one colour nor the other."""
    far = np.min([np.abs(picture.astype(int) - colour).sum(2) for colour in (PAPER, INK, SKY, SEA)], axis=0)
    return float((far > 24).sum(1).mean())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("photo_of", [scene, grey])
def test_lines_and_regions_take_the_same_share_at_every_size(
    size: tuple[int, int], photo_of: Callable[[tuple[int, int]], Rgb]
) -> None:
    drawing, guide = scene(SMALL), photo_of(size)
    picture = enlarge(drawing, shrunk(guide), guide)
    assert picture.shape == guide.shape
    assert picture.dtype == np.uint8
    assert ink_of(picture) == pytest.approx(ink_of(drawing), rel=0.1)
    for colour in (SKY, SEA):
        assert share_of(picture, colour) == pytest.approx(share_of(drawing, colour), rel=0.1)


@pytest.mark.parametrize("size", SIZES[1:])
def test_edges_are_as_steep_at_the_large_size_as_at_the_small_one(size: tuple[int, int]) -> None:
    drawing, guide = scene(SMALL), scene(size)
    assert edge_pixels(enlarge(drawing, shrunk(guide), guide)) < 1.2 * edge_pixels(drawing)


@pytest.mark.parametrize("size", SIZES[2:])
def test_edges_missing_from_the_photo_are_steepened_too(size: tuple[int, int]) -> None:
    drawing, guide = scene(SMALL), grey(size)
    smooth = np.asarray(Image.fromarray(drawing).resize(size, Image.Resampling.BILINEAR))
    assert edge_pixels(enlarge(drawing, shrunk(guide), guide)) < 0.6 * edge_pixels(smooth)


@pytest.mark.parametrize("size", SIZES)
def test_no_pixel_leaves_the_range_of_its_neighbourhood_in_the_drawing(size: tuple[int, int]) -> None:
    drawing, guide = noise(SMALL), noise(size)
    picture = enlarge(drawing, shrunk(guide), guide)
    rows, columns = (
        np.minimum((np.arange(large) + 0.5) * small / large, small - 1).astype(int)
        for large, small in ((size[1], SMALL[1]), (size[0], SMALL[0]))
    )
    padded = np.pad(drawing, ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    around = windows[rows][:, columns]
    assert (picture >= around.min((-2, -1))).all()
    assert (picture <= around.max((-2, -1))).all()


def test_flat_areas_stay_flat_whatever_the_photo_shows() -> None:
    drawing, guide = np.full((120, 160, 3), (17, 99, 203), np.uint8), noise((512, 384))
    assert (enlarge(drawing, shrunk(guide), guide) == (17, 99, 203)).all()


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_ripple_from_pixel_to_pixel_is_not_steepened_into_a_grid(axes: tuple[int, ...]) -> None:
    ripple = sum(np.indices((120, 160))[axis] for axis in axes) % 2 * 6
    drawing = np.repeat((120 + ripple).astype(np.uint8)[..., None], 3, 2)
    picture = enlarge(drawing, shrunk(grey((512, 384))), grey((512, 384)))
    assert np.ptp(picture[16:-16, 16:-16]) <= 3


def test_a_soft_shade_stays_soft() -> None:
    drawing = np.repeat(np.linspace(40, 200, SMALL[0]).round().astype(np.uint8)[None, :, None], SMALL[1], 0)
    drawing = np.repeat(drawing, 3, 2)
    guide = grey((512, 384))
    row = enlarge(drawing, shrunk(guide), guide)[100, :, 0].astype(int)
    assert np.abs(np.diff(row)).max() <= 2
    assert np.abs(row - np.linspace(40, 200, 512)).max() <= 3


def test_uneven_shading_does_not_become_a_grid() -> None:
    """No generator draws quite evenly: steepened, its shading would get steps where its pixels meet."""
    grain = np.random.default_rng(0).normal(0, 2, (SMALL[1] + 2, SMALL[0] + 2))
    uneven = sum(grain[row : row + SMALL[1], column : column + SMALL[0]] for row in range(3) for column in range(3)) / 3
    shade = np.linspace(90, 150, SMALL[0]) + uneven
    drawing = np.repeat(shade.round().astype(np.uint8)[..., None], 3, 2)
    guide = grey((512, 384))
    steps, linear = (
        np.abs(np.diff(np.asarray(picture)[..., 0].astype(int), axis=1)).max()
        for picture in (
            enlarge(drawing, shrunk(guide), guide),
            Image.fromarray(drawing).resize((512, 384), Image.Resampling.BILINEAR),
        )
    )
    assert steps <= linear


def test_an_edge_of_the_photo_tells_where_the_edge_of_the_drawing_is() -> None:
    guide = grey((512, 384))
    guide[:, :250] = 20  # within a pixel of the small photo
    guide[:, 250:] = 230
    photo = shrunk(guide)
    picture = luma(enlarge(photo, photo, guide))[100]
    unguided = luma(enlarge(photo, shrunk(grey((512, 384))), grey((512, 384))))[100]
    error, error_unguided = (np.abs(one - luma(guide)[100]).sum() for one in (picture, unguided))
    assert error < 0.6 * error_unguided


def test_grain_of_the_photo_is_not_drawn() -> None:
    drawing, guide = scene(SMALL), scene((512, 384))
    grain = np.random.default_rng(0).normal(0, 4, (384, 512, 1))
    grainy = (guide + grain).clip(0, 255).astype(np.uint8)
    clean, found = (enlarge(drawing, shrunk(photo), photo) for photo in (guide, grainy))
    assert np.abs(clean.astype(int) - found).mean() < 0.5


def test_channels_that_go_against_the_luma_stay_on_the_line_between_the_two_colours() -> None:
    guide = np.full((384, 512, 3), (200, 30, 40), np.uint8)  # darker, and more red
    guide[:, 250:] = (90, 220, 250)
    photo = shrunk(guide)
    row = enlarge(photo, photo, guide)[100].astype(float)
    dark, light = np.array((200, 30, 40.0)), np.array((90, 220, 250.0))
    along = ((row - dark) @ (light - dark) / ((light - dark) @ (light - dark))).clip(0, 1)
    assert np.abs(row - dark - along[:, None] * (light - dark)).max() < 24


@pytest.mark.parametrize("small", [(16, 16), (3, 5), (1, 40), (300, 2)])
def test_the_smallest_drawings_are_enlarged_too(small: tuple[int, int]) -> None:
    drawing = np.asarray(Image.fromarray(scene(SMALL)).resize(small))
    guide = np.asarray(Image.fromarray(scene(SMALL)).resize((small[0] * 3, small[1] * 3)))
    assert enlarge(drawing, drawing, guide).shape == guide.shape


def test_bands_are_not_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing, guide = scene(SMALL), scene((512, 384))
    whole = enlarge(drawing, shrunk(guide), guide)
    monkeypatch.setattr("shared.enlarge._BAND_PIXELS", 9 * SMALL[0])  # an odd number of rows of the drawing
    np.testing.assert_array_equal(enlarge(drawing, shrunk(guide), guide), whole)
