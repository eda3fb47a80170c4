"""The common base of engines: strips of large pictures, the memory limit, progress, translated errors."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, Final

import numpy as np

from shared.drawing import FaceHeights, ProgressCallback, Tensor, ignore_progress
from shared.errors import EngineError, PictureTooLargeError, SakugaError, UnavailableError
from shared.photos.formats import MAX_SIDE_MIN
from shared.pipeline import preprocess
from shared.small_faces import FindFaces
from shared.styles import Size

PLENTY = 1 << 40  # bytes: where memory is no matter
LOWEST_STRIP = 64  # rows; below, nearly all work would go into the overlap
PICTURE_BYTES = 64  # per pixel of a whole picture: the photo, the tensors in and out
REPORT_EVERY_S: Final = 0.5
_SHORT_OF_MEMORY: Final = re.compile(r"alloc|out of memory|not enough memory", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The requirements of a generator on its pictures, in pixels.

    Height and width must be multiples of `multiple`; `margin` reflected pixels around a picture let its border be drawn
    like its middle; `halo` is how far around a part its drawing depends on, None for the whole picture.
    """

    multiple: int
    margin: int
    halo: int | None


GEOMETRY = {
    Size.FULL: Geometry(multiple=4, margin=0, halo=None),  # GroupNorm takes its statistics over the whole picture
    Size.LIGHT: Geometry(multiple=32, margin=16, halo=512),  # the receptive field is 504 to its farther side
}


def translated(error: Exception, what: str) -> SakugaError:
    """Translate a runtime's error; with too little memory a retry, or another node, may succeed."""
    if isinstance(error, MemoryError) or _SHORT_OF_MEMORY.search(str(error)):
        return UnavailableError("There is not enough memory at the moment.")
    return EngineError(f"{what}; the cause is in the log of the service.")


def _of_strip(report: ProgressCallback, before: float, share: float) -> ProgressCallback:
    """Return the callback for a strip that is `share` of the picture, which reports the progress of the picture."""
    return lambda done: report(min(1.0, before + done * share))


def _smaller(size: tuple[int, int], pixels: float) -> str:
    """Advise a max_side at which a picture of this shape has no more than so many pixels."""
    side = int(max(size) * math.sqrt(pixels / (size[0] * size[1])))
    return f"choose a max_side of at most {side}" if side >= MAX_SIDE_MIN else "choose a smaller max_side"


