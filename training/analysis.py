"""The analysis of a training photo: faces, people and sky.

`training/analyse.py` makes it once per photo, in an environment of its own, with nets that only analyse: all that they
tell the target is where an eye, a person or the sky is.

| finds | net | by, licence |
|---|---|---|
| faces | BlazeFace (Bazarevsky et al., arXiv:1907.05047), near and far | MediaPipe 0.10.14, Google, Apache-2.0 |
| 478 points of a face | Attention Mesh (Grishchenko et al., arXiv:2006.10962) | MediaPipe 0.10.14, Google, Apache-2.0 |
| people | Selfie Segmentation | MediaPipe 0.10.14, Google, Apache-2.0 |
| sky | U2-Net, small (Qin et al., arXiv:2005.09007), run by ncnn (Tencent, BSD-3-Clause) | xiongzhu666, MIT |

MediaPipe's nets come in its wheel. The sky net is `skysegsmall_sim-opt-fp16.param` and `.bin` of
github.com/xiongzhu666/Sky-Segmentation-and-Post-processing, commit 1f7811b32b64ddc957269defff84bc87a3f0b74f; its author
does not say which pictures it was trained on. Without it, a simple rule of our own finds the sky.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from shared.files import file_sha256

MESH_POINTS = 478
MIN_SEEN_FACE = 1 / 7  # of a photo's longest side; the detector of `worker/engines/faces.py` misses smaller ones

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Faces (N, 478, 2) as x and y in units of the photo, 0..1, the largest first; soft masks (H, W) in 0..1."""

    faces: npt.NDArray[np.float32]
    person: Plane
    sky: Plane

    def face_heights(self, size: tuple[int, int]) -> list[float]:
        """The heights of faces, from forehead to chin, as shares of the longest side of a photo of `size` (w, h), 0..1.

        Those that the detector of the service would miss are left out, so that photos get the size at which the service
        draws them.
        """
        heights = (float(np.ptp(face[:, 1])) * size[1] / max(size) for face in self.faces)
        return [min(height, 1.0) for height in heights if height > MIN_SEEN_FACE]


def nothing_found(height: int, width: int) -> Analysis:
    """Return the analysis of a photo without faces, people or sky."""
    nowhere = np.zeros((height, width), np.float32)
    return Analysis(np.zeros((0, MESH_POINTS, 2), np.float32), nowhere, nowhere.copy())


def read_analysis(folder: Path, photo: Path, size: tuple[int, int]) -> Analysis:
    """Read what was found in a photo, with masks of `size` (height, width) pixels.

    Raises:
        FileNotFoundError: the photo has not been analysed in its present form.
    """
    path = folder / f"{content_key(photo)}.npz"
    if not path.exists():
        raise FileNotFoundError(f"{photo}: has no analysis in {folder}; see training/analyse.py")
    with np.load(path) as planes:
        faces = np.asarray(planes["faces"], np.float32)
        return Analysis(faces, _mask(planes["person"], size), _mask(planes["sky"], size))


def content_key(photo: Path) -> str:
    """Return the name of a photo's analysis, which depends on its content alone."""
    return file_sha256(photo)[:16]


def _mask(stored: npt.NDArray[np.uint8], size: tuple[int, int]) -> Plane:
    height, width = size
    method = cv2.INTER_AREA if height < stored.shape[0] else cv2.INTER_LINEAR
    mask = cv2.resize(stored.astype(np.float32) / 255, (width, height), interpolation=method)
    return np.asarray(np.clip(mask, 0, 1), np.float32)
