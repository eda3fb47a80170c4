"""Exported and quantised models on disk, made once per machine and shared by its processes.

Keyed by everything that makes them: weights, 8-bit recipe, engine, its version, the CPU. One process builds while
others wait at a lock; what is damaged is built anew. OpenVINO maps its models into memory: processes share their bytes.
"""

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from shared.engines import EngineName
from shared.errors import EngineError, WeightsError
from shared.files import file_sha256
from shared.styles import Style
from worker.capacity import cpu_name
from worker.engines import probe
from worker.engines.base import PLENTY, DrawingEngine, translated
from worker.engines.int8 import recipe_path, usable_recipe
from worker.subprocess_call import call_in_subprocess

FORM: Final = 1  # of what `worker.engines.build` writes
_DIGESTS: Final = "digests.json"

log = structlog.get_logger()


class Artefacts:
    """The artefacts under one folder."""

    def __init__(self, folder: Path) -> None:
        """Keep artefacts in `folder`, which is made when first needed."""
        self._folder = folder

    def get(self, style: Style, name: EngineName) -> Path:
        """The folder with what the engine `name` needs to draw `style`; built if it is not there or damaged.

        Raises:
            WeightsError: the style's weights cannot be used, or not in this precision.
            EngineError: the artefact could not be built, or there is no place for it.
            UnavailableError: there is not enough memory to build it now.
        """
        if name.is_quantised:
            usable_recipe(style)
        place = self._folder / _key(style, name)
        try:  # building translates its own errors
            if not _is_whole(place):
                with self._lock(place.name):
                    if not _is_whole(place):
                        self._build(style, name, place)
        except OSError as error:
            raise _no_place(error) from error
        return place

    def has(self, style: Style, name: EngineName) -> bool:
        """Return whether `get` would return at once."""
        return _is_whole(self._folder / _key(style, name))

    def _build(self, style: Style, name: EngineName, place: Path) -> None:
        log.info("building an engine's artefact", style=style.name, engine=name)
        for left in self._folder.glob(f".{place.name}-*"):  # by a builder that was killed: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=self._folder) as parent:
            made = Path(parent, "made")
            made.mkdir()
            call_in_subprocess(_build_and_check, style, name, made)  # torch would stay in memory here
            (made / _DIGESTS).write_text(json.dumps(_digests(made)), "utf-8")
            if place.exists():
                place.rename(Path(parent, "damaged"))
            made.rename(place)

    @contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f".{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _key(style: Style, name: EngineName) -> str:
    """Names of what it is of for people, and a digest of all that makes it."""
    parts = (
        style.sha256,
        style.upsample,
        _recipe_digest(style) if name.is_quantised else "",
        version(name.runtime),
        str(FORM),
        cpu_name(),
    )
    return f"{style.name}-{name}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def _recipe_digest(style: Style) -> str:
    path = recipe_path(style)
    try:
        return file_sha256(path)
    except OSError as error:
        raise WeightsError(f"{path.name} cannot be read: {error.strerror}.") from error


def _is_whole(place: Path) -> bool:
    try:
        listed = json.loads((place / _DIGESTS).read_text("utf-8"))
        return bool(listed == _digests(place))
    except (OSError, ValueError):
        return False


def _digests(place: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(place.iterdir()) if path.name != _DIGESTS}


def open_artefact(artefact: Path, style: Style, name: EngineName, *, threads: int, memory: int) -> DrawingEngine:
    """Make an engine of the artefact in a folder and let it draw the probe.

    Raises:
        EngineError: the runtime cannot open it, or draws wrong pictures on this machine.
        UnavailableError: there is not enough memory now.
    """
    engine = _opened(artefact, style, name, threads, memory)
    probe.check(engine, name, artefact)
    return engine


def _opened(artefact: Path, style: Style, name: EngineName, threads: int, memory: int) -> DrawingEngine:
    make: Callable[..., DrawingEngine]
    if name is EngineName.ONNXRUNTIME:
        from worker.engines.onnxruntime_engine import OnnxRuntimeEngine

        make, failures = partial(OnnxRuntimeEngine, artefact, style.size), OnnxRuntimeEngine.failures
    else:
        from worker.engines.openvino_engine import OpenVinoEngine

        make, failures = partial(OpenVinoEngine, artefact, style.size, name), OpenVinoEngine.failures
    try:
        return make(threads=threads, memory=memory)
    except failures as error:
        raise translated(error, f"The engine {name} cannot be opened") from error


def _no_place(error: OSError) -> EngineError:
    return EngineError(f"SAKUGA_CACHE_DIR cannot store the engines' files: {error.strerror or error}.")


def _build_and_check(style: Style, name: EngineName, folder: Path) -> None:
    from worker.engines.build import build

    try:
        build(style, name, folder)
    except OSError as error:
        raise _no_place(error) from error
    open_artefact(folder, style, name, threads=1, memory=PLENTY)
