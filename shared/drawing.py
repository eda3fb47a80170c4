"""An engine, as the pipeline and the workers know it. Carries no ML runtime."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shared.photos.decoding import Rgb
from shared.small_faces import FindFaces

Tensor = npt.NDArray[np.float32]  # (1, 3, H, W), RGB in -1..1

ProgressCallback = Callable[[float], None]
"""Called with the progress, 0..1."""

FaceHeights = Callable[[Rgb], Collection[float]]
"""Tells the heights of faces in a photo, from forehead to chin, as shares of its longest side; one may come twice."""


def no_faces(_photo: Rgb) -> tuple[()]:
    """See no faces: close-ups are drawn as large as other photos, and small faces with the rest."""
    return ()


def ignore_progress(_share: float) -> None:
    """Ignore the progress."""


class Draws(Protocol):
    """The size at which something draws."""

    @property
    def drawn_at(self) -> int | None:
        """Longest side in pixels at which the style is drawn; None: at that of the picture."""
        ...

    @property
    def face_heights(self) -> FaceHeights:
        """Measures the faces of a photo, where `drawn_at` is set: close-ups are drawn smaller."""
        ...


@dataclass(frozen=True, slots=True)
class DrawnAt:
    """The size at which weights draw, without an engine."""

    drawn_at: int | None
    face_heights: FaceHeights


class Engine(Draws, Protocol):
    """A warmed generator of one style."""

    multiple: int  # height and width must be multiples of this
    margin: int  # reflected pixels wanted around the picture

    @property
    def find_faces(self) -> FindFaces | None:
        """Finds the faces of a photo, where `drawn_at` is set and small faces are drawn apart."""
        ...

    def require_room(self, size: tuple[int, int], pixel_bytes: int) -> None:
        """Refuse a picture of (width, height) pixels, of so many bytes each, for which the memory can never suffice.

        Raises:
            PictureTooLargeError: with what would fit.
        """
        ...

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        """Map (1, 3, H, W) in -1..1 to the same shape and, before clipping, range; `report` may raise to stop."""
        ...
