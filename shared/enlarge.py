"""A drawing brought to the size of the picture, with the photo as the guide: as crisp there as where it was drawn.

Nothing of a style is decided here. Where two regions of the small drawing meet, a large pixel is of the one, of the
other, or on the line between their colours. Where on that line it lies follows from the drawing, steepened, and by what
the large photo shows there and the small one did not, as far as the drawing follows the photo. No channel leaves what
it had in the sixteen small pixels around: there are no halos, and what is flat stays flat to the bit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.photos.decoding import Rgb

_BAND_PIXELS: Final = 1 << 15  # enlarged at a time: what a core's cache holds
_STEEPEST: Final = 4.0  # reached where the picture is two and a half times as large as the drawing
_SHADING, _EDGE = np.float32(10), np.float32(40)  # levels around a pixel: steepened, shading would become a grid
_ROUNDING: Final = 0.9  # of single-pixel corners and ripples, before they are steepened; reached at twice the size
_WINDOW: Final = 5  # pixels each way, in which it is seen how the drawing follows the photo
_REACH: Final = _WINDOW // 2 + 1  # pixels of the drawing, each way, that the place of one depends on
_NOISE: Final = 100.0  # levels squared; what varies less, in the photo or the drawing, is grain
_GRAIN: Final = 3  # levels of the photo's detail that are left out
_STEEPEST_SLOPE: Final = 1.5  # of the drawing over the photo
_MAX_DETAIL: Final = 200  # levels; times the slope, 2 and 32 it fits 16 bits
_SLOPE_BITS: Final = 5
_WEIGHT_BITS: Final = 5  # of where a pixel lies between two others; times 4 * 255 it fits 16 bits
_IN_ALL_LANES: Final = np.uint64(0x0001_0001_0001_0001)

# Red, green, blue and a fourth value side by side, (…, w, 4): a pixel is then moved as one number of 64 bits.
Lanes = npt.NDArray[np.int16]
Luma = npt.NDArray[np.uint8]  # (h, w)
Bytes = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]
Level = TypeVar("Level", np.uint8, np.float32)


@dataclass(frozen=True, slots=True)
class _Steps:
    """The two positions of the small side around each position of the large one, with their weights."""

    before: npt.NDArray[np.intp]
    after: npt.NDArray[np.intp]
    to_before: npt.NDArray[np.int16]
    to_after: npt.NDArray[np.int16]

    def part(self, start: int, end: int, *, above: int) -> "_Steps":
        """Those of some places of the large side, where the first so many of the small side are left out."""
        part = slice(start, end)
        return _Steps(self.before[part] - above, self.after[part] - above, self.to_before[part], self.to_after[part])


def enlarge(drawing: Rgb, photo: Rgb, guide: Rgb, report: Callable[[float], None] = lambda _share: None) -> Rgb:
    """Bring the `drawing` of the small `photo` to the size of the large one, `guide`; all are (h, w, 3), 8-bit.

    `report` is called with the share that is done, and may raise to stop.
    """
    (small_height, small_width), (height, width) = drawing.shape[:2], guide.shape[:2]
    planes = _planes(drawing, _luma(photo), height / small_height)
    columns, rows = _steps(small_width, width), _steps(small_height, height)
    picture = np.empty_like(guide)
    for top, bottom in _bands(height, width):
        report(top / height)
        levels = _guided(_between(planes, columns, rows, top, bottom), guide[top:bottom])
        for channel in range(3):  # one by one: what is slow is to write bytes across each other
            picture[top:bottom, :, channel] = levels[..., channel]
    return picture


def _bands(height: int, width: int) -> Iterable[tuple[int, int]]:
    rows = max(1, _BAND_PIXELS // width // 2) * 2  # even: the slope is found for every second row of the whole
    return pairwise([*range(0, height, rows), height])


def _planes(drawing: Rgb, luma: Luma, scale: float) -> Lanes:
    """Return the planes to enlarge, (4, h, w, 4): the steepened drawing, its local minimum and maximum, its slope.

    The fourth lane of the first is the photo's luma.
    """
    steepness = min(max(2 * scale - 1, 1.0), _STEEPEST)
    rounding = _ROUNDING * min(max(scale - 1, 0.0), 1.0)
    gain = 1 + (steepness - 1) / 4  # a photo is sharp by itself; with more, its edges become staircases
    colours, lumas = _lanes(drawing), _lanes(np.repeat(luma[..., None], 3, 2))
    planes = np.empty((4, *luma.shape, 4), np.int16)
    for top, bottom in _bands(*luma.shape):
        rows = slice(top, bottom + 2 * _REACH)
        planes[:3, top:bottom] = _steepened(colours[rows], steepness, rounding)
        planes[3, top:bottom] = _slope(colours[rows], lumas[rows], gain)[: bottom - top]
    planes[0, ..., 3] = luma
    return planes


def _lanes(rgb: Rgb) -> Bytes:
    """Make room for a fourth lane, and let the border go on outwards as far as is looked."""
    lanes = np.asarray(Image.fromarray(rgb).convert("RGBA"))
    return np.pad(lanes, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="edge")


def _steepened(colours: Bytes, steepness: float, rounding: float) -> tuple[Values, Bytes, Bytes]:
    """The drawing, further from the middle of what is around a pixel; the least and the most that is around it."""
    near = colours[_REACH - 1 : 1 - _REACH, _REACH - 1 : 1 - _REACH]
    lowest, highest = _windows(np.minimum, near, 3), _windows(np.maximum, near, 3)
    middle = np.add(lowest, highest, dtype=np.float32) / 2
    own, levels = near[1:-1, 1:-1].astype(np.float32), near.astype(np.float32)
    rounded = _windows(np.add, _windows(np.add, levels, 2), 2) / 16
    rounded = own + (rounded - own) * np.float32(rounding)
    contrast = np.subtract(highest, lowest).max(-1, keepdims=True).astype(np.float32)
    is_edge = ((contrast - _SHADING) / (_EDGE - _SHADING)).clip(0, 1)
    return np.rint(middle + (rounded - middle) * (1 + is_edge * np.float32(steepness - 1))), lowest, highest


def _slope(colours: Bytes, lumas: Bytes, gain: float) -> Values:
    """Return the slope of the drawing over the photo around a pixel, for every second row; 0 where it is unrelated.

    The least squares of a guided filter (He, Sun and Tang 2013), times the square of the share that they explain.
    """
    drawing, photo = colours.astype(np.float32), lumas.astype(np.float32)
    own, mean, own_square, square, product = (
        _windows(np.add, values, _WINDOW, step=2)
        for values in (drawing, photo, drawing * drawing, photo * photo, drawing * photo)
    )
    count, noise = np.float32(_WINDOW**2), np.float32(_NOISE * _WINDOW**4)
    covariance = product * count - own * mean
    slope = covariance / (square * count - mean * mean + noise)
    explained = slope * covariance / (own_square * count - own * own + noise)
    slope *= explained * explained
    unit = gain * (1 << _SLOPE_BITS)
    smooth = _windows(np.add, slope[:, :-1].astype(np.float32, copy=False), 2) * np.float32(unit / 4)
    return np.repeat(np.rint(smooth.clip(-_STEEPEST_SLOPE * unit, _STEEPEST_SLOPE * unit)), 2, 0)


def _windows(join: np.ufunc, values: npt.NDArray[Level], size: int, step: int = 1) -> npt.NDArray[Level]:
    """Reduce every window of `size` x `size` pixels with `join`, for every `step`-th row."""
    for axis, by in ((0, step), (1, 1)):
        length = values.shape[axis] - size + 1
        first, second, *others = (values[(slice(None),) * axis + (slice(at, at + length, by),)] for at in range(size))
        values = join(first, second)
        for other in others:
            join(values, other, out=values)
    return values


def _luma(rgb: Rgb) -> Luma:
    return np.asarray(Image.fromarray(rgb).convert("L"))


def _guided(planes: Lanes, guide: Rgb) -> Lanes:
    """The levels of a band of the large picture, from its planes and the large photo."""
    steepened, lowest, highest, slope = planes
    detail = np.subtract(_luma(guide), steepened[..., 3], dtype=np.int16)
    detail -= detail.clip(-_GRAIN, _GRAIN)
    np.clip(detail, -_MAX_DETAIL, _MAX_DETAIL, out=detail)
    levels: Lanes = (detail.view(np.uint16) * _IN_ALL_LANES).view(np.int16).reshape(slope.shape)
    levels *= slope
    levels >>= _SLOPE_BITS
    levels += steepened
    np.minimum(levels, highest, out=levels)
    np.maximum(levels, lowest, out=levels)
    return levels


def _between(planes: Lanes, columns: _Steps, rows: _Steps, top: int, bottom: int) -> Lanes:
    """Interpolate linearly between the pixels of all planes, for the rows from `top` to `bottom` of the picture."""
    first, last = rows.before[top], rows.after[bottom - 1]
    wide = _mixed(planes[:, first : last + 1], columns, 2)
    return _mixed(wide, rows.part(top, bottom, above=first), 1)


def _mixed(planes: Lanes, steps: _Steps, axis: int) -> Lanes:
    """Interpolate along one axis of (4, h, w, 4): 1 for rows, 2 for columns."""
    mixed, after = _taken(planes, steps.before, axis), _taken(planes, steps.after, axis)
    mixed *= _along(steps.to_before, axis)
    after *= _along(steps.to_after, axis)
    mixed += after
    mixed += 1 << (_WEIGHT_BITS - 1)
    mixed >>= _WEIGHT_BITS
    return mixed.reshape(*mixed.shape[:2], -1, 4)


def _along(weights: npt.NDArray[np.int16], axis: int) -> npt.NDArray[np.int16]:
    return weights[:, None] if axis == 1 else np.repeat(weights, 4)


def _taken(planes: Lanes, places: npt.NDArray[np.intp], axis: int) -> Lanes:
    """The rows or columns at `places`, (4, h, 4 w)."""
    taken = np.take(planes.view(np.uint64)[..., 0], places, axis, mode="clip")
    return np.asarray(taken.view(np.int16))


def _steps(small: int, large: int) -> _Steps:
    """The steps of linear interpolation between the middles of pixels."""
    places = ((np.arange(large) + 0.5) * small / large - 0.5).clip(0, small - 1)
    before = places.astype(np.intp)
    to_after = np.rint((places - before) * (1 << _WEIGHT_BITS)).astype(np.int16)
    return _Steps(before, np.minimum(before + 1, small - 1), (1 << _WEIGHT_BITS) - to_after, to_after)
