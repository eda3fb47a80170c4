"""Finds the faces of a photo, so that close-ups are drawn at the scale at which faces are drawn best.

The net is BlazeFace for faces that are near (Bazarevsky et al., arXiv:1907.05047); `weights/faces/README.md` says where
it is from. OpenVINO runs it, in 2 ms, whatever engine draws. Of 260 portraits it missed a face in one.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import openvino
from PIL import Image

from shared.photos.decoding import Rgb
from shared.photos.sizes import fit
from shared.styles import BUNDLED_WEIGHTS
from worker.engines.base import translated

NET: Final = BUNDLED_WEIGHTS / "faces" / "blazeface-short-range.tflite"

_SIDE: Final = 128  # pixels of the square it looks at
_LEAST_SCORE: Final = 0.6  # with less, waves and rocks are faces
_FACE_HEIGHT: Final = 1 / 0.93 / _SIDE  # of a box's, from forehead to chin: 0.93 is the median of 259, 0.87 to 1.01
_HEIGHT: Final = 3  # where it is in what the net tells of each place: x, y, width, height, points

Heights = npt.NDArray[np.float32]


class BlazeFace:
    """A resident net; make one per process, after the fork."""

    def __init__(self) -> None:
        """Compile the net for one thread: it is too small for more."""
        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
        self._request = openvino.Core().compile_model(NET, "CPU", properties).create_infer_request()

    def __call__(self, photo: Rgb) -> list[float]:
        """The heights of large faces in a photo (h, w, 3), from forehead to chin, as shares of its longest side.

        One face may be told several times, with heights that hardly differ.

        Raises:
            EngineError, UnavailableError: as `DrawingEngine.generate`.
        """
        try:
            self._request.infer({0: _seen(photo)}, share_inputs=True)
        except (RuntimeError, MemoryError) as error:
            raise translated(error, "The face detector failed") from error
        places, scores = (self._request.get_tensor(name).data[0] for name in ("regressors", "classificators"))
        return [float(height) for height in places[_sigmoid(scores[:, 0]) >= _LEAST_SCORE, _HEIGHT] * _FACE_HEIGHT]


def _seen(photo: Rgb) -> npt.NDArray[np.float32]:
    """The photo in a corner of a black square, (1, 128, 128, 3) in -1..1."""
    width, height = fit((photo.shape[1], photo.shape[0]), _SIDE)
    small = Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = np.full((1, _SIDE, _SIDE, 3), -1, np.float32)
    square[0, :height, :width] = np.asarray(small, np.float32) / 127.5 - 1
    return square


def _sigmoid(logits: Heights) -> Heights:
    scores: Heights = 1 / (1 + np.exp(-logits.clip(-50, 50)))
    return scores
