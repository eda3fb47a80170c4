"""From verified weights to a resident, warmed engine in every worker process.

The parent loads weights and never runs them: a convolution run on two threads before the fork hangs in the child after
it. Each child builds its engine and warms it. Imported by `worker` and `cli`.
"""

import gc
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog
import torch

from shared.settings import MAX_SIDE_DEFAULT
from shared.styles import Style
from worker.engines.torch_engine import TorchEngine
from worker.weights import load_generator

if TYPE_CHECKING:
    from worker.generator import AnimeGanV2, LightGenerator

log = structlog.get_logger()


class ModelLoader:
    """Loads each style once per process and keeps it."""

    def __init__(self, styles: Mapping[str, Style], *, threads: int, memory: int) -> None:
        """Serve `styles` with `threads` threads and `memory` bytes of this process."""
        self._styles = styles
        self._threads = threads
        self._memory = memory
        self._generators: dict[str, AnimeGanV2 | LightGenerator] = {}
        self._engines: dict[str, TorchEngine] = {}

    def preload(self, name: str) -> None:
        """Load a style's weights in the parent, so that children share the memory. Runs nothing.

        Raises:
            SakugaError: there is no such style, or its weights cannot be used.
        """
        # Any operation on two threads, were it only a check for NaN, would hang the children's first convolution.
        torch.set_num_threads(1)
        generator = load_generator(self._styles[name])
        # the layout of the engine, here already: what a child rearranges it no longer shares
        self._generators[name] = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        gc.collect()
        gc.freeze()

    def engine(self, name: str) -> TorchEngine:
        """The warmed engine of a style, made when this process first asks for it.

        Raises:
            SakugaError: there is no such style, or its weights cannot be used.
        """
        if name not in self._engines:
            torch.set_num_threads(self._threads)
            generator = self._generators.pop(name, None) or load_generator(self._styles[name])
            engine = TorchEngine(generator, memory=self._memory)
            engine.warm(MAX_SIDE_DEFAULT)
            self._engines[name] = engine
            log.info("engine warm", style=name, threads=self._threads)
        return self._engines[name]
