"""The engines a worker can draw with, by the names operators use. Carries no ML runtime."""

from enum import StrEnum


class EngineName(StrEnum):
    """A runtime and the precision it computes in; without one, single precision."""

    TORCH = "torch"  # the reference
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    OPENVINO_BF16 = "openvino-bf16"
    OPENVINO_F16 = "openvino-f16"
    OPENVINO_INT8 = "openvino-int8"  # convolutions in 8 bit, the rest in single precision
    OPENVINO_INT8_BF16 = "openvino-int8-bf16"  # convolutions in 8 bit, the rest in bfloat16

    @property
    def runtime(self) -> str:
        """The Python package that runs it."""
        return self.partition("-")[0]

    @property
    def is_quantised(self) -> bool:
        return "int8" in self
