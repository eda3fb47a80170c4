"""Write constraints.txt: `make lock`. Pins the versions installed here of what pyproject.toml needs, and nothing else.

A virtual environment gathers what somebody once tried out; what cannot be reached from our own requirements stays out.
"""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
OURS = Requirement("sakuga[dev]")
UNPINNED = {"pip", "sakuga", "setuptools", "torch"}  # deploy/install.py names the version of torch


def main() -> None:
    needed: dict[str, set[str]] = {}
    _reach(OURS, needed)
    names = sorted(needed.keys() - UNPINNED)
    CONSTRAINTS.write_text("".join(f"{_pin(name)}\n" for name in names), "utf-8")
    print(f"{len(names)} versions written to {CONSTRAINTS.name}")


def _reach(requirement: Requirement, needed: dict[str, set[str]]) -> None:
    """Add a requirement and what it needs itself to `needed`: names, and the extras that were asked for."""
    name = canonicalize_name(requirement.name)
    extras = {"", *requirement.extras}
    if name in needed and extras <= needed[name]:
        return
    needed.setdefault(name, set()).update(extras)
    for line in _requirements(name):
        below = Requirement(line)
        if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in extras):
            _reach(below, needed)


def _requirements(name: str) -> list[str]:
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        sys.exit(f"{name} is required but not installed; run `make install EXTRA=dev` first.")


def _pin(name: str) -> str:
    found = distribution(name)
    return f"{found.metadata['Name']}=={found.version}"


if __name__ == "__main__":
    main()
