"""The face detector: close-ups are drawn smaller by the heights it measures, and small faces apart where it finds them.

It is BlazeFace (Bazarevsky et al., arXiv:1907.05047), in one net for near faces and one for far ones, run by OpenVINO
whatever engine draws; `weights/faces/README.md` says where they are from. How well they work is in `docs/decisions/`,
`0017-close-ups.md` and `0018-small-faces.md`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from shared.errors import WeightsError
from shared.files import file_sha256
from shared.photos.decoding import Rgb
from shared.photos.sizes import fit
from shared.small_faces import Face
from shared.styles import BUNDLED_WEIGHTS
from worker.engines.base import translated
from worker.engines.openvino_core import core

_MIN_LOGIT: Final = math.log(0.6 / 0.4)  # of a score of 0.6; with less, waves and rocks are faces
_FEWEST: Final = 2  # near boxes that agree on a face; a face that is none seldom has more than one
_AGREEMENT: Final = 0.15  # of the height of boxes that agree
_NEAR_BOX: Final = 0.93  # of the height of a face, from forehead to chin; a far box is as high as a face
_HEIGHT: Final = 3  # where the height is in what a net tells of a box: x, y, width, height, points
_HEIGHTS: Final = (0.05, 1.0)  # that are possible for near faces

_CELLS: Final = 48  # a side, of each of which the far net tells one box
_CLOSER: Final = 1.75  # times as close as the whole photo are the squares looked at,
_CLOSEST: Final = 3.5  # and those of a crowd
_OF_A_CROWD: Final = 0.07  # of the longest side: with a face less high than that, there may be smaller ones
_MIN_SQUARE: Final = 0.4  # times that size, in a photo however long
_OVERLAP: Final = 0.25  # of squares; no larger face is looked for in them
_ALL_SEEN: Final = 0.2  # of the longest side: with a face as high as that, no closer look is taken
_SAME: Final = 0.3  # of the area that two boxes cover together, or
_INSIDE: Final = 0.6  # of the smaller one, is in both: they are of one face

Boxes = npt.NDArray[np.float32]  # (n, 4): x and y of the middle, width, height
Logits = npt.NDArray[np.float32]  # (n,)


@dataclass(frozen=True, slots=True)
class Net:
    """A detector's file, and the pixels of the square it looks at."""

    file: Path
    sha256: str
    side: int


_FOLDER: Final = BUNDLED_WEIGHTS / "faces"
NEAR: Final = Net(
    _FOLDER / "blazeface-short-range.tflite", "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8", 128
)
FAR: Final = Net(
    _FOLDER / "blazeface-full-range.tflite", "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1", 192
)


def require_detector() -> None:
    """Check the detector's files without running them.

    Raises:
        WeightsError: one is missing or damaged.
    """
    for net in (NEAR, FAR):
        _require(net)


@cache
def _require(net: Net) -> None:
    """Check a net's file, once for a process and all that it forks."""
    try:
        digest = file_sha256(net.file)
    except OSError as error:
        raise WeightsError(f"The face detector cannot be read: {error.strerror}. Install Sakuga again.") from error
    if digest != net.sha256:
        raise WeightsError("The face detector's file is damaged. Install Sakuga again.")


class FaceDetector:
    """Both nets, resident; make one per process, after the fork."""

    def __init__(self) -> None:
        """Compile the nets and run them once.

        Raises:
            WeightsError: a file is missing or damaged.
            EngineError, UnavailableError: as `face_heights`.
        """
        self._near, self._far = _Eye(NEAR), _Eye(FAR)

    def face_heights(self, photo: Rgb) -> list[float]:
        """The heights of near faces in a photo (h, w, 3), from forehead to chin, as shares of its longest side, 0..1.

        One face may be found several times, with heights that hardly differ. Faces below a seventh of the longest side
        are not seen.

        Raises:
            UnavailableError: there is not enough memory now; another try may have it.
            EngineError: the runtime failed.
        """
        boxes, logits = self._near.look(photo)
        heights = boxes[logits >= _MIN_LOGIT, _HEIGHT] / _NEAR_BOX * self._near.scale(photo)
        agreeing = np.abs(heights[:, None] - heights) < _AGREEMENT * np.abs(heights)
        sure = heights[(agreeing.sum(1) >= _FEWEST) & (heights > _HEIGHTS[0])].clip(max=_HEIGHTS[1])
        return [float(height) for height in sure]

    def find_faces(self, photo: Rgb) -> list[Face]:
        """The faces in a photo (h, w, 3), each once, the surest first.

        It is looked at as a whole, then in squares, unless that has shown a face too large for others to be missed, and
        in small squares, if there is a crowd. Most faces are seen that are at least a fortieth of the longest side.

        Raises:
            UnavailableError, EngineError: as `face_heights`.
        """
        found = self._far_faces(photo)
        if not (found.boxes[:, _HEIGHT] > _ALL_SEEN).any():
            found += self._in_squares(photo, _CLOSER)
        if (found.boxes[:, _HEIGHT] < _OF_A_CROWD).any():
            found += self._in_squares(photo, _CLOSEST)
        return [Face(float(x), float(y), float(height)) for x, y, _, height in found.each_once()]

    def _in_squares(self, photo: Rgb, closer: float) -> "_Found":
        height, width = photo.shape[:2]
        unit = max(width, height)
        found = _Found.nothing()
        for left, top, side in _squares(width, height, closer):
            square = photo[top : top + side, left : left + side]
            near = self._far_faces(square)
            near = near.of(_is_whole(near.boxes, square, at=(left, top), of=photo))
            scale = np.float32(max(square.shape[:2]) / unit)
            found += _Found(near.boxes * scale + np.array([left / unit, top / unit, 0, 0], np.float32), near.logits)
        return found

    def _far_faces(self, photo: Rgb) -> "_Found":
        boxes, logits = self._far.look(photo)
        rows, columns = np.divmod(np.arange(_CELLS**2), _CELLS)
        boxes[:, :2] += (np.stack((columns, rows), 1) + 0.5) / _CELLS
        possible = np.isfinite(boxes).all(1) & (boxes[:, 2:4] > 0).all(1)
        return _Found(boxes[:, :4] * self._far.scale(photo), logits).of(possible & (logits >= _MIN_LOGIT))


