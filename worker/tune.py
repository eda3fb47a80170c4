"""Measuring which engine, number of processes and number of threads draw the most on this node.

Every layout runs as a worker node does: a parent that prepares, children forked from it that draw, all at once. Each in
a process of its own, so that one engine's memory and threads are not another's.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from multiprocessing.connection import wait
from multiprocessing.context import ForkContext
from threading import Event, Thread
from time import perf_counter
from typing import Final

import numpy as np
import psutil
from PIL import Image

from shared import pipeline
from shared.conversion import Faces, Options
from shared.engines import EngineName
from shared.errors import EngineError, SakugaError
from shared.photos.formats import Format, Limits
from shared.settings import Settings
from shared.styles import Style
from shared.telemetry import configure_logs
from worker.capacity import available_cores, limit_threads
from worker.engines.probe import PHOTO
from worker.model_loader import ModelLoader, loader_for
from worker.process_memory import share_one_arena
from worker.subprocess_call import call_in_subprocess
from worker.tuning_profile import TuningProfile, candidates, is_possible, node_key

SIDE: Final = 512  # of the square picture that is drawn
MEGAPIXELS: Final = SIDE * SIDE / 1e6
_WORTH: Final = 0.6  # engines slower than this share of the quickest are not tried in other layouts
_MAX_DIVISIONS: Final = 6  # of the cores into processes
_MIN_PICTURES: Final = 3  # pictures of each process
_START_TIMEOUT_S: Final = 300
_SAMPLE_EVERY_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Layout:
    """An engine in so many processes of so many threads."""

    engine: EngineName
    processes: int
    threads: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured performance of a layout: pictures of `MEGAPIXELS`, decoding and encoding included."""

    layout: Layout
    pictures_per_s: float
    latency_s: float  # the 95th percentile
    memory_bytes: int  # private to each process, at its peak

    @property
    def megapixels_per_s(self) -> float:
        return self.pictures_per_s * MEGAPIXELS


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits that a layout must respect."""

    latency_s: float
    memory_bytes: int  # of all processes together; each is given its share

    def allow(self, measured: Measured) -> bool:
        return measured.latency_s <= self.latency_s and self.have_room(measured, measured.layout.processes)

    def have_room(self, measured: Measured, processes: int) -> bool:
        return measured.memory_bytes * processes <= self.memory_bytes


MeasurementCallback = Callable[[Layout, Measured | SakugaError | None], None]
"""Called with a layout before it is measured, and again with the outcome."""


def tune(
    settings: Settings, style: Style, bounds: Bounds, report: MeasurementCallback, *, seconds: float = 4
) -> TuningProfile:
    """Measure what this node can do with a style and choose the most pictures within `bounds`.

    If SAKUGA_ENGINE names one, only that is measured. If nothing is within the bounds, the fastest is chosen.

    Raises:
        EngineError: no engine draws this style here.
        SettingsError: the engine that is set is not installed.
    """
    run = partial(measure, settings, style, memory_bytes=bounds.memory_bytes, seconds=seconds)
    measured = _measure_all(_alone(settings, style), run, report)
    measured += _measure_all(_further(measured, bounds), run, report)
    if not measured:
        raise EngineError(f"No engine can draw {style.name} on this machine.")
    allowed = [one for one in measured if bounds.allow(one)]
    best = max(allowed, key=lambda one: one.pictures_per_s) if allowed else min(measured, key=_quickest_first)
    return TuningProfile(
        node=node_key(),
        size=style.size,
        asked=settings.engine,
        engine=best.layout.engine,
        processes=best.layout.processes,
        threads=best.layout.threads,
        megapixels_per_s=round(best.megapixels_per_s, 3),
        latency_s=round(best.latency_s, 3),
        memory_bytes=best.memory_bytes,
        memory_budget=bounds.memory_bytes,
    )


def _quickest_first(measured: Measured) -> tuple[float, float]:
    return measured.latency_s, -measured.pictures_per_s


def measure(settings: Settings, style: Style, layout: Layout, *, memory_bytes: int, seconds: float) -> Measured:
    """Run a node of this layout and memory for so many seconds, or a few pictures where they take longer.

    Raises:
        SakugaError: the engine cannot draw this style here, or not in this memory.
    """
    return call_in_subprocess(run_node, settings, style, layout, memory_bytes=memory_bytes, seconds=seconds)


def sample_photo() -> bytes:
    """A JPEG photo of `SIDE` x `SIDE` pixels."""
    buffer = BytesIO()
    with Image.open(PHOTO) as photo:
        photo.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def divisions(cores: int) -> list[int]:
    """Numbers of processes that leave no core over, a few from all to one, most first."""
    found = [processes for processes in range(cores, 0, -1) if cores % processes == 0]
    step = max(1, (len(found) - 1) / (_MAX_DIVISIONS - 1))
    return [found[round(index * step)] for index in range(min(len(found), _MAX_DIVISIONS))]


def _alone(settings: Settings, style: Style) -> list[Layout]:
    if settings.engine != "auto":
        return [Layout(engine, 1, 1) for engine in candidates(settings, style)]
    return [Layout(engine, 1, 1) for engine in EngineName if is_possible(engine, style)]


def _further(alone: Sequence[Measured], bounds: Bounds) -> list[Layout]:
    """The ways of dividing the cores that the memory allows, for the engines that are worth it."""
    cores = available_cores()
    quickest = max((one.pictures_per_s for one in alone), default=0)
    return [
        layout
        for one in sorted(alone, key=lambda one: -one.pictures_per_s)
        if one.pictures_per_s >= _WORTH * quickest
        for processes in divisions(cores)
        if bounds.have_room(one, processes)
        and (layout := Layout(one.layout.engine, processes, cores // processes)) != one.layout
    ]


def _measure_all(
    layouts: Sequence[Layout], run: Callable[[Layout], Measured], report: MeasurementCallback
) -> list[Measured]:
    found = []
    for layout in layouts:
        report(layout, None)
        try:
            measured = run(layout)
        except SakugaError as error:
            report(layout, error)
            continue
        report(layout, measured)
        found.append(measured)
    return found


def run_node(settings: Settings, style: Style, layout: Layout, *, memory_bytes: int, seconds: float) -> Measured:
    """Be the parent of the processes; to be called in a process of its own."""
    configure_logs("ERROR")
    limit_threads(layout.threads)
    share_one_arena()
    chosen = settings.model_copy(update={"engine": layout.engine})
    share = memory_bytes // layout.processes
    models = loader_for(chosen, {style.name: style}, threads=layout.threads, memory=share)
    models.preload(style.name)
    context = multiprocessing.get_context("fork")
    start = context.Barrier(layout.processes)
    found = _results([_Child(context, models, style, seconds, start) for _ in range(layout.processes)])
    latencies = np.concatenate([latencies for latencies, _ in found])
    return Measured(
        layout,
        pictures_per_s=sum(len(latencies) / float(np.sum(latencies)) for latencies, _ in found),
        latency_s=float(np.quantile(latencies, 0.95)),
        memory_bytes=max(peak for _, peak in found),
    )


Result = tuple[list[float], int]
"""Seconds per picture, and the most private bytes of a process."""


def _results(children: Sequence["_Child"]) -> list[Result]:
    """Wait for the results of all children; if one fails or dies, end the others, which wait for it."""
    found: list[Result] = []
    waiting = list(children)
    try:
        while waiting:
            ready = wait([child.received for child in waiting])
            found += [child.result() for child in waiting if child.received in ready]
            waiting = [child for child in waiting if child.received not in ready]
    finally:
        for child in children:
            child.end()
    return found


class _Child:
    """One process that draws the sample again and again, as soon as all are ready."""

    def __init__(
        self,
        context: ForkContext,
        models: ModelLoader,
        style: Style,
        seconds: float,
        together: "multiprocessing.synchronize.Barrier",
    ) -> None:
        self._models, self._style, self._seconds, self._together = models, style, seconds, together
        self.received, self._sent = context.Pipe(duplex=False)
        self._process = context.Process(target=self._run, daemon=True)
        self._process.start()
        self._sent.close()  # before others are forked: nobody else holds it, so the pipe ends when the process does

    def result(self) -> Result:
        try:
            found: Result | SakugaError = self.received.recv()
        except EOFError:
            raise EngineError("A process died during measurement.") from None
        if isinstance(found, SakugaError):
            raise found
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    def _run(self) -> None:
        try:
            self._sent.send(self._draw())
        except SakugaError as error:
            self._sent.send(error)

    def _draw(self) -> Result:
        engine = self._models.engine(self._style.name)
        photo, options, limits = sample_photo(), Options(SIDE, Format.JPEG, Faces.OFF), Limits(1 << 30, 100)
        self._together.wait(_START_TIMEOUT_S)
        latencies: list[float] = []
        while len(latencies) < _MIN_PICTURES or sum(latencies) < self._seconds:
            started = perf_counter()
            pipeline.convert(photo, options, engine, limits)
            latencies.append(perf_counter() - started)
        return latencies, peak_memory(lambda: pipeline.convert(photo, options, engine, limits))


def peak_memory(draw: Callable[[], object]) -> int:
    """The most private bytes of this process while it draws a few pictures; apart from those that are timed.

    Looking takes the process's own time, and at rest most of what a picture needs has been given back.
    """
    seen, done = [private_bytes()], Event()

    def look() -> None:
        while not done.wait(_SAMPLE_EVERY_S):
            seen.append(private_bytes())

    sampler = Thread(target=look, daemon=True)
    sampler.start()
    for _ in range(_MIN_PICTURES):
        draw()
    done.set()
    sampler.join()
    return max(seen)


def private_bytes() -> int:
    """Memory that this process shares with no other."""
    return int(psutil.Process().memory_full_info().uss)
