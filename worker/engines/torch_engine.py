"""The reference engine: the torch module itself, fp32, channels last."""

from typing import Final

import torch
from torch import nn

from shared.drawing import ProgressCallback, Tensor, ignore_progress
from shared.styles import Size
from worker.engines.base import DrawingEngine
from worker.generator import AnimeGanV2, LightGenerator

ACTIVATION_BYTES: Final = {Size.FULL: 1350, Size.LIGHT: 420}  # per pixel at the peak


class TorchEngine(DrawingEngine):
    """Runs the torch module; it is as many threads as torch has been given."""

    resident_bytes = 465 << 20

    def __init__(self, generator: AnimeGanV2 | LightGenerator, *, memory: int) -> None:
        """Take over `generator`, which is turned to channels last; the process is to stay within `memory` bytes."""
        size = Size.FULL if isinstance(generator, AnimeGanV2) else Size.LIGHT
        super().__init__(size, memory=memory, activation_bytes=ACTIVATION_BYTES[size])
        self._generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._report: ProgressCallback = ignore_progress
        self._convolutions = [module for module in generator.modules() if isinstance(module, nn.Conv2d)]
        self._begun = 0
        for convolution in self._convolutions:
            convolution.register_forward_pre_hook(self._before)

    def _run(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        self._report, self._begun = report, 0
        tensor = torch.from_numpy(photo).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self._generator(tensor).numpy()  # type: ignore[no-any-return]

    def _before(self, *_: object) -> None:
        """Tell before every convolution how many of them are done, which may raise."""
        self._report(self._begun / len(self._convolutions))
        self._begun += 1
