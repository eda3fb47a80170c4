"""`sakuga doctor`: what this machine has and lacks."""

import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path

from PIL import features
from redis.exceptions import RedisError

from cli.running import running
from cli.words import counted
from shared.callers.api_keys import read_keys, require_guarded
from shared.errors import SakugaError, SettingsError
from shared.hosts import bound_socket, in_url
from shared.redis_connection import redis_client
from shared.settings import Settings, load_settings
from shared.storage.backends import open_store
from shared.styles import installed_styles
from worker.capacity import available_cores, available_memory
from worker.engines.int8 import usable_recipe
from worker.tuning_profile import candidates, plan_capacity, read_profile


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str


def examine() -> list[Finding]:
    """Look at everything `sakuga up` needs; nothing is changed that was not there before."""
    try:
        settings = load_settings()
    except SakugaError as error:
        return [Finding("settings", ok=False, detail=error.detail)]
    checks: list[tuple[str, Callable[[Settings], str]]] = [
        ("python", lambda _: platform.python_version()),
        ("machine", _machine),
        ("engine", _engine),
        ("torch", _torch),
        ("styles", _styles),
        ("image formats", _formats),
        ("data folder", lambda settings: _writable(settings.data_dir)),
        ("cache folder", lambda settings: _writable(settings.cache_dir)),
        ("callers", _callers),
        ("store", _store),
        ("queue", _queue),
        ("port", _port),
    ]
    return [_finding(what, check, settings) for what, check in checks]


def _finding(what: str, check: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(what, ok=True, detail=check(settings))
    except SakugaError as error:
        return Finding(what, ok=False, detail=error.detail)
    except (ImportError, OSError, RedisError, RuntimeError) as error:
        return Finding(what, ok=False, detail=str(error))


def _machine(settings: Settings) -> str:
    capacity = plan_capacity(settings)
    return (
        f"{counted(available_cores(), 'core', 'cores')}, {available_memory() / (1 << 30):.1f} GiB: "
        f"{counted(capacity.processes, 'worker process', 'worker processes')} "
        f"of {counted(capacity.threads, 'thread', 'threads')}"
    )


def _engine(settings: Settings) -> str:
    """Say what workers will draw with; they import it, and loading the styles shows that torch works."""
    styles = installed_styles(settings.data_dir)
    style = styles[settings.style if settings.style in styles else next(iter(styles))]
    engine = candidates(settings, style)[0]
    if engine.is_quantised:
        usable_recipe(style)
    tuned = read_profile(settings.cache_dir, style.size)
    if settings.engine != "auto":
        reason = "as set"
    elif tuned and tuned.engine is engine:
        reason = "measured as the fastest here"
    else:
        reason = "probably the fastest here; run `sakuga tune` to measure"
    return f"{engine} ({engine.runtime} {version(engine.runtime)}), {reason}"


def _torch(_: Settings) -> str:
    cuda = any(distribution.metadata["Name"].startswith("nvidia-") for distribution in distributions())
    return f"{version('torch')} ({'with CUDA, unused' if cuda else 'CPU build'})"


def _styles(settings: Settings) -> str:
    from worker.engines.faces import require_detector
    from worker.weights import load_generator

    require_detector()
    styles = installed_styles(settings.data_dir)
    for style in styles.values():
        load_generator(style)
    default = styles[settings.style]
    return f"{', '.join(styles)}; default {default.name}; all digests match"


def _formats(_: Settings) -> str:
    from shared.photos.decoding import readable_formats

    modern = [name for name in ("avif", "webp") if features.check(name)]
    return f"{len(readable_formats())} formats, including HEIC" + (f", {' and '.join(modern)}" if modern else "")


def _writable(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return str(folder)


def _callers(settings: Settings) -> str:
    require_guarded(settings)
    if settings.api_keys:
        return f"{counted(len(read_keys(settings.api_keys).callers), 'caller', 'callers')} in {settings.api_keys}"
    return "no keys: open to anyone who can reach it" if settings.allow_anyone else "no keys: this machine only"


def _store(settings: Settings) -> str:
    open_store(settings).check()
    return settings.effective_store_url


def _queue(settings: Settings) -> str:
    if "redis_url" not in settings.model_fields_set:
        from cli.valkey import binary

        return f"embedded Valkey ({binary().name})"
    redis_client(settings).ping()
    return "SAKUGA_REDIS_URL is reachable"


def _port(settings: Settings) -> str:
    if found := running(settings.data_dir):
        return f"Sakuga is running{f' at {found.url}' if found.url else ''}"
    place = f"{in_url(settings.host)}:{settings.port}"
    try:
        bound_socket(settings.host, settings.port).close()
    except OSError as error:
        raise SettingsError(
            f"{place} is not available ({error.strerror}). Choose another port with SAKUGA_PORT; or, if another Sakuga "
            "uses it, set SAKUGA_DATA_DIR to its data folder."
        ) from error
    return f"{place} is free"