class DrawingEngine(ABC):
    """A generator in the process that made it; make one per process, after the fork."""

    drawn_at: int | None = None  # as the style has it
    face_heights: FaceHeights  # set where `drawn_at` is
    find_faces: FindFaces | None = None  # where small faces are drawn apart
    resident_bytes: ClassVar[int]  # interpreter, runtime, weights and face detectors
    failures: ClassVar[tuple[type[Exception], ...]] = (RuntimeError, MemoryError)  # what the runtime raises

    def __init__(self, size: Size, *, memory: int, activation_bytes: int) -> None:
        """Draw with a generator of `size`, which takes `activation_bytes` per pixel at its peak.

        The process is to stay within `memory` bytes.
        """
        geometry = GEOMETRY[size]
        self.multiple, self.margin, self._halo = geometry.multiple, geometry.margin, geometry.halo
        self.activation_bytes = activation_bytes
        self._memory = memory - self.resident_bytes
        self._s_per_pixel = 0.0

    def draw_at(self, side: int, face_heights: FaceHeights, find_faces: FindFaces | None = None) -> None:
        """Have photos drawn at a longest side of `side` pixels, close-ups smaller, small faces apart."""
        self.drawn_at, self.face_heights, self.find_faces = side, face_heights, find_faces

    def require_room(self, size: tuple[int, int], pixel_bytes: int) -> None:
        """Refuse a picture of (width, height) pixels, of so many bytes each, for which the memory can never suffice.

        Raises:
            PictureTooLargeError: with what would fit.
        """
        if self.drawn_at is None and self._halo is None:
            self._require_whole(size)
        most = max(0.0, self._memory / pixel_bytes)
        if size[0] * size[1] > most:
            raise PictureTooLargeError(
                f"Memory suffices for pictures of up to {most / 1e6:.2f} megapixels; {_smaller(size, most)}."
            )

    def generate(self, photo: Tensor, report: ProgressCallback = ignore_progress) -> Tensor:
        """Run the network on (1, 3, H, W) in -1..1; H and W are multiples of `multiple`.

        `report` is called with the share that is done, now and then, and may raise to stop; the engine then draws the
        next picture as if nothing had happened.

        Raises:
            PictureTooLargeError: the memory of this process can never do it.
            UnavailableError: there is not enough memory now; another try may have it.
            EngineError: the runtime failed.
        """
        if self._halo is None:
            height, width = photo.shape[2:]
            self._require_whole((width, height))
            return self._translated(photo, report)
        return self._in_strips(photo, self._halo, report)

    def warm(self, side: int) -> None:
        """Run once at the usual size, so that the first photo does not pay for what is made on first use."""
        black, _ = preprocess(np.zeros((side, side, 3), np.uint8), self)
        with suppress(PictureTooLargeError):  # then photos are told so; smaller ones are drawn
            self.generate(black)

    def rest(self) -> None:  # noqa: B027  most runtimes keep nothing
        """Release the memory that only drawing needs: another style is drawn next."""

    @abstractmethod
    def _run(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        """Run the network once, on a picture or a strip of one."""

    def _await(self, is_done: Callable[[float], bool], pixels: int, report: ProgressCallback) -> None:
        """Wait for a run over so many pixels and tell the share by the last pace; `is_done` waits for some seconds."""
        expected_s, started = self._s_per_pixel * pixels, perf_counter()
        while not is_done(REPORT_EVERY_S):
            report(min(0.95, (perf_counter() - started) / expected_s) if expected_s else 0.0)
        self._s_per_pixel = (perf_counter() - started) / pixels

    def _translated(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        try:
            return self._run(photo, report)
        except self.failures as error:
            raise translated(error, "The engine failed") from error

    def _require_whole(self, size: tuple[int, int]) -> None:
        if size[0] * size[1] > self._max_pixels():
            raise self._too_large(size)

    def _max_pixels(self) -> float:
        return max(0.0, self._memory / (self.activation_bytes + PICTURE_BYTES))

    def _too_large(self, size: tuple[int, int]) -> PictureTooLargeError:
        """Return the error for a picture of (width, height) that cannot be drawn in one piece."""
        # Where a style draws at one size, max_side changes nothing of what is drawn.
        if self._halo is None:
            smaller = "" if self.drawn_at else f"{_smaller(size, self._max_pixels())} or "
            advice = f"{smaller}a light style" if smaller else "choose a light style"
        else:  # it is a light one
            advice = "the operator can give processes more memory" if self.drawn_at else "choose a smaller max_side"
        return PictureTooLargeError(
            f"Memory suffices for up to {self._max_pixels() / 1e6:.2f} megapixels in this style; {advice}."
        )

    def _in_strips(self, photo: Tensor, halo: int, report: ProgressCallback) -> Tensor:
        """Draw strips of rows that overlap by what they depend on: the same picture in less memory."""
        height, width = photo.shape[2:]
        rows = self._strip_rows(height, width, halo)
        strips: list[Tensor] = []
        for top in range(0, height, rows):
            if top:
                report(top / height)
            start, end = max(0, top - halo), min(height, top + rows + halo)
            drawn = self._translated(photo[:, :, start:end], _of_strip(report, top / height, rows / height))
            strips.append(drawn[:, :, top - start : top - start + rows])
        return np.concatenate(strips, axis=2) if len(strips) > 1 else strips[0]

    def _strip_rows(self, height: int, width: int, halo: int) -> int:
        """The whole picture where it fits the memory, else as many rows as fit with the halo on both sides.

        Raises:
            PictureTooLargeError: not even the lowest strip fits.
        """
        fitting = int((self._memory - PICTURE_BYTES * height * width) / self.activation_bytes / width)
        if height <= fitting:
            return height
        if fitting < LOWEST_STRIP + 2 * halo:
            raise self._too_large((width, height))
        return (fitting - 2 * halo) // self.multiple * self.multiple
