"""onnxruntime, fp32. A session made before a fork hangs in the child after it: make engines in the child.

Imported by `worker.model_loader` and, to make artefacts, by `worker.engines.build`.
"""

from pathlib import Path
from typing import Final

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as raised

from shared.pipeline import Tensor, Told
from shared.styles import Size
from worker.engines.base import DrawingEngine

MODEL = "model.onnx"
ACTIVATION_BYTES: Final = {Size.FULL: 1150, Size.LIGHT: 700}  # per pixel at the peak


class OnnxRuntimeEngine(DrawingEngine):
    """Runs an exported ONNX model."""

    resident_bytes = 150 << 20
    failures = (MemoryError, raised.Fail, raised.InvalidArgument, raised.RuntimeException)

    def __init__(self, artefact: Path, size: Size, *, threads: int, memory: int) -> None:
        """Load the model in the folder `artefact`; the process is to stay within `memory` bytes."""
        super().__init__(size, memory=memory, activation_bytes=ACTIVATION_BYTES[size])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest picture for ever
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(artefact / MODEL, options, providers=["CPUExecutionProvider"])

    def _run(self, photo: Tensor, tell: Told) -> Tensor:  # noqa: ARG002  a session runs to its end
        picture: Tensor = self._session.run(None, {"photo": photo})[0]
        return picture
