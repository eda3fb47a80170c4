"""`sakuga preview`: one photo in several styles on a sheet."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main
from tests.conftest import photo_bytes


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAKUGA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SAKUGA_THREADS", "1")
    photo = tmp_path / "cat.png"
    photo.write_bytes(photo_bytes((640, 480)))
    return photo


def sakuga(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["preview", *map(str, arguments)], catch_exceptions=False)


def test_a_sheet_shows_the_photo_beside_its_previews_and_replaces_no_file(photo: Path, tmp_path: Path) -> None:
    done = sakuga(photo, "-o", tmp_path / "sheet.png", "-s", "sumi", "--style", "hinata-light")
    assert (done.exit_code, done.stderr) == (0, f"{tmp_path / 'sheet.png'}: sumi-light, hinata-light\n")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (3 * (256 + 16) + 16, 192 + 28 + 2 * 16)
    before = Image.open(photo).resize((256, 192), Image.Resampling.LANCZOS)
    beside = [np.asarray(sheet.crop((16 + 272 * place, 16, 272 + 272 * place, 208)), np.float64) for place in range(3)]
    assert np.abs(beside[0] - np.asarray(before)).mean() < 3
    assert np.abs(beside[1] - beside[2]).mean() > 3
    again = sakuga(photo, "-o", tmp_path / "sheet.png", "-s", "sumi")
    assert again.stderr == f"{tmp_path / 'sheet-2.png'}: sumi-light\n"


def test_a_transparent_photo_is_shown_on_white_as_it_is_drawn(photo: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (256, 192), (200, 0, 0, 0)).save(photo)
    assert sakuga(photo, "-o", tmp_path / "sheet.png", "-s", "sumi").exit_code == 0
    sheet = Image.open(tmp_path / "sheet.png")
    assert np.asarray(sheet.crop((16, 16, 272, 208))).min() == 255


def test_a_folder_takes_a_sheet_named_after_the_photo(photo: Path, tmp_path: Path) -> None:
    assert sakuga(photo, "-o", tmp_path / "sheets", "-s", "sumi").exit_code == 0
    assert [file.name for file in (tmp_path / "sheets").iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize(
    ("output", "style", "words"),
    [
        ("sheet.jpg", "monet", "style must be one of: hinata-light"),
        ("sheet.gif", "sumi", "pictures are .jpg, .png or .webp files"),
        ("cat.png", "sumi", "is one of the photos"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_no_file_is_made(
    photo: Path, tmp_path: Path, output: str, style: str, words: str
) -> None:
    before = photo.read_bytes()
    done = sakuga(photo, "-o", tmp_path / output, "-s", style)
    assert done.exit_code == 1
    assert words in done.stderr
    assert [file for file in tmp_path.iterdir() if file.is_file()] == [photo]
    assert photo.read_bytes() == before


def test_a_file_that_is_no_photo_is_said_to_be_none(photo: Path, tmp_path: Path) -> None:
    photo.write_text("Dear diary")
    done = sakuga(photo, "-o", tmp_path / "sheet.jpg", "-s", "sumi")
    assert (done.exit_code, "JPEG" in done.stderr) == (1, True)
