"""Small faces: each is drawn apart, at a size at which it gets eyes, and put back into the picture with a soft border.

A detector says where faces are, and `shared.pipeline` draws. Sizes are (width, height) in pixels.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.photos.decoding import Rgb

DRAWN_FACES: Final = (112, 220)  # pixels from forehead to chin, at which each of many faces is drawn apart, and of few
AROUND: Final = 2  # heights of a face to the side of the square that is drawn with it: hair and shoulders
PHOTO_SCALE: Final = 2  # times the size at which a photo is drawn, up to which its pixels are kept for its faces
MAX_FACES: Final = 32  # the largest of a photo; each of many costs a fifth of what a photo without faces does
_PIXELS: Final = 2 * (AROUND * DRAWN_FACES[1]) ** 2  # that few faces take together: two are drawn as large as one
_MAX_ENLARGED: Final = 3  # times, of the photo's pixels; with more, eyes are made up
_MIN_GAIN: Final = 1.3  # times as large as it is drawn otherwise; with less, nothing looks better
_MIN_FACE: Final = 12  # pixels, in the photo and in the picture; nobody sees the eyes of a smaller one
_ROWS_AT_ONCE: Final = 64  # of a face put back: as floats, a large picture's would take as much memory as the picture
_SOLID: Final = 0.6  # of the way from the middle of a face to the side of its square: only beyond is the border soft

_SKIN: Final = 0.3  # of the way, up to which most of a face is skin
_TONED: Final = (0.3, 0.65)  # of the way, up to which its tone is set, and from which nothing's is
_GAINS: Final = (0.8, 1.3)  # of its levels, at the least and most
_TONE_SHARE: Final = 0.75  # of the difference in tone; the drawing of a larger face is nearer to the photo's

Shares = npt.NDArray[np.float32]  # (h, w, 1)
Levels = npt.NDArray[np.float32]  # (h, w, 3), about 0..255, or (3,) of what is done to them


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a photo: its middle, and its height from forehead to chin, as shares of the photo's longest side."""

    x: float
    y: float
    height: float


FindFaces = Callable[[Rgb], Collection[Face]]
"""Finds the faces in a photo, each once."""


@dataclass(frozen=True, slots=True)
class Part:
    """The square of a picture around a face, or as much of it as the picture has.

    `drawn_size` is that at which it is drawn apart; None if that would not look better.
    """

    face: Face
    left: int
    top: int
    size: tuple[int, int]
    drawn_size: tuple[int, int] | None

    @property
    def place(self) -> tuple[slice, slice]:
        """Its rows and columns of the picture."""
        return slice(self.top, self.top + self.size[1]), slice(self.left, self.left + self.size[0])

    def overlaps(self, other: "Part") -> bool:
        """Tell whether they share pixels, as a part does with itself."""
        return all(
            start < other_start + other_length and other_start < start + length
            for start, length, other_start, other_length in zip(
                (self.left, self.top), self.size, (other.left, other.top), other.size, strict=True
            )
        )

    def seen_in(self, photo: Rgb, picture_size: tuple[int, int], size: tuple[int, int]) -> Rgb:
        """Cut the part of the picture out of the photo, and bring it to `size`."""
        across, down = photo.shape[1] / picture_size[0], photo.shape[0] / picture_size[1]
        left, right = self.left * across, (self.left + self.size[0]) * across
        top, bottom = self.top * down, (self.top + self.size[1]) * down
        first_row, first_column = int(top), int(left)
        pixels = np.ascontiguousarray(photo[first_row : math.ceil(bottom), first_column : math.ceil(right)])
        box = (left - first_column, top - first_row, right - first_column, bottom - first_row)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, box))


@dataclass(frozen=True, slots=True)
class Sides:
    """The longest sides of a photo, of its drawing, and of the picture, in pixels."""

    photo: int
    drawing: int
    picture: int


def lack_pixels(faces: Collection[Face], photo_side: int, drawn_side: int) -> bool:
    """Tell whether any face is to be drawn apart with more pixels than it has in the photo.

    The longest sides are those of the photo, as it was decoded, and of the size at which it is drawn, in pixels.
    """
    height = _drawn_height(faces, drawn_side)
    return any(_gains(face, height, drawn_side) and face.height * photo_side < height for face in faces)


def parts(faces: Iterable[Face], picture_size: tuple[int, int], sides: Sides) -> list[Part]:
    """Return the parts of a picture with the largest faces, from the largest to the smallest."""
    largest = sorted(faces, key=lambda face: -face.height)[:MAX_FACES]
    height = _drawn_height(largest, sides.drawing)
    return [_part(face, picture_size, sides, height) for face in largest]


def _drawn_height(faces: Collection[Face], drawn_side: int) -> float:
    """The height in pixels at which faces are drawn apart: the fewer there are, the larger."""
    least, most = DRAWN_FACES
    small = sum(_gains(face, most, drawn_side) for face in faces)
    return min(max(math.sqrt(_PIXELS / max(small, 1)) / AROUND, least), most)


