"""The face detector: it measures the faces in a photo, so that close-ups are drawn smaller.

It is BlazeFace for near faces (Bazarevsky et al., arXiv:1907.05047), run by OpenVINO whatever engine draws;
`weights/faces/README.md` says where it is from, and `docs/decisions/0017-close-ups.md` how well it works.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import openvino
from PIL import Image

from shared.errors import WeightsError
from shared.files import file_sha256
from shared.photos.decoding import Rgb
from shared.photos.sizes import fit
from shared.styles import BUNDLED_WEIGHTS
from worker.engines.base import translated

NET: Final = BUNDLED_WEIGHTS / "faces" / "blazeface-short-range.tflite"
SHA256: Final = "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"

_SIDE: Final = 128  # pixels of the square it looks at
_LEAST_LOGIT: Final = math.log(0.6 / 0.4)  # of a score of 0.6; with less, waves and rocks are faces
_FEWEST: Final = 2  # boxes that agree on a face; a face that is none seldom has more than one
_AGREEMENT: Final = 0.15  # of the height of boxes that agree
_BOX: Final = 0.93  # of the height of a face, from forehead to chin
_HEIGHT: Final = 3  # where the height is in what the net tells of a box: x, y, width, height, points
_HEIGHTS: Final = (0.05, 1.0)  # that are possible


def require_detector() -> None:
    """Check the detector's file without running it.

    Raises:
        WeightsError: it is missing or damaged.
    """
    try:
        digest = file_sha256(NET)
    except OSError as error:
        raise WeightsError(f"The face detector cannot be read: {error.strerror}. Install Sakuga again.") from error
    if digest != SHA256:
        raise WeightsError("The face detector's file is damaged. Install Sakuga again.")


class FaceDetector:
    """A resident net; make one per process, after the fork."""

    def __init__(self) -> None:
        """Compile the net for one thread, since it is too small for more, and run it once.

        Raises:
            WeightsError: its file is missing or damaged.
            EngineError, UnavailableError: as `face_heights`.
        """
        require_detector()
        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        try:
            self._request = openvino.Core().compile_model(NET, "CPU", properties).create_infer_request()
        except (RuntimeError, MemoryError) as error:
            raise translated(error, "The face detector cannot be opened") from error
        self.face_heights(np.zeros((_SIDE, _SIDE, 3), np.uint8))

    def face_heights(self, photo: Rgb) -> list[float]:
        """The heights of near faces in a photo (h, w, 3), from forehead to chin, as shares of its longest side, 0..1.

        One face may be told several times, with heights that hardly differ. Faces below a seventh of the longest side
        are not seen.

        Raises:
            UnavailableError: there is not enough memory now; another try may have it.
            EngineError: the runtime failed.
        """
        try:
            self._request.infer({0: _seen(photo)}, share_inputs=True)
        except (RuntimeError, MemoryError) as error:
            raise translated(error, "The face detector failed") from error
        boxes, logits = (self._request.get_tensor(name).data[0] for name in ("regressors", "classificators"))
        heights = boxes[logits[:, 0] >= _LEAST_LOGIT, _HEIGHT] / (_BOX * _SIDE)
        agreeing = np.abs(heights[:, None] - heights) < _AGREEMENT * np.abs(heights)
        sure = heights[(agreeing.sum(1) >= _FEWEST) & (heights > _HEIGHTS[0])].clip(max=_HEIGHTS[1])
        return [float(height) for height in sure]


def _seen(photo: Rgb) -> npt.NDArray[np.float32]:
    """The photo in a corner of a black square, (1, 128, 128, 3) in -1..1."""
    width, height = fit((photo.shape[1], photo.shape[0]), _SIDE)
    small = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = np.full((1, _SIDE, _SIDE, 3), -1, np.float32)
    square[0, :height, :width] = np.asarray(small, np.float32) / 127.5 - 1
    return square
