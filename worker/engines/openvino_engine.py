"""OpenVINO on the CPU, in single, half or 8 bit precision.

Imported by `worker.model_loader` and, to make artefacts, by `worker.engines.build`. A `Core` is made in the child.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import openvino

from shared.engines import EngineName
from shared.pipeline import Tensor, Told
from shared.settings import MAX_SIDE_DEFAULT
from shared.styles import Size
from worker.engines.base import DrawingEngine

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "model.xml"
HINTS: Final = {
    EngineName.OPENVINO: "f32",
    EngineName.OPENVINO_BF16: "bf16",
    EngineName.OPENVINO_F16: "f16",
    EngineName.OPENVINO_INT8: "f32",
    EngineName.OPENVINO_INT8_BF16: "bf16",
}
ACTIVATION_BYTES: Final = {  # per pixel at the peak
    (EngineName.OPENVINO, Size.FULL): 1250,
    (EngineName.OPENVINO, Size.LIGHT): 1000,
    (EngineName.OPENVINO_BF16, Size.FULL): 680,
    (EngineName.OPENVINO_BF16, Size.LIGHT): 550,
    (EngineName.OPENVINO_F16, Size.FULL): 680,
    (EngineName.OPENVINO_F16, Size.LIGHT): 550,
    (EngineName.OPENVINO_INT8, Size.FULL): 750,
    (EngineName.OPENVINO_INT8, Size.LIGHT): 400,
    (EngineName.OPENVINO_INT8_BF16, Size.FULL): 430,
    (EngineName.OPENVINO_INT8_BF16, Size.LIGHT): 400,
}
TELL_EVERY_MS = 500
KEPT_PIXELS = (MAX_SIDE_DEFAULT + 64) ** 2  # the memory of a picture above this is given back after it


class OpenVinoEngine(DrawingEngine):
    """Runs a compiled model, and stops within it when told to."""

    resident_bytes = 150 << 20

    def __init__(self, artefact: Path, size: Size, name: EngineName, *, threads: int, memory: int) -> None:
        """Compile the model in the folder `artefact`; the process is to stay within `memory` bytes."""
        super().__init__(size, memory=memory, activation_bytes=ACTIVATION_BYTES[name, size])
        self._compile: Callable[[], openvino.CompiledModel] = partial(
            openvino.Core().compile_model,
            artefact / MODEL,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": HINTS[name],
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,  # every process of a node would pin itself to the same core
            },
        )
        self._s_per_pixel = 0.0
        self._open()

    def _run(self, photo: Tensor, tell: Told) -> Tensor:
        pixels = photo[0, 0].size
        expected_s, started = self._s_per_pixel * pixels, perf_counter()
        try:
            self._request.start_async({0: photo}, share_inputs=True)
            while not self._request.wait_for(TELL_EVERY_MS):
                tell(min(0.95, (perf_counter() - started) / expected_s) if expected_s else 0.0)
        except BaseException:  # a time limit may come at any moment
            self._start_afresh()
            raise
        self._s_per_pixel = (perf_counter() - started) / pixels
        picture: Tensor = self._request.get_output_tensor(0).data.copy()
        if pixels > KEPT_PIXELS:
            self._compiled.release_memory()
        return picture

    def _start_afresh(self) -> None:
        """Drop the picture in hand, and the compiled model with it.

        Its nodes up to where it stopped hold the shapes of that picture, the others those of the one before, and none
        asks again while its own input stays the same: the next picture would fail, or come out wrong.
        """
        self._request.cancel()
        with suppress(RuntimeError):  # which says that it was canceled
            self._request.wait()
        self._open()

    def _open(self) -> None:
        self._compiled = self._compile()
        self._request = self._compiled.create_infer_request()
