"""The wheel: what is installed where there is no checkout."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT

# What deploy/Dockerfile copies; the caches and runs of training are not ours.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "cli", "shared", "training", "web", "weights", "worker")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel, built of a copy, without the network."""
    pytest.importorskip("setuptools", minversion="77")
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "runs"))
        else:
            shutil.copy(ROOT / name, copy)
    done = subprocess.run([sys.executable, "-c", BUILD, built], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = built.iterdir()
    with zipfile.ZipFile(made) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("part", ["cli", "shared", "web", "weights", "worker"])
def test_the_wheel_has_every_file_of_a_part(wheel: set[str], part: str) -> None:
    files = {str(file.relative_to(ROOT)) for file in (ROOT / part).rglob("*") if file.is_file()}
    assert {file for file in files - wheel if "__pycache__" not in file} == set()


def test_the_wheel_has_both_licences_and_the_face_detector(wheel: set[str]) -> None:
    licences = {name.partition(".dist-info/licenses/")[2] for name in wheel}
    assert {"LICENSE", "weights/faces/LICENSE"} <= licences
    assert "weights/faces/blazeface-short-range.tflite" in wheel
