"""From verified weights to a resident, warmed engine in every worker process.

The parent prepares what its children share and runs nothing: a convolution run on two threads before the fork hangs in
the child after it. Each child opens its engine, lets it draw the probe, and warms it. Imported by `worker` and `cli`.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from shared.engines import EngineName
from shared.errors import EngineError, WeightsError
from shared.settings import MAX_SIDE_DEFAULT, Settings
from shared.styles import Style
from worker.choice import candidates
from worker.engines.artefacts import Artefacts, open_artefact
from worker.engines.base import DrawingEngine

if TYPE_CHECKING:
    from worker.generator import AnimeGanV2, LightGenerator

log = structlog.get_logger()


class ModelLoader:
    """Loads each style once per process and keeps it."""

    def __init__(
        self,
        styles: Mapping[str, Style],
        engines_for: Callable[[Style], Sequence[EngineName]],
        artefacts: Artefacts,
        *,
        threads: int,
        memory: int,
    ) -> None:
        """Serve `styles` with `threads` threads and `memory` bytes of this process.

        `engines_for` tells the engines to try for a style; the first that can be prepared draws it.
        """
        self._styles = styles
        self._engines_for = engines_for
        self._artefacts = artefacts
        self._threads = threads
        self._memory = memory
        self._prepared: dict[str, _Prepared] = {}
        self._engines: dict[str, DrawingEngine] = {}

    def prepare(self, name: str) -> EngineName:
        """Make what a style's engine needs on this machine, and run nothing; returns the engine that will draw it.

        Raises:
            SakugaError: there is no such style, or its weights cannot be used.
        """
        return self._prepare(name).engine

    def preload(self, name: str) -> None:
        """Prepare a style in the parent of processes, so that they share the memory.

        Raises:
            SakugaError: there is no such style, or its weights cannot be used.
        """
        engine = self.prepare(name)
        gc.collect()
        gc.freeze()
        log.info("engine prepared", style=name, engine=engine)

    def engine(self, name: str) -> DrawingEngine:
        """The warmed engine of a style, made when this process first asks for it.

        Raises:
            SakugaError: there is no such style, its weights cannot be used, or the engine draws wrong pictures here.
        """
        if name not in self._engines:
            prepared = self._prepare(name)
            engine = prepared.open(threads=self._threads, memory=self._memory)
            engine.warm(MAX_SIDE_DEFAULT)
            self._engines[name] = engine
            log.info("engine warm", style=name, engine=prepared.engine, threads=self._threads)
        return self._engines[name]

    def _prepare(self, name: str) -> "_Prepared":
        if name not in self._prepared:
            style = self._styles[name]
            *preferred, last = self._engines_for(style)
            self._prepared[name] = self._first_possible(style, preferred) or _Prepared(style, last, self._artefacts)
        return self._prepared[name]

    def _first_possible(self, style: Style, engines: Sequence[EngineName]) -> "_Prepared | None":
        for engine in engines:
            try:
                return _Prepared(style, engine, self._artefacts)
            except (EngineError, WeightsError) as error:
                log.warning("an engine cannot be used", style=style.name, engine=engine, reason=error.detail)
        return None


class _Prepared:
    """All of a style's engine that may be made before a fork: torch's module, or the path of an artefact."""

    def __init__(self, style: Style, engine: EngineName, artefacts: Artefacts) -> None:
        self.engine = engine
        self._style = style
        self._made: AnimeGanV2 | LightGenerator | Path
        if engine is EngineName.TORCH:
            self._made = _load(style)
        else:
            self._made = artefacts.get(style, engine)
            import_module(f"worker.engines.{engine.runtime}_engine")  # its pages, too, are shared

    def open(self, *, threads: int, memory: int) -> DrawingEngine:
        """Make the engine in the process that will use it, and let it draw the probe."""
        if not isinstance(self._made, Path):
            return _open_torch(self._made, threads=threads, memory=memory)
        return open_artefact(self._made, self._style, self.engine, threads=threads, memory=memory)


def loader_for(settings: Settings, styles: Mapping[str, Style], *, threads: int, memory: int) -> ModelLoader:
    """A loader with the engines of this node, as set, measured or likely."""
    artefacts = Artefacts(settings.cache_dir / "engines")
    return ModelLoader(styles, partial(candidates, settings), artefacts, threads=threads, memory=memory)


def _load(style: Style) -> "AnimeGanV2 | LightGenerator":
    """Load a style's weights, in the layout of the engine already: what a child rearranges it no longer shares."""
    import torch

    from worker.weights import load_generator

    # Any operation on two threads, were it only a check for NaN, would hang the children's first convolution.
    torch.set_num_threads(1)
    return load_generator(style).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _open_torch(generator: "AnimeGanV2 | LightGenerator", *, threads: int, memory: int) -> DrawingEngine:
    import torch

    from worker.engines.torch_engine import TorchEngine

    torch.set_num_threads(threads)
    return TorchEngine(generator, memory=memory)