def _gains(face: Face, height: float, drawn_side: int) -> bool:
    """Tell whether a face looks better if it is drawn at a height in pixels."""
    return height >= _MIN_GAIN * face.height * drawn_side


def _part(face: Face, picture_size: tuple[int, int], sides: Sides, drawn_height: float) -> Part:
    """Return the part around a face, moved into the picture where it would reach beyond."""
    side = max(1, round(AROUND * face.height * sides.picture))
    size = min(side, picture_size[0]), min(side, picture_size[1])
    left, top = (
        min(max(0, round(middle * sides.picture - side / 2)), whole - length)
        for middle, whole, length in zip((face.x, face.y), picture_size, size, strict=True)
    )
    height = _height_apart(face, sides, drawn_height)
    width_drawn, height_drawn = (max(1, round(length * AROUND * (height or 0) / side)) for length in size)
    return Part(face, left, top, size, (width_drawn, height_drawn) if height else None)


def _height_apart(face: Face, sides: Sides, drawn_height: float) -> float | None:
    """The pixels at which a face is drawn apart; None where that would look no better."""
    if face.height * min(sides.photo, sides.picture) < _MIN_FACE:
        return None
    height = min(drawn_height, _MAX_ENLARGED * face.height * sides.photo)
    return height if _gains(face, height, sides.drawing) else None


def put_back(picture: Rgb, drawn: Iterable[tuple[Part, Rgb]], all_parts: Sequence[Part]) -> Rgb:
    """Put drawings of parts, each of its part's size, into the picture, and return it.

    Where parts overlap, a face is nearly all as it was drawn itself; those that were not drawn apart stay.
    """
    picture = picture if picture.flags.writeable else picture.copy()
    unit = max(picture.shape[:2])
    for part, drawing in drawn:
        before, distances = picture[part.place], _distances(part.face, part, unit)
        share = _nearness(distances, _SOLID, 1) * _own_share(part, all_parts, unit)
        tone = _tone(drawing, before, distances)
        for top in range(0, len(before), _ROWS_AT_ONCE):
            rows = slice(top, top + _ROWS_AT_ONCE)
            levels = _in_tone(drawing[rows], tone, distances[rows])
            levels += (before[rows] - levels) * (1 - share[rows])
            before[rows] = levels.round().clip(0, 255)
    return picture


def _own_share(part: Part, all_parts: Sequence[Part], unit: int) -> Shares:
    """Return the share of each pixel in a part that is its own face's: of two faces, the nearer one has nearly all."""
    own = _claim(part.face, part, unit)
    everybodys = np.full_like(own, 1e-6)
    for other in all_parts:
        if part.overlaps(other):
            everybodys += _claim(other.face, part, unit)
    return np.asarray(own / everybodys)


def _claim(face: Face, part: Part, unit: int) -> Shares:
    return np.asarray(_nearness(_distances(face, part, unit), _SOLID, 1) ** 4)


def _distances(face: Face, part: Part, unit: int) -> Shares:
    """Return the distance of each pixel in a part from the middle of a face, in sides of that face's square."""
    radius = AROUND / 2 * face.height * unit
    across, down = (
        (np.arange(start, start + length, dtype=np.float32) + np.float32(0.5 - middle * unit)) / np.float32(radius)
        for start, length, middle in zip((part.left, part.top), part.size, (face.x, face.y), strict=True)
    )
    return np.asarray(np.hypot(down[:, None], across)[..., None])


def _nearness(distances: Shares, near: float, far: float) -> Shares:
    """Return 1 up to `near`, 0 from `far` on, and what goes smoothly from one to the other in between."""
    share = ((far - distances) / np.float32(far - near)).clip(0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _tone(drawing: Rgb, before: Rgb, distances: Shares) -> tuple[Levels, Levels] | None:
    """Return what gives a drawing the skin that the face had before, as hands and neck still have it.

    That is a gain, and a shift to the colours around it; None where there is nothing to compare.
    """
    skin, border = distances[..., 0] < _SKIN, (distances[..., 0] > _SOLID) & (distances[..., 0] < 1)
    if not (skin.any() and border.any()):
        return None
    gain = ((np.median(before[skin], 0) + 1) / (np.median(drawing[skin], 0) + 1)) ** _TONE_SHARE
    shift = np.median(before[border] - drawing[border].astype(np.float32), 0)
    return gain.clip(*_GAINS).astype(np.float32), shift


def _in_tone(drawing: Rgb, tone: tuple[Levels, Levels] | None, distances: Shares) -> Levels:
    levels = drawing.astype(np.float32)
    if tone:
        gain, shift = tone
        toned = _nearness(distances, *_TONED)
        levels *= 1 + (gain - 1) * toned
        levels += shift * (1 - toned)
    return levels
