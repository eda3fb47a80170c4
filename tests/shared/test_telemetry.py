"""Logs of every process: one JSON object a line, whatever is logged."""

import json
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT

DECODE = """
import sys
from shared.photos.decoding import decode
from shared.photos.formats import Limits
from shared.telemetry import configure_logs

configure_logs("INFO")
with open(sys.argv[1], "rb") as file:
    print(decode(file, Limits(1 << 20, 64), max_side=64).size)
"""
OPEN_LARGE = """
import io
from PIL import Image
from shared.telemetry import configure_logs

configure_logs("INFO")
photo = io.BytesIO()
Image.new("RGB", (40, 40)).save(photo, "PNG")
Image.MAX_IMAGE_PIXELS = 1000
Image.open(photo)
print(set(vars(Image).get("__warningregistry__", {})) - {"version"})
"""
WARN = """
import warnings
from shared.telemetry import configure_logs

configure_logs("INFO")
warnings.warn("the disk is old")
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)


def photo_with_exif(exif: bytes) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def whole_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 50
    return exif.tobytes()


@pytest.mark.parametrize(
    "exif",
    [whole_exif()[:16], whole_exif()[:-40], whole_exif().replace((51).to_bytes(4), (1 << 30).to_bytes(4))],
    ids=["without entries", "cut short", "longer than the file"],
)
def test_damaged_exif_of_a_photo_is_not_logged(tmp_path: Path, exif: bytes) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(photo_with_exif(exif))
    done = run(DECODE, str(photo))
    assert done.stdout == "(64, 48)\n"
    assert done.stderr == ""


def test_the_size_of_a_large_photo_is_neither_logged_nor_remembered() -> None:
    done = run(OPEN_LARGE)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_warning_is_logged_as_json() -> None:
    (line,) = run(WARN).stderr.splitlines()
    event = json.loads(line)
    assert event["level"] == "warning"
    assert "the disk is old" in event["event"]