@dataclass(frozen=True, slots=True)
class _Found:
    """Boxes of far faces, and how sure each is."""

    boxes: Boxes
    logits: Logits

    @classmethod
    def nothing(cls) -> Self:
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32))

    def __add__(self, other: "_Found") -> "_Found":
        return _Found(np.concatenate((self.boxes, other.boxes)), np.concatenate((self.logits, other.logits)))

    def of(self, chosen: npt.NDArray[np.bool_]) -> "_Found":
        return _Found(self.boxes[chosen], self.logits[chosen])

    def each_once(self) -> list[Boxes]:
        """The surest box of every face (non-maximum suppression), the surest first."""
        kept: list[Boxes] = []
        for box in self.boxes[np.argsort(-self.logits, kind="stable")]:
            if not any(_are_of_one_face(box, other) for other in kept):
                kept.append(box)
        return kept


class _Eye:
    """A compiled net."""

    def __init__(self, net: Net) -> None:
        _require(net)
        self._side = net.side
        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        try:  # for one thread, since it is too small for more
            self._request = core().compile_model(net.file, "CPU", properties).create_infer_request()
        except (RuntimeError, MemoryError) as error:
            raise translated(error, "The face detector cannot be opened") from error
        self.look(np.zeros((net.side, net.side, 3), np.uint8))

    def look(self, photo: Rgb) -> tuple[Boxes, Logits]:
        """All that the net tells of a photo, (n, 16) as shares of the side of its square, and how sure it is, (n,)."""
        try:
            self._request.infer({0: _seen(photo, self._side)}, share_inputs=True)
        except (RuntimeError, MemoryError) as error:
            raise translated(error, "The face detector failed") from error
        boxes, logits = (self._request.get_output_tensor(index).data[0] for index in (0, 1))
        return boxes / np.float32(self._side), logits[:, 0].copy()

    def scale(self, photo: Rgb) -> np.float32:
        """Return how many times as long as the photo, as it is seen, the square is: a small photo does not fill it."""
        return np.float32(max(1.0, self._side / max(photo.shape[:2])))


def _seen(photo: Rgb, side: int) -> npt.NDArray[np.float32]:
    """The photo in a corner of a black square, (1, side, side, 3) in -1..1."""
    width, height = fit((photo.shape[1], photo.shape[0]), side)
    small = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = np.full((1, side, side, 3), -1, np.float32)
    square[0, :height, :width] = np.asarray(small, np.float32) / 127.5 - 1
    return square


def _squares(width: int, height: int, closer: float) -> Iterator[tuple[int, int, int]]:
    """The left, top and side, in pixels, of squares that cover a photo and overlap; smaller ones in a long photo."""
    long, short = max(width, height), min(width, height)
    side = math.ceil(min(1.0, max(short / long * _CLOSER, _MIN_SQUARE)) * long / closer)
    for top in _starts(height, side):
        for left in _starts(width, side):
            yield left, top, side


def _starts(length: int, side: int) -> list[int]:
    steps = max(0, math.ceil((length - side) / (side * (1 - _OVERLAP)) - 0.1))
    return [round(step * (length - side) / steps) for step in range(steps + 1)] if steps else [0]


def _is_whole(boxes: Boxes, square: Rgb, *, at: tuple[int, int], of: Rgb) -> npt.NDArray[np.bool_]:
    """Tell which boxes in a square of a photo are of faces that its sides do not cut, and small enough to be sure."""
    unit = max(square.shape[:2])
    small = boxes[:, _HEIGHT] < _OVERLAP
    for axis, start, length, whole in zip((0, 1), at, square.shape[1::-1], of.shape[1::-1], strict=True):
        half = boxes[:, 2 + axis] / 2
        small &= (boxes[:, axis] > half) | (start == 0)
        small &= (boxes[:, axis] + half < length / unit) | (start + length >= whole)
    return small


def _are_of_one_face(box: Boxes, other: Boxes) -> bool:
    low = np.maximum(box[:2] - box[2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, other[:2] + other[2:] / 2)
    common = float((high - low).clip(0).prod())
    area, other_area = float(box[2:].prod()), float(other[2:].prod())
    return common > _SAME * (area + other_area - common) or common > _INSIDE * min(area, other_area)
