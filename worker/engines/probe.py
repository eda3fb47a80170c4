"""A small picture that every artefact carries, with what the reference engine made of it.

A runtime may be wrong on a machine and say nothing: OpenVINO with a bfloat16 hint on a CPU limited to AVX2 returns at
once, with garbage. So every engine but the reference draws the probe before anything else.
"""

from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from shared import pipeline
from shared.drawing import Engine, ignore_progress
from shared.engines import EngineName
from shared.errors import EngineError
from shared.photos.decoding import Rgb
from shared.styles import BUNDLED_WEIGHTS

_PROBE, _REFERENCE = "probe.png", "reference.png"
PHOTO: Final = BUNDLED_WEIGHTS / "hinata-light.webp"
_SIDE: Final = 160
MIN_PSNR_DB: Final = {
    EngineName.TORCH: 50.0,
    EngineName.ONNXRUNTIME: 50.0,
    EngineName.OPENVINO: 50.0,
    EngineName.OPENVINO_F16: 40.0,
    EngineName.OPENVINO_BF16: 35.0,
    EngineName.OPENVINO_INT8: 27.0,
    EngineName.OPENVINO_INT8_BF16: 27.0,
}


def write_probe(reference: Engine, folder: Path) -> None:
    """Draw the probe with the reference engine and keep both."""
    with Image.open(PHOTO) as photo:
        probe = np.asarray(photo.convert("RGB").resize((_SIDE, _SIDE - 16), Image.Resampling.LANCZOS))
    Image.fromarray(probe).save(folder / _PROBE)
    Image.fromarray(draw(reference, probe)).save(folder / _REFERENCE)


def check(engine: Engine, name: EngineName, folder: Path) -> None:
    """Let an engine draw the probe.

    Raises:
        EngineError: the picture is not the reference's.
    """
    probe, reference = _read(folder, _PROBE), _read(folder, _REFERENCE)
    found = psnr_db(draw(engine, probe), reference)
    if found < MIN_PSNR_DB[name]:
        raise EngineError(
            f"The engine {name} draws wrong pictures on this machine: {found:.1f} dB against the reference, "
            f"at least {MIN_PSNR_DB[name]:g} is required. Choose another with SAKUGA_ENGINE, or run `sakuga tune`."
        )


def _read(folder: Path, file: str) -> Rgb:
    try:
        with Image.open(folder / file) as image:
            return np.asarray(image)
    except OSError as error:
        raise EngineError("An engine's artefact cannot be read; it is rebuilt on next use.") from error


def draw(engine: Engine, photo: Rgb) -> Rgb:
    """The picture of a photo, both (H, W, 3) 8-bit."""
    prepared, box = pipeline.preprocess(photo, engine)
    return pipeline.postprocess(engine.generate(prepared, ignore_progress), box)


def psnr_db(picture: Rgb, reference: Rgb) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures in decibels; 99 for equal ones."""
    error = float(np.mean((picture.astype(np.float32) - reference) ** 2))
    return min(99.0, 10 * float(np.log10(255**2 / max(error, 1e-9))))
