"""From verified weights to a resident, warmed engine in every worker process.

The parent prepares what its children share and runs nothing: a convolution run on two threads before the fork hangs in
the child after it. Each child opens its engine, lets it draw the probe (unless it is torch, the reference), and warms
it.
"""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Final

import structlog

from shared.drawing import no_faces
from shared.engines import EngineName
from shared.errors import EngineError, WeightsError
from shared.settings import Settings
from shared.styles import Style
from worker.engines.artefacts import Artefacts, open_artefact
from worker.engines.base import DrawingEngine
from worker.process_memory import trim_heap
from worker.tuning_profile import candidates

if TYPE_CHECKING:
    from worker.engines.faces import FaceDetector
    from worker.generator import AnimeGanV2, LightGenerator

_WARMED_AT: Final = 512  # pixels a side, where a style draws at any size: more would only take longer

log = structlog.get_logger()


class ModelLoader:
    """Loads each style once per process and keeps it, until it is removed or replaced."""

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

        `engines_for` tells the engines to try for a style; the first that can be made and draws right is taken.
        """
        self._styles = styles
        self._engines_for = engines_for
        self._artefacts = artefacts
        self._threads = threads
        self._memory = memory
        self._made_of: dict[str, Style] = {}
        self._untried: dict[str, Sequence[EngineName]] = {}
        self._prepared: dict[str, _Prepared] = {}
        self._engines: dict[str, DrawingEngine] = {}
        self._at_work: DrawingEngine | None = None

    def prepare(self, name: str) -> EngineName:
        """Make what a style's engine needs on this machine, and run nothing; returns the engine that will draw it.

        Raises:
            SakugaError: there is no such style, or its weights cannot be used.
        """
        self._drop_changed()
        return self._prepare(name).engine

    def preload(self, name: str) -> None:
        """Prepare a style in the parent of processes, so that they share the memory.

        Raises:
            SakugaError: there is no such style, or its weights cannot be used.
        """
        engine = self.prepare(name)
        if self._styles[name].sees_faces:
            from worker.engines.faces import require_detector

            require_detector()
        gc.collect()
        gc.freeze()
        log.info("engine prepared", style=name, engine=engine)

    def is_prepared(self, name: str) -> bool:
        """Return whether a style's engine needs nothing to be built on this machine first, which takes a while.

        Raises:
            SakugaError: there is no such style.
        """
        self._drop_changed()
        if name in self._engines:
            return True
        style = self._styles[name]
        first, *others = self._engines_for(style)
        if first is EngineName.TORCH:  # which draws with the weights themselves
            return True
        return any(self._artefacts.has(style, one) for one in (first, *others) if one is not EngineName.TORCH)

    def engine(self, name: str) -> DrawingEngine:
        """The warmed engine of a style, made when this process first asks for it.

        Raises:
            SakugaError: there is no such style, its weights cannot be used, or the engine draws wrong pictures here.
        """
        self._drop_changed()
        while name not in self._engines:
            prepared = self._prepare(name)
            # outside of the fallback: no other engine helps if it fails
            detector = self._face_detector if self._made_of[name].sees_faces else None
            with self._falling_back(name):
                self._engines[name] = self._open(name, prepared, detector)
        engine = self._engines[name]
        if self._at_work and self._at_work is not engine:
            self._at_work.rest()
        self._at_work = engine
        return engine

    def _drop_changed(self) -> None:
        """Drop what was made of styles that have been removed or replaced since."""
        styles = dict(self._styles.items())
        for name in [name for name, style in self._made_of.items() if styles.get(name) != style]:
            if self._engines.get(name) is self._at_work:
                self._at_work = None
            for made in (self._made_of, self._untried, self._prepared, self._engines):
                made.pop(name, None)
            log.info("style removed or replaced", style=name)

    def _open(self, name: str, prepared: "_Prepared", detector: "FaceDetector | None") -> DrawingEngine:
        engine = prepared.open(threads=self._threads, memory=self._memory)
        style = self._made_of[name]
        if style.drawn_at:
            face_heights = detector.face_heights if detector and style.close_ups else no_faces
            find_faces = detector.find_faces if detector and style.small_faces else None
            engine.draw_at(style.drawn_at, face_heights, find_faces)
        engine.warm(engine.drawn_at or _WARMED_AT)
        trim_heap()
        log.info("engine warm", style=name, engine=prepared.engine, threads=self._threads)
        return engine

    @cached_property
    def _face_detector(self) -> "FaceDetector":
        from worker.engines.faces import FaceDetector

        return FaceDetector()

    def _prepare(self, name: str) -> "_Prepared":
        while name not in self._prepared:
            style = self._made_of.setdefault(name, self._styles[name])
            engine, *_ = self._untried.setdefault(name, self._engines_for(style))
            with self._falling_back(name):
                self._prepared[name] = _Prepared(style, engine, self._artefacts)
        return self._prepared[name]

    @contextmanager
    def _falling_back(self, name: str) -> Iterator[None]:
        """If the current engine fails for a style and there is another, switch to that.

        If it fails because the style has been removed or replaced meanwhile, what there is now comes next.
        """
        try:
            yield
        except (EngineError, WeightsError) as error:
            self._drop_changed()
            if name not in self._made_of:
                return
            engine, *others = self._untried[name]
            if not others:
                raise
            log.warning(
                "engine failed; falling back", style=name, engine=engine, reason=error.detail, cause=_cause(error)
            )
            self._untried[name] = others
            self._prepared.pop(name, None)


def _cause(error: Exception) -> str | None:
    """Return the cause of an error in one line, which is enough since another engine draws instead."""
    lines = str(error.__cause__ or "").strip().splitlines()
    return lines[-1] if lines else None


class _Prepared:
    """All of a style's engine that may be made before a fork: torch's module, or the artefact on disk."""

    def __init__(self, style: Style, engine: EngineName, artefacts: Artefacts) -> None:
        self.engine = engine
        self._style = style
        self._artefacts = artefacts
        self._generator: AnimeGanV2 | LightGenerator | None = None
        if engine is EngineName.TORCH:
            self._generator = _load(style)
        else:
            artefacts.get(style, engine)
            import_module(f"worker.engines.{engine.runtime}_engine")  # its pages, too, are shared

    def open(self, *, threads: int, memory: int) -> DrawingEngine:
        """Make the engine in the process that will use it; any but torch, the reference, draws the probe."""
        if self._generator:
            return _open_torch(self._generator, threads=threads, memory=memory)
        artefact = self._artefacts.get(self._style, self.engine)  # what was whole before may be gone or damaged
        return open_artefact(artefact, self._style, self.engine, threads=threads, memory=memory)


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
