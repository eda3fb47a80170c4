"""Measuring on this node which engine, how many processes and how many threads draw the most. Imported by `cli`.

Every layout runs as a worker node does: a parent that prepares, children forked from it that draw, all at once. Each in
a process of its own, so that one engine's memory and threads are not another's.
"""

import math
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from multiprocessing.context import ForkContext
from time import perf_counter
from typing import Final

import numpy as np
import psutil
from PIL import Image

from shared import pipeline
from shared.engines import EngineName
from shared.errors import EngineError, SakugaError
from shared.images import Format, Limits
from shared.pipeline import Options
from shared.settings import MAX_SIDE_DEFAULT, Settings
from shared.styles import Style
from shared.telemetry import configure_logs
from worker.apart import run_apart
from worker.capacity import available_cores, limit_threads
from worker.choice import Choice, is_possible, memory_budget, node_key
from worker.engines.probe import PHOTO
from worker.model_loader import ModelLoader, loader_for

SIDE: Final = MAX_SIDE_DEFAULT  # of the square picture that is drawn
MEGAPIXELS: Final = SIDE * SIDE / 1e6
_WORTH: Final = 0.6  # engines slower than this share of the quickest are not tried in other layouts
_FEWEST: Final = 3  # pictures of each process
_PATIENCE_S: Final = 300


@dataclass(frozen=True, slots=True)
class Layout:
    """An engine in so many processes of so many threads."""

    engine: EngineName
    processes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a layout did: pictures of `MEGAPIXELS`, decoding and encoding included."""

    layout: Layout
    pictures_per_s: float
    latency_s: float  # the 95th percentile
    memory_bytes: int  # private to each process

    @property
    def megapixels_per_s(self) -> float:
        return self.pictures_per_s * MEGAPIXELS


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a layout must keep to."""

    latency_s: float
    memory_bytes: int

    def allow(self, measured: Measured) -> bool:
        return measured.latency_s <= self.latency_s and self.have_room(measured, measured.layout.processes)

    def have_room(self, measured: Measured, processes: int) -> bool:
        return measured.memory_bytes * processes <= self.memory_bytes


Told = Callable[[Layout, Measured | SakugaError | None], None]
"""Called with a layout before it is measured, and again with what came of it."""


def tune(settings: Settings, style: Style, bounds: Bounds, tell: Told, *, seconds: float = 4) -> Choice:
    """Measure what this node can do with a style and choose the most pictures within `bounds`.

    Where nothing keeps to the bounds, the quickest layout is chosen.

    Raises:
        EngineError: no engine draws this style here.
    """
    measured = _measure_all(settings, style, _alone(style), tell, seconds)
    measured += _measure_all(settings, style, _further(measured, bounds), tell, seconds)
    if not measured:
        raise EngineError(f"No engine draws {style.name} on this machine.")
    allowed = [one for one in measured if bounds.allow(one)]
    best = max(allowed, key=lambda one: one.pictures_per_s) if allowed else min(measured, key=_quickest_first)
    return Choice(
        node=node_key(),
        size=style.size,
        engine=best.layout.engine,
        processes=best.layout.processes,
        threads=best.layout.threads,
        megapixels_per_s=round(best.megapixels_per_s, 3),
        latency_s=round(best.latency_s, 3),
        memory_bytes=best.memory_bytes,
    )


def _quickest_first(measured: Measured) -> tuple[float, float]:
    return measured.latency_s, -measured.pictures_per_s


def measure(settings: Settings, style: Style, layout: Layout, seconds: float) -> Measured:
    """Run a node of this layout for so many seconds, or a few pictures where they take longer.

    Raises:
        SakugaError: the engine cannot draw this style here.
    """
    return run_apart(_node, settings, style, layout, seconds)


