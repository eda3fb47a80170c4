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
DOWNLOADS_MB = {"worker": 140, "training": 260, "dev": 420}  # without torch


def main(folder: str, extra: str) -> None:
    if sys.version_info < OLDEST:
        found = platform.python_version()
        sys.exit(f"Sakuga needs Python 3.11 or newer; this is {found}. Try: make PYTHON=python3.12 up")
    if extra not in DOWNLOADS_MB:
        sys.exit(f"Unknown extra {extra}; choose one of: {', '.join(DOWNLOADS_MB)}.")
    python = _environment(Path(folder))
    _install_torch(python)
    print(f"Installing Sakuga and its requirements (up to {DOWNLOADS_MB[extra]} MB; this takes a while)", flush=True)
    constraints = str(ROOT / "constraints.txt")
    _must(_pip(python, "install", "--quiet", "--constraint", constraints, "--editable", f"{ROOT}[{extra}]"))


def _environment(folder: Path) -> str:
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"Creating a virtual environment in {folder}", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", folder], check=False)
        if made.returncode:
            sys.exit("This Python cannot create virtual environments; on Debian and Ubuntu, install python3-venv.")
    return str(python)


def _install_torch(python: str) -> None:
    """Take the first way that works here."""
    if _torch_in(python) == TORCH:
        return
    print(f"Installing torch {TORCH}, CPU build (about 200 MB)", flush=True)
    if sys.platform != "linux":
        _must(_pip(python, "install", f"torch=={TORCH}"))  # these builds have no CUDA
    elif not _pip(python, "install", f"torch=={TORCH}+cpu", on_trial=True) and not _install_with_uv(python):
        print("No CPU build of torch is available here; installing the default build, several gigabytes.", flush=True)
        _must(_pip(python, "install", f"torch=={TORCH}"))


def _torch_in(python: str) -> str:
    """The version of torch in that environment, without what tells builds apart (+cpu); empty if there is none."""
    ask = "from importlib.metadata import version; print(version('torch'))"
    answer = subprocess.run([python, "-c", ask], check=False, capture_output=True, text=True)
    return answer.stdout.strip().partition("+")[0]


def _install_with_uv(python: str) -> bool:
    """Let uv find the CPU build; it knows where torch publishes them."""
    if not _pip(python, "install", "--quiet", "uv", on_trial=True):
        return False
    command = [python, "-m", "uv", "pip", "install", "--python", python, "--torch-backend", "cpu", f"torch=={TORCH}"]
    return subprocess.run(command, check=False).returncode == 0


def _pip(python: str, command: str, *arguments: str, on_trial: bool = False) -> bool:
    """Run pip, with its progress bar where somebody watches; what it says of a trial that fails is not shown."""
    quiet = [] if sys.stdout.isatty() or "--quiet" in arguments else ["--quiet"]
    line = [python, "-m", "pip", "--disable-pip-version-check", command, *quiet, *arguments]
    return subprocess.run(line, check=False, stderr=subprocess.DEVNULL if on_trial else None).returncode == 0


def _must(done: bool) -> None:  # noqa: FBT001  reads as an assertion
    if not done:
        sys.exit("pip failed, see above. Run `make` again to continue from here.")


if __name__ == "__main__":
    main(*sys.argv[1:])
