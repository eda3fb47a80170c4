"""Exported and quantised models on disk, made once per machine and shared by its processes.

Keyed by everything that makes them: weights, 8 bit recipe, engine, its version, the CPU. One process builds while
others wait at a lock; what is damaged is built anew. Models are read by memory map, so processes share their bytes.

Imported by `worker.model_loader` and the tests.
"""

import fcntl
import hashlib
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from shared.engines import EngineName
from shared.errors import EngineError, SettingsError
from shared.styles import Style
from worker.capacity import cpu_name
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
            _build_apart(style, name, made)
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


def _build_apart(style: Style, name: EngineName, folder: Path) -> None:
    """Build in a process of its own: what runs a network must not fork, and torch would stay in memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        try:
            apart.submit(_build_and_check, style, name, folder).result()
        except BrokenProcessPool as error:
            raise EngineError(f"The engine {name} could not be prepared: its process died.") from error


def _build_and_check(style: Style, name: EngineName, folder: Path) -> None:
    from worker.engines import build, probe
    from worker.model_loader import open_artefact

    build.build(style, name, folder)
    probe.check(open_artefact(folder, style, name, threads=1, memory=8 << 30), name, folder)
