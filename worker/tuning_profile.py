"""The engine, processes and threads that this node works with.

As set by the operator, else as measured here by `sakuga tune`, else as likely to be best. Imports no ML runtime.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.engines import EngineName
from shared.errors import SettingsError, WeightsError
from shared.files import write_atomically
from shared.settings import Settings
from shared.styles import Size, Style, installed_styles
from worker.capacity import available_cores, available_memory, cpu_flags, cpu_name
from worker.engines.int8 import usable_recipe

MEMORY_PER_PROCESS: Final = 1 << 30  # where nothing was measured
FOR_CHILDREN: Final = 0.8  # of the node's memory; the rest is for the parent, the web server, the queue and the system
_BF16_FLAGS: Final = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86, and of Arm
_F16_FLAG: Final = "asimdhp"  # of Arm; engines were not quicker in float16 on x86
_FILE: Final = "tuning.json"


@dataclass(frozen=True, slots=True)
class Capacity:
    """Worker processes, and threads and bytes of memory of each."""

    processes: int
    threads: int
    memory: int


class TuningProfile(BaseModel):
    """The best measured configuration of a node for one size of generator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node: str
    size: Size
    asked: Literal["auto"] | EngineName  # SAKUGA_ENGINE when it was measured
    engine: EngineName
    processes: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    megapixels_per_s: float  # of all processes together
    latency_s: float  # of one picture, the 95th percentile, while all are busy
    memory_bytes: int  # what another process costs at its peak
    memory_budget: Annotated[int, Field(gt=0)]  # bytes that all processes were given together


def plan_capacity(settings: Settings) -> Capacity:
    """Fill in what the operator left open: as measured here, else a process per core as far as memory allows.

    One thread per process gives the most pictures per second; two processes of one thread beat one of two.
    """
    cores, styles = available_cores(), installed_styles(settings.data_dir)
    size = styles[settings.style].size if settings.style in styles else None
    tuned = read_profile(settings.cache_dir, size, settings.engine) if size else None
    memory = min(tuned.memory_budget, available_memory()) if tuned else memory_budget()
    usual = tuned.processes if tuned else max(1, min(cores, memory // MEMORY_PER_PROCESS))
    processes = settings.processes or usual
    threads = tuned.threads if tuned and processes == tuned.processes else max(1, cores // processes)
    return Capacity(processes, settings.threads or threads, memory // processes)


def memory_budget() -> int:
    """Return the bytes of memory that all worker processes of this node may take together by default."""
    return int(available_memory() * FOR_CHILDREN)


def candidates(settings: Settings, style: Style) -> Sequence[EngineName]:
    """Return the engines to draw a style with, in order of preference; only those installed that fit the style.

    Raises:
        SettingsError: the engine that was asked for is not installed, or none is.
    """
    if settings.engine != "auto":
        if _version(settings.engine.runtime) is None:
            extra = "onnxruntime" if settings.engine is EngineName.ONNXRUNTIME else "worker"
            missing = f"SAKUGA_ENGINE: {settings.engine.runtime} is not installed"
            raise SettingsError(f"{missing}; run pip install 'sakuga[{extra}]'.")
        return (settings.engine,)
    tuned = read_profile(settings.cache_dir, style.size)
    names = ([tuned.engine] if tuned else []) + _likely()
    possible = tuple(name for name in dict.fromkeys(names) if is_possible(name, style))
    if not possible:
        raise SettingsError(f"No installed engine can draw {style.name}; install sakuga[worker].")
    return possible


def is_possible(name: EngineName, style: Style) -> bool:
    """Return whether an engine is installed here and preserves a style's pictures."""
    if _version(name.runtime) is None:
        return False
    try:
        return not name.is_quantised or bool(usable_recipe(style))
    except WeightsError:
        return False


def node_key() -> str:
    """Return the key of a measurement's environment: CPU, cores, memory, and the versions of the runtimes."""
    runtimes = sorted({name.runtime for name in EngineName})
    versions = [f"{runtime} {_version(runtime)}" for runtime in runtimes]
    return "; ".join([cpu_name(), f"{available_cores()} cores", f"{available_memory() >> 30} GiB", *versions])


def read_profile(cache_dir: Path, size: Size, asked: Literal["auto"] | EngineName = "auto") -> TuningProfile | None:
    """Return the profile that was measured on this node with this SAKUGA_ENGINE, if there is one.

    A file that is unreadable, or of an earlier format, counts as none.
    """
    wanted = node_key(), size, asked
    return next((profile for profile in _read(cache_dir) if _what_for(profile) == wanted), None)


def write_profile(cache_dir: Path, profile: TuningProfile) -> None:
    """Save a profile in place of the earlier one for the same node, size and SAKUGA_ENGINE.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    kept = [other for other in _read(cache_dir) if _what_for(other) != _what_for(profile)]
    with _needing_place():
        cache_dir.mkdir(parents=True, exist_ok=True)
        content = json.dumps([one.model_dump(mode="json") for one in [*kept, profile]], indent=1)
        write_atomically(cache_dir / _FILE, content.encode())


def require_place(cache_dir: Path) -> None:
    """Check that a profile can be saved, before minutes are spent on measuring it.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    with _needing_place():
        cache_dir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=cache_dir).close()


@contextmanager
def _needing_place() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"SAKUGA_CACHE_DIR cannot store the measurements: {reason}.") from error


def _what_for(profile: TuningProfile) -> tuple[str, Size, str]:
    return profile.node, profile.size, profile.asked


def _read(cache_dir: Path) -> list[TuningProfile]:
    try:
        return [TuningProfile.model_validate(entry) for entry in json.loads((cache_dir / _FILE).read_text("utf-8"))]
    except (OSError, ValueError, TypeError, ValidationError):
        return []


def _likely() -> list[EngineName]:
    """8 bit was fastest wherever it was measured, with AVX2 alone too; half precision pays where the CPU has it."""
    flags = set(cpu_flags().split())
    bf16 = [EngineName.OPENVINO_INT8_BF16] if flags & _BF16_FLAGS else []
    f16 = [EngineName.OPENVINO_F16] if _F16_FLAG in flags else []
    return [*bf16, EngineName.OPENVINO_INT8, *f16, EngineName.OPENVINO, EngineName.ONNXRUNTIME, EngineName.TORCH]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