def sample_photo() -> bytes:
    """A JPEG photo of `SIDE` x `SIDE` pixels."""
    buffer = BytesIO()
    with Image.open(PHOTO) as photo:
        photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _alone(style: Style) -> list[Layout]:
    return [Layout(engine, 1, 1) for engine in EngineName if is_possible(engine, style)]


def _further(alone: Sequence[Measured], bounds: Bounds) -> list[Layout]:
    """Every way of dividing the cores that the memory allows, for the engines that are worth it."""
    cores = available_cores()
    quickest = max((one.pictures_per_s for one in alone), default=0)
    divisions = sorted({cores, math.ceil(cores / 2), math.ceil(cores / 4), 1}, reverse=True)
    return [
        layout
        for one in sorted(alone, key=lambda one: -one.pictures_per_s)
        if one.pictures_per_s >= _WORTH * quickest
        for processes in divisions
        if bounds.have_room(one, processes)
        and (layout := Layout(one.layout.engine, processes, max(1, cores // processes))) != one.layout
    ]


def _measure_all(
    settings: Settings, style: Style, layouts: Sequence[Layout], tell: Told, seconds: float
) -> list[Measured]:
    found = []
    for layout in layouts:
        tell(layout, None)
        try:
            measured = measure(settings, style, layout, seconds)
        except SakugaError as error:
            tell(layout, error)
            continue
        tell(layout, measured)
        found.append(measured)
    return found


def _node(settings: Settings, style: Style, layout: Layout, seconds: float) -> Measured:
    """The parent of the processes, in a process of its own."""
    configure_logs("ERROR")
    limit_threads(layout.threads)
    chosen = settings.model_copy(update={"engine": layout.engine})
    memory = memory_budget() // layout.processes
    models = loader_for(chosen, {style.name: style}, threads=layout.threads, memory=memory)
    models.preload(style.name)
    context = multiprocessing.get_context("fork")
    children = [_Child(context, models, style, seconds) for _ in range(layout.processes)]
    start = context.Barrier(layout.processes)
    for child in children:
        child.start(start)
    results = [child.result() for child in children]
    latencies = np.concatenate([latencies for latencies, _ in results])
    return Measured(
        layout,
        pictures_per_s=sum(len(latencies) / float(np.sum(latencies)) for latencies, _ in results),
        latency_s=float(np.quantile(latencies, 0.95)),
        memory_bytes=max(private for _, private in results),
    )


class _Child:
    """One process that draws the sample again and again."""

    def __init__(self, context: ForkContext, models: ModelLoader, style: Style, seconds: float) -> None:
        self._context, self._models, self._style, self._seconds = context, models, style, seconds
        self._received, self._sent = context.Pipe(duplex=False)

    def start(self, together: "multiprocessing.synchronize.Barrier") -> None:
        self._process = self._context.Process(target=self._run, args=(together,), daemon=True)
        self._process.start()
        self._sent.close()

    def result(self) -> tuple[list[float], int]:
        """Seconds per picture, and private bytes."""
        try:
            found: tuple[list[float], int] | SakugaError = self._received.recv()
        except EOFError:
            raise EngineError("A process died while it was measured.") from None
        if isinstance(found, SakugaError):
            raise found
        return found

    def _run(self, together: "multiprocessing.synchronize.Barrier") -> None:
        try:
            self._sent.send(self._draw(together))
        except SakugaError as error:
            together.abort()
            self._sent.send(error)

    def _draw(self, together: "multiprocessing.synchronize.Barrier") -> tuple[list[float], int]:
        engine = self._models.engine(self._style.name)
        photo, options, limits = sample_photo(), Options(SIDE, Format.JPEG), Limits(1 << 30, 100)
        together.wait(_PATIENCE_S)
        latencies: list[float] = []
        while len(latencies) < _FEWEST or sum(latencies) < self._seconds:
            started = perf_counter()
            pipeline.convert(photo, options, engine, limits)
            latencies.append(perf_counter() - started)
        return latencies, int(psutil.Process().memory_full_info().uss)
