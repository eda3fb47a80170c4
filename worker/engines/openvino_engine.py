"""OpenVINO on the CPU, in single, half or 8-bit precision.

A `Core` is made in the child.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final

import openvino

from shared.drawing import ProgressCallback, Tensor
from shared.engines import EngineName
from shared.styles import Size
from worker.engines.base import DrawingEngine
from worker.engines.openvino_core import core

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
    (EngineName.OPENVINO, Size.LIGHT): 250,
    (EngineName.OPENVINO_BF16, Size.FULL): 680,
    (EngineName.OPENVINO_BF16, Size.LIGHT): 220,
    (EngineName.OPENVINO_F16, Size.FULL): 680,
    (EngineName.OPENVINO_F16, Size.LIGHT): 220,
    (EngineName.OPENVINO_INT8, Size.FULL): 750,
    (EngineName.OPENVINO_INT8, Size.LIGHT): 250,
    (EngineName.OPENVINO_INT8_BF16, Size.FULL): 430,
    (EngineName.OPENVINO_INT8_BF16, Size.LIGHT): 250,
}
KEPT_PIXELS = (640 + 64) ** 2  # of a square where styles are drawn; the memory of a larger one is given back after it


class OpenVinoEngine(DrawingEngine):
    """Runs a compiled model, and stops within it when told to."""

    resident_bytes = 190 << 20

    def __init__(self, artefact: Path, size: Size, name: EngineName, *, threads: int, memory: int) -> None:
        """Compile the model in the folder `artefact`; the process is to stay within `memory` bytes."""
        super().__init__(size, memory=memory, activation_bytes=ACTIVATION_BYTES[name, size])
        self._core = core()
        self._model = self._core.read_model(artefact / MODEL)  # kept: its file may be gone when it is compiled again
        self._properties = {
            "INFERENCE_PRECISION_HINT": HINTS[name],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # every process of a node would pin itself to the same core
        }
        self._compiled: openvino.CompiledModel | None = None
        self._request: openvino.InferRequest | None = None
        self._compile()

    def rest(self) -> None:
        if self._compiled:
            self._compiled.release_memory()

    def _run(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        request = self._request or self._compile()
        pixels = photo[0, 0].size
        try:
            request.start_async({0: photo}, share_inputs=True)
            self._await(lambda seconds: request.wait_for(round(seconds * 1000)), pixels, report)
        except BaseException:  # a time limit may come at any moment
            self._drop(request)
            raise
        picture: Tensor = request.get_output_tensor(0).data.copy()
        if pixels > KEPT_PIXELS:
            self.rest()
        return picture

    def _compile(self) -> openvino.InferRequest:
        compiled = self._core.compile_model(self._model, "CPU", self._properties)
        self._compiled, self._request = compiled, compiled.create_infer_request()
        return self._request

    def _drop(self, request: openvino.InferRequest) -> None:
        """Drop the current picture, and the compiled model with it; the next picture compiles it again.

        Its nodes up to where it stopped hold the shapes of that picture, the others those of the one before, and none
        asks again while its own input stays the same: the next picture would fail, or come out wrong.
        """
        self._compiled = self._request = None
        request.cancel()
        with suppress(RuntimeError):  # which says that it was canceled
            request.wait()
