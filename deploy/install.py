"""Set up the virtual environment: `python3 deploy/install.py FOLDER EXTRA`, which is what `make` calls.

torch comes as a CPU build: the ordinary Linux build brings several gigabytes of CUDA that Sakuga never uses.
"""

import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
OLDEST = (3, 11)


def main(folder: str, extra: str) -> None:
    if sys.version_info < OLDEST:
        found = platform.python_version()
        sys.exit(f"Sakuga needs Python 3.11 or newer; this is {found}. Try: make PYTHON=python3.12 up")
    python = _environment(Path(folder))
    _install_torch(python)
    print("Installing Sakuga and what it needs", flush=True)
    _pip(python, "install", "--constraint", str(ROOT / "constraints.txt"), "--editable", f"{ROOT}[{extra}]", check=True)


def _environment(folder: Path) -> str:
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Making a virtual environment in {folder}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder], check=False)
        if made.returncode:
            sys.exit("This Python cannot make virtual environments; on Debian and Ubuntu install python3-venv.")
    return str(python)


def _install_torch(python: str) -> None:
    """Take the first way that works here."""
    if subprocess.run([python, "-c", "import torch"], check=False, capture_output=True).returncode == 0:
        return
    print(f"Installing torch {TORCH}, CPU build", flush=True)
    if sys.platform != "linux":
        _pip(python, "install", f"torch=={TORCH}", check=True)  # these builds have no CUDA
    elif not _pip(python, "install", f"torch=={TORCH}+cpu", quiet=True) and not _install_with_uv(python):
        print("No CPU build can be had here; taking the ordinary one, which is large.", flush=True)
        _pip(python, "install", f"torch=={TORCH}", check=True)


def _install_with_uv(python: str) -> bool:
    """Let uv find the CPU build; it knows where torch publishes them."""
    if not _pip(python, "install", "uv", quiet=True):
        return False
    command = [python, "-m", "uv", "pip", "install", "--python", python, "--torch-backend", "cpu", f"torch=={TORCH}"]
    return subprocess.run(command, check=False).returncode == 0


def _pip(python: str, *arguments: str, check: bool = False, quiet: bool = False) -> bool:
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, check=check, capture_output=quiet).returncode == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
