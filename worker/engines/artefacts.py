"""Exported and quantised models on disk, made once per machine and shared by its processes.

Keyed by everything that makes them: weights, 8 bit recipe, engine, its version, the CPU. One process builds while
others wait at a lock; what is damaged is built anew. Models are read by memory map, so processes share their bytes.

Imported by `worker.model_loader` and the tests.
"""

import fcntl
import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from shared.engines import EngineName
from shared.errors import SettingsError
from shared.styles import Style
from worker.apart import run_apart
from worker.capacity import cpu_name
from worker.engines import probe
from worker.engines.base import PLENTY, DrawingEngine
from worker.engines.int8 import recipe_path

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
            EngineError: the artefact could not be built.
            SettingsError: the folder cannot be written to.
        """
        place = self._folder / _key(style, name)
        try:
            if not _is_whole(place):
                with self._lock(place.name):
                    if not _is_whole(place):
                        self._build(style, name, place)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SettingsError(f"SAKUGA_CACHE_DIR cannot hold what engines need: {reason}.") from error
        return place

    def _build(self, style: Style, name: EngineName, place: Path) -> None:
        log.info("building an engine's artefact", style=style.name, engine=name)
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=self._folder) as parent:
            made = Path(parent, "made")
            made.mkdir()
            run_apart(_build_and_check, style, name, made)  # torch would stay in memory here
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
    recipe = recipe_path(style)
    parts = (
        style.sha256,
        style.upsample,
        hashlib.sha256(recipe.read_bytes()).hexdigest() if name.is_quantised and recipe.exists() else "",
        version(name.runtime),
        str(FORM),
        cpu_name(),
    )
    return f"{style.name}-{name}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"


def _is_whole(place: Path) -> bool:
    try:
        listed = json.loads((place / _DIGESTS).read_text("utf-8"))
        return bool(listed == _digests(place))
    except (OSError, ValueError):
        return False


def _digests(place: Path) -> dict[str, str]:
    found = {}
    for path in sorted(place.iterdir()):
        if path.name != _DIGESTS:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def open_artefact(artefact: Path, style: Style, name: EngineName, *, threads: int, memory: int) -> DrawingEngine:
    """Make an engine of the artefact in a folder and let it draw the probe.

    Raises:
        EngineError: it draws wrong pictures on this machine.
    """
    engine = _engine(artefact, style, name, threads, memory)
    probe.check(engine, name, artefact)
    return engine


def _engine(artefact: Path, style: Style, name: EngineName, threads: int, memory: int) -> DrawingEngine:
    if name is EngineName.ONNXRUNTIME:
        from worker.engines.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(artefact, style.size, threads=threads, memory=memory)
    from worker.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(artefact, style.size, name, threads=threads, memory=memory)


def _build_and_check(style: Style, name: EngineName, folder: Path) -> None:
    from worker.engines.build import build

    build(style, name, folder)
    open_artefact(folder, style, name, threads=1, memory=PLENTY)
