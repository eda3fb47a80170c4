"""The command line: what it writes, what it refuses, and how it says so."""

import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from cli.main import main
from shared.styles import imported_weights, installed_styles
from tests.conftest import photo_bytes
from worker.generator import AnimeGanV2


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAKUGA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SAKUGA_THREADS", "1")
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    torch.save(AnimeGanV2().state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def sakuga(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def photo_at(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo_bytes(size, "JPEG", seed))
    return path


@pytest.mark.usefixtures("data_dir")
def test_one_bad_photo_never_stops_the_others_and_is_named(tmp_path: Path) -> None:
    good, bad = photo_at(tmp_path / "good.jpg"), tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    result = sakuga("convert", bad, good, tmp_path / "missing.jpg", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "bad.jpg" in result.stderr
    assert "missing.jpg" in result.stderr
    assert "1 of 3 converted" in result.stderr
    with Image.open(tmp_path / "out" / "good.jpg") as picture:
        assert picture.size == (64, 48)


@pytest.mark.usefixtures("data_dir")
def test_photos_of_the_same_name_get_numbers(tmp_path: Path) -> None:
    photos = [photo_at(tmp_path / folder / "cat.jpg", seed=seed) for seed, folder in enumerate("abc")]
    assert sakuga("convert", *photos, "-o", tmp_path / "out", "--format", "png").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat-2.png", "cat-3.png", "cat.png"]


@pytest.mark.usefixtures("data_dir")
def test_a_photo_is_never_overwritten_by_its_picture(tmp_path: Path) -> None:
    photo = photo_at(tmp_path / "cat.jpg")
    before = photo.read_bytes()
    result = sakuga("convert", photo, "-o", tmp_path)
    assert result.exit_code == 1
    assert "another folder" in result.stderr
    assert photo.read_bytes() == before


@pytest.mark.usefixtures("data_dir")
def test_an_unknown_style_names_the_known_ones(tmp_path: Path) -> None:
    result = sakuga("convert", photo_at(tmp_path / "cat.jpg"), "-o", tmp_path / "out", "-s", "nope")
    assert result.exit_code == 1
    assert "hinata-light" in result.stderr


@pytest.mark.usefixtures("data_dir")
def test_the_styles_are_listed_with_their_licence() -> None:
    listed = sakuga("styles").stdout
    assert "hinata-light (default)" in listed
    assert "MIT" in listed


def test_imported_weights_are_a_style_like_any_other(data_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    named = ("--name", "mine", "--upsample", "asymmetric", "--licence", "non-commercial")
    assert sakuga("weights", "import", checkpoint, *named).exit_code == 0
    style = installed_styles(data_dir)["mine"]
    assert (style.size, style.upsample, style.licence) == ("full", "asymmetric", "non-commercial")
    photo = photo_at(tmp_path / "cat.jpg")
    assert sakuga("convert", photo, "-o", tmp_path / "out", "-s", "mine").exit_code == 0
    again = sakuga("weights", "import", checkpoint, *named)
    assert again.exit_code == 1
    assert "--replace" in again.stderr
    assert sakuga("weights", "import", checkpoint, *named, "--replace").exit_code == 0


MINE = ("--upsample", "asymmetric", "--licence", "non-commercial")


def test_an_imported_style_is_titled_after_its_name_unless_told(data_dir: Path, checkpoint: Path) -> None:
    sakuga("weights", "import", checkpoint, "--name", "face-paint-2", *MINE)
    sakuga("weights", "import", checkpoint, "--name", "other", "--title", "My own", *MINE)
    styles = installed_styles(data_dir)
    assert (styles["face-paint-2"].title, styles["other"].title) == ("Face paint 2", "My own")


def test_an_import_says_that_a_running_service_must_be_restarted(data_dir: Path, checkpoint: Path) -> None:
    assert "restarted" in sakuga("weights", "import", checkpoint, "--name", "mine", *MINE).stdout
    assert "mine" in installed_styles(data_dir)


def test_other_users_may_read_imported_weights(data_dir: Path, checkpoint: Path) -> None:
    before = os.umask(0o022)
    try:
        sakuga("weights", "import", checkpoint, "--name", "mine", *MINE)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in imported_weights(data_dir).iterdir()} == {0o644}


def test_a_removed_style_is_gone_and_the_others_stay(data_dir: Path, checkpoint: Path) -> None:
    for name in ("mine", "other"):
        sakuga("weights", "import", checkpoint, "--name", name, *MINE)
    removed = sakuga("weights", "remove", "mine")
    assert removed.exit_code == 0
    assert "Restart" in removed.stdout
    assert set(installed_styles(data_dir)) == {"hinata-light", "other"}
    assert {path.name for path in imported_weights(data_dir).iterdir()} == {"manifest.toml", "other.safetensors"}
    again = sakuga("weights", "remove", "mine")
    assert again.exit_code == 1
    assert "There are: other." in again.stderr


@pytest.mark.parametrize(("name", "why"), [("hinata-light", "bundled"), ("nope", "There are: none."), ("[/b]", "none")])
def test_only_imported_styles_are_removed(data_dir: Path, name: str, why: str) -> None:
    refused = sakuga("weights", "remove", name)
    assert refused.exit_code == 1
    assert why in refused.stderr
    assert "hinata-light" in installed_styles(data_dir)


@pytest.mark.parametrize("name", ["Upper", "../escape", "hinata-light", ""])
def test_a_name_that_cannot_be_is_refused(data_dir: Path, checkpoint: Path, name: str) -> None:
    result = sakuga("weights", "import", checkpoint, "--name", name, "--upsample", "half_pixel", "--licence", "MIT")
    assert result.exit_code == 1
    assert not imported_weights(data_dir).exists()


def test_a_file_that_is_no_weights_is_refused_and_nothing_kept(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"no weights")
    result = sakuga("weights", "import", tmp_path / "w.pt", "--name", "w", "--upsample", "half_pixel", "--licence", "x")
    assert result.exit_code == 1
    assert "w.pt" in result.stderr
    assert not imported_weights(data_dir).exists()


def test_the_doctor_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setenv("SAKUGA_PORT", "0")
    healthy = sakuga("doctor")
    assert healthy.exit_code == 0, healthy.output
    assert str(data_dir) in healthy.output
    monkeypatch.setenv("SAKUGA_STYLE", "nope")
    monkeypatch.setenv("SAKUGA_REDIS_URL", "redis://127.0.0.1:1/0")
    sick = sakuga("doctor")
    assert sick.exit_code == 1
    assert sick.output.count("fail") == 2


def test_a_setting_that_does_not_exist_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PROT", "8001")
    result = sakuga("up")
    assert result.exit_code == 1
    assert "did you mean SAKUGA_PORT?" in result.stderr
