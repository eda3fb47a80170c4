"""onnxruntime, fp32. A session made before a fork hangs in the child after it: make engines in the child."""

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as raised

from shared.drawing import ProgressCallback, Tensor
from shared.styles import Size
from worker.engines.base import DrawingEngine

MODEL = "model.onnx"
ACTIVATION_BYTES: Final = {Size.FULL: 1150, Size.LIGHT: 300}  # per pixel at the peak
FAILURES: Final = tuple(
    error for error in vars(raised).values() if isinstance(error, type) and issubclass(error, Exception)
)


class OnnxRuntimeEngine(DrawingEngine):
    """Runs an exported ONNX model, and stops between its layers when told to."""

    resident_bytes = 215 << 20
    failures = (MemoryError, *FAILURES)

    def __init__(self, artefact: Path, size: Size, *, threads: int, memory: int) -> None:
        """Load the model in the folder `artefact`; the process is to stay within `memory` bytes."""
        super().__init__(size, memory=memory, activation_bytes=ACTIVATION_BYTES[size])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_cpu_mem_arena = False  # it would keep the memory of the largest picture forever
        options.log_severity_level = 4  # what is fatal; the rest is raised, and a stop is no error
        self._session = onnxruntime.InferenceSession(artefact / MODEL, options, providers=["CPUExecutionProvider"])
        self._runner = ThreadPoolExecutor(1)  # so that this thread handles signals meanwhile

    def _run(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        options = onnxruntime.RunOptions()
        try:
            running = self._runner.submit(self._session.run, None, {"photo": photo}, options)
            self._await(lambda seconds: bool(wait([running], seconds).done), photo[0, 0].size, report)
        except BaseException:  # a time limit may come at any moment
            options.terminate = True
            wait([self._runner.submit(int)])  # whose turn comes when the run has ended
            raise
        picture: Tensor = running.result()[0]
        return picture
