"""The reference engine: the torch module itself, fp32, channels last. Imported by those who want a reference."""

from typing import Final

import torch

from shared.pipeline import Tensor, Told
from shared.styles import Size
from worker.engines.base import DrawingEngine
from worker.generator import AnimeGanV2, LightGenerator

ACTIVATION_BYTES: Final = {Size.FULL: 1350, Size.LIGHT: 900}  # per pixel at the peak


class TorchEngine(DrawingEngine):
    """Runs the torch module; it is as many threads as torch has been given."""

    resident_bytes = 400 << 20

    def __init__(self, generator: AnimeGanV2 | LightGenerator, *, memory: int) -> None:
        """Take over `generator`, which is turned to channels last; the process is to stay within `memory` bytes."""
        size = Size.FULL if isinstance(generator, AnimeGanV2) else Size.LIGHT
        super().__init__(size, memory=memory, activation_bytes=ACTIVATION_BYTES[size])
        self._generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _run(self, photo: Tensor, tell: Told) -> Tensor:  # noqa: ARG002  a module runs to its end
        tensor = torch.from_numpy(photo).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self._generator(tensor).numpy()  # type: ignore[no-any-return]
