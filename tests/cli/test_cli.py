"""The command line: what it writes, what it refuses, and its messages."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO

import pytest
import structlog
import torch
from click.testing import CliRunner, Result
from PIL import Image
from rich.progress import Progress, TaskID
from safetensors.torch import load_file, save_file

from cli import process_pool, valkey
from cli.main import main
from cli.photos import Photo, find
from cli.pictures import Task, plan_tasks, write
from cli.tune import report, unmet
from shared.conversion import Faces, Options
from shared.engines import EngineName
from shared.pipeline import Picture
from shared.settings import Settings, load_settings
from shared.styles import (
    BUNDLED_WEIGHTS,
    Size,
    Style,
    imported_weights,
    installed_styles,
    read_manifest,
    write_manifest,
)
from tests.conftest import ROOT, ToyEngine, free_port, photo_bytes, wait_until
from tests.worker.onnx_making import write_as_tensorflow
from worker import tuning_profile
from worker.engines.int8 import Int8Recipe, read_recipe, recipe_path
from worker.engines.probe import PHOTO
from worker.generator import AnimeGanV2
from worker.tune import MEGAPIXELS, Bounds, tune
from worker.tuning_profile import TuningProfile, plan_capacity
from worker.weights import load_generator


@pytest.fixture(autouse=True)
def _logs_of_the_tests() -> Iterator[None]:
    """Undo the command's logging configuration."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


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


def sakuga(*arguments: object, env: dict[str, str] | None = None, typed: str | None = None) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(main, words, input=typed, env=env, catch_exceptions=False)


def photo_at(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo_bytes(size, "JPEG", seed))
    return path


@pytest.mark.parametrize("group", [(), ("keys",), ("quarantine",), ("weights",)])
def test_the_list_of_commands_shows_whole_sentences(group: tuple[str, ...]) -> None:
    _, _, commands = sakuga(*group, "--help").stdout.partition("Commands:\n")
    lines = commands.splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if not line.endswith(".") or line.endswith("...")] == []


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
def test_original_is_as_large_as_the_photo(tmp_path: Path) -> None:
    photo = photo_at(tmp_path / "long.jpg", (1100, 64))
    for options, width in (((), 1024), (("--max-side", "original"), 1100)):
        assert sakuga("convert", photo, "-o", tmp_path / "a.png", "--replace", *options).exit_code == 0
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.width == width


@pytest.mark.parametrize("wrong", ["8193", "15", "-1", "big", "1.5"])
def test_a_wrong_size_is_refused_with_what_is_allowed(tmp_path: Path, wrong: str) -> None:
    result = sakuga("convert", photo_at(tmp_path / "a.jpg"), "-o", tmp_path / "out", f"--max-side={wrong}")
    assert result.exit_code == 2
    assert "is not a whole number from 16 to 8192, or original." in " ".join(result.stderr.split())


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
def test_the_styles_are_listed_with_licence_cost_and_preview() -> None:
    listed = sakuga("styles").stdout
    assert "hinata-light (default)" in listed
    assert "MIT" in listed
    assert "25 GMAC per megapixel" in listed
    assert "a luminous day" in listed
    assert str(BUNDLED_WEIGHTS / "hinata-light.webp") in listed


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


def test_an_onnx_is_imported_like_other_weights_and_tells_how_they_upsample(data_dir: Path, tmp_path: Path) -> None:
    file = write_as_tensorflow(AnimeGanV2().state_dict(), tmp_path / "Shinkai.onnx")
    done = sakuga("weights", "import", file, "--name", "shinkai", "--licence", "non-commercial")
    assert done.exit_code == 0, done.output
    assert installed_styles(data_dir)["shinkai"].upsample == "asymmetric"
    sakuga("weights", "import", file, "--name", "other", "--licence", "x", "--upsample", "half_pixel")
    assert installed_styles(data_dir)["other"].upsample == "half_pixel"


def test_other_weights_are_not_imported_without_how_they_upsample(data_dir: Path, checkpoint: Path) -> None:
    refused = sakuga("weights", "import", checkpoint, "--name", "mine", "--licence", "x")
    assert refused.exit_code == 1
    assert "use --upsample" in refused.stderr
    assert not imported_weights(data_dir).exists()


def test_an_imported_style_is_titled_after_its_name_unless_told(data_dir: Path, checkpoint: Path) -> None:
    sakuga("weights", "import", checkpoint, "--name", "face-paint-2", *MINE)
    sakuga("weights", "import", checkpoint, "--name", "other", "--title", "My own", *MINE)
    styles = installed_styles(data_dir)
    assert (styles["face-paint-2"].title, styles["other"].title) == ("Face paint 2", "My own")


def test_an_import_says_that_a_running_service_needs_no_restart(data_dir: Path, checkpoint: Path) -> None:
    assert "offers the new style at once" in sakuga("weights", "import", checkpoint, "--name", "mine", *MINE).stdout
    assert "mine" in installed_styles(data_dir)


def test_other_users_may_read_imported_weights(data_dir: Path, checkpoint: Path) -> None:
    before = os.umask(0o022)
    try:
        sakuga("weights", "import", checkpoint, "--name", "mine", *MINE)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in imported_weights(data_dir).iterdir()} == {0o644}


@pytest.fixture
def light_weights(tmp_path: Path) -> Path:
    """Weights of a light generator, which is quick to try out, that no style has."""
    tensors = load_file(BUNDLED_WEIGHTS / "hinata-light.safetensors")
    save_file(tensors | {"stem.bias": tensors["stem.bias"] + 0.01}, tmp_path / "light.safetensors")
    return tmp_path / "light.safetensors"


def import_light(file: Path, name: str, *options: str) -> Result:
    return sakuga("weights", "import", file, "--name", name, "--upsample", "half_pixel", "--licence", "x", *options)


def test_a_style_can_be_loaded_at_every_moment_of_its_replacement(
    data_dir: Path, light_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_light(BUNDLED_WEIGHTS / "hinata-light.safetensors", "mine")
    old = installed_styles(data_dir)["mine"]
    recipe_path(old).write_text("its recipe")

    def look_before(folder: Path, styles: list[Style]) -> None:
        load_generator(old)
        write_manifest(folder, styles)
        load_generator(installed_styles(data_dir)["mine"])

    monkeypatch.setattr("cli.weights.write_manifest", look_before)
    assert import_light(light_weights, "mine", "--replace").exit_code == 0
    new = installed_styles(data_dir)["mine"]
    assert new.sha256 != old.sha256
    assert {path.name for path in imported_weights(data_dir).iterdir()} == {"manifest.toml", new.file}


def test_two_imports_at_once_both_stay(data_dir: Path, light_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def import_another(_: object) -> None:
        monkeypatch.setattr("cli.weights._try_out", lambda _: None)
        assert import_light(light_weights, "other").exit_code == 0

    monkeypatch.setattr("cli.weights._try_out", import_another)
    assert import_light(light_weights, "mine").exit_code == 0
    assert {"mine", "other"} <= set(installed_styles(data_dir))


def test_a_removed_style_is_gone_and_the_others_stay(data_dir: Path, checkpoint: Path) -> None:
    for name in ("mine", "other"):
        sakuga("weights", "import", checkpoint, "--name", name, *MINE)
    removed = sakuga("weights", "remove", "mine")
    assert removed.exit_code == 0
    assert "no longer offers it" in removed.stdout
    assert set(installed_styles(data_dir)) - {style.name for style in read_manifest(BUNDLED_WEIGHTS)} == {"other"}
    kept = installed_styles(data_dir)["other"].file
    assert {path.name for path in imported_weights(data_dir).iterdir()} == {"manifest.toml", kept}
    again = sakuga("weights", "remove", "mine")
    assert again.exit_code == 1
    assert "imported are: other." in again.stderr


@pytest.mark.parametrize(("name", "why"), [("hinata-light", "bundled"), ("nope", "are: none."), ("[/b]", "none")])
def test_only_imported_styles_are_removed(data_dir: Path, name: str, why: str) -> None:
    refused = sakuga("weights", "remove", name)
    assert refused.exit_code == 1
    assert why in refused.stderr
    assert "hinata-light" in installed_styles(data_dir)


@pytest.fixture
def mine(data_dir: Path) -> Path:
    """The path for the recipe of an imported light style, which does not exist yet."""
    weights = BUNDLED_WEIGHTS / "hinata-light.safetensors"
    sakuga("weights", "import", weights, "--name", "mine", "--upsample", "half_pixel", "--licence", "MIT")
    return recipe_path(installed_styles(data_dir)["mine"])


def real_photos(folder: Path) -> list[Path]:
    """Four small, different photos."""
    paths = [folder / f"{turn}.png" for turn in range(4)]
    with Image.open(PHOTO) as photo:
        for turn, path in enumerate(paths):
            photo.convert("RGB").resize((96, 96)).rotate(90 * turn).save(path)
    return paths


def test_an_imported_style_is_calibrated_for_8_bit(data_dir: Path, mine: Path, tmp_path: Path) -> None:
    done = sakuga("weights", "quantise", "mine", *real_photos(tmp_path))
    assert done.exit_code == 0, done.stderr
    recipe = read_recipe(installed_styles(data_dir)["mine"])
    assert recipe is not None
    assert f"on 2 photos not used for calibration: PSNR {recipe.quality.psnr_db:.1f} dB" in done.stdout
    assert mine.exists()
    assert f"in 8 bit: PSNR {recipe.quality.psnr_db:.1f} dB, SSIM {recipe.quality.ssim:.3f}" in sakuga("styles").stdout


def test_a_style_that_8_bit_would_change_is_reported_as_a_failure(
    monkeypatch: pytest.MonkeyPatch, mine: Path, tmp_path: Path
) -> None:
    good = read_recipe(installed_styles(tmp_path)["hinata-light"])
    assert good is not None
    poor = good.model_copy(update={"quality": good.quality.model_copy(update={"ssim": 0.9})})
    monkeypatch.setattr("worker.engines.quantise.make_recipe", lambda *_: poor)
    done = sakuga("weights", "quantise", "mine", *real_photos(tmp_path))
    assert done.exit_code == 1
    assert "SSIM 0.900" in done.stdout
    assert "8 bit would visibly change mine" in done.stderr
    assert mine.exists()


def test_a_recipe_that_could_not_be_saved_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, tmp_path: Path
) -> None:
    def measure(*_: object) -> Int8Recipe:
        raise AssertionError

    style = installed_styles(data_dir)["hinata-light"].model_copy(update={"folder": Path("/dev/null")})
    monkeypatch.setattr("cli.weights.installed_styles", lambda _: {style.name: style})
    monkeypatch.setattr("worker.engines.quantise.make_recipe", measure)
    refused = sakuga("weights", "quantise", style.name, *real_photos(tmp_path))
    assert refused.exit_code == 1
    assert refused.stderr == "Error: The 8-bit recipe of hinata-light cannot be saved in /dev/null: Not a directory.\n"


@pytest.mark.parametrize("content", [b"ranges = 3", b"[", b"\xff\xfe"])
def test_a_malformed_recipe_hides_no_style(mine: Path, content: bytes) -> None:
    mine.write_bytes(content)
    listed = sakuga("styles")
    assert listed.exit_code == 0
    assert f"    in 8 bit: {mine.name} is malformed" in listed.stdout
    assert all(name in listed.stdout for name in ("hinata-light", "sumi-full", "mine:"))


@pytest.mark.parametrize("name", ["Upper", "../escape", "hinata-light", ""])
def test_an_invalid_name_is_refused(data_dir: Path, checkpoint: Path, name: str) -> None:
    result = sakuga("weights", "import", checkpoint, "--name", name, "--upsample", "half_pixel", "--licence", "MIT")
    assert result.exit_code == 1
    assert not imported_weights(data_dir).exists()


def test_a_file_without_weights_is_refused_and_nothing_is_kept(data_dir: Path, tmp_path: Path) -> None:
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


def test_the_doctor_reports_missing_engines_and_read_only_folders(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setattr(tuning_profile, "_version", lambda _: None)
    monkeypatch.setenv("SAKUGA_CACHE_DIR", "/dev/null/cache")
    found = sakuga("doctor")
    assert found.exit_code == 1
    assert "fail engine: No installed engine can draw hinata-light" in found.stdout
    assert "fail cache folder: " in found.stdout
    assert f"data folder: {data_dir}" in found.stdout


@pytest.mark.parametrize(("gib", "mib"), [(1, 256), (16, 2048)])
def test_the_embedded_queue_takes_an_eighth_of_the_memory_or_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gib: int, mib: int
) -> None:
    monkeypatch.setattr(valkey, "available_memory", lambda: gib << 30)
    words = valkey.command(tmp_path, tmp_path / "socket")
    assert words[words.index("--maxmemory") + 1] == str(mib << 20)


def test_an_unknown_setting_is_reported_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PROT", "8001")
    result = sakuga("up")
    assert result.exit_code == 1
    assert "did you mean SAKUGA_PORT?" in result.stderr


def test_an_error_is_reported_as_a_sentence_without_its_class(data_dir: Path, checkpoint: Path) -> None:
    named = ("--name", "mine", "--upsample", "asymmetric", "--licence", "x")
    sakuga("weights", "import", checkpoint, *named)
    again = sakuga("weights", "import", checkpoint, *named)
    assert again.stderr.startswith("Error: ")
    assert "out of range" not in again.stderr
    assert data_dir.exists()


@pytest.mark.usefixtures("data_dir")
def test_an_impossible_folder_is_reported_in_one_sentence(tmp_path: Path) -> None:
    photo = photo_at(tmp_path / "cat.jpg")
    for folder in (photo / "sub", Path("/dev/null/sub"), Path("/dev/full")):
        result = sakuga("convert", photo, "-o", folder)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {folder}")
        assert result.stderr.count("\n") == 1


def test_an_impossible_data_folder_is_reported_in_one_sentence() -> None:
    result = sakuga("up", "--data-dir", "/dev/null/sakuga")
    assert result.exit_code == 1
    assert result.stderr == "Error: /dev/null/sakuga: Not a directory.\n"


@pytest.mark.usefixtures("data_dir")
def test_existing_pictures_are_kept_unless_they_are_to_be_replaced(tmp_path: Path) -> None:
    photo, out = photo_at(tmp_path / "new" / "cat.jpg"), tmp_path / "out"
    other = photo_at(out / "cat.jpg", (32, 32))
    before = other.read_bytes()
    result = sakuga("convert", photo, "-o", out)
    assert result.exit_code == 0
    assert "1 numbered" in result.stderr
    assert other.read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["cat-2.jpg", "cat.jpg"]
    assert sakuga("convert", photo, "-o", out, "--replace").exit_code == 0
    assert other.read_bytes() == (out / "cat-2.jpg").read_bytes()
    assert len(list(out.iterdir())) == 2


@pytest.mark.usefixtures("data_dir")
def test_faces_can_be_drawn_like_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def watched(_photo: BinaryIO, options: Options, *_others: object) -> Picture:
        chosen.append(options.faces)
        return Picture(b"picture", 1, 1, (), {})

    chosen: list[Faces] = []
    monkeypatch.setattr("shared.pipeline.convert", watched)
    monkeypatch.setattr("cli.process_pool._engine", lambda *_: ToyEngine())
    photo = photo_at(tmp_path / "me.jpg")
    for options in ([], ["--faces", "auto"], ["--faces", "off"]):
        assert sakuga("convert", photo, "-o", tmp_path / "out", *options).exit_code == 0
    assert chosen == [Faces.AUTO, Faces.AUTO, Faces.OFF]
    assert sakuga("convert", photo, "-o", tmp_path / "out", "--faces", "on").exit_code == 2


@pytest.mark.usefixtures("data_dir")
def test_the_picture_of_a_single_photo_may_be_named(tmp_path: Path) -> None:
    photo = photo_at(tmp_path / "me.jpg")
    for name, kind in (("a.jpg", "JPEG"), ("new/b.PNG", "PNG"), ("c.jpeg", "JPEG"), ("d.webp", "WEBP")):
        done = sakuga("convert", photo, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert f"1 of 1 converted into {tmp_path / name}\n" in done.stderr
        with Image.open(tmp_path / name) as picture:
            assert picture.format == kind
    again = sakuga("convert", photo, "-o", tmp_path / "a.jpg")
    assert "1 numbered" in again.stderr
    assert (tmp_path / "a-2.jpg").exists()
    (tmp_path / "folder.jpg").mkdir()
    assert sakuga("convert", photo, "-o", tmp_path / "folder.jpg").exit_code == 0
    assert pictures_in(tmp_path / "folder.jpg") == ["me.jpg"]


@pytest.mark.usefixtures("data_dir")
def test_a_style_without_its_size_is_its_light_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photo_at(tmp_path / "me.jpg")
    for style, name in (("sumi", "a.png"), ("sumi-light", "b.png")):
        done = sakuga("convert", photo, "-s", style, "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    monkeypatch.setenv("SAKUGA_STYLE", "yoi")
    assert "yoi-light (default)" in sakuga("styles").stdout
    assert "default yoi-light" in sakuga("doctor").stdout


def test_a_style_may_not_have_the_name_of_a_bundled_one_without_its_size(checkpoint: Path, data_dir: Path) -> None:
    options = ("--upsample", "half_pixel", "--licence", "x")
    refused = sakuga("weights", "import", checkpoint, "--name", "sumi", *options)
    assert (refused.exit_code, "sumi is a bundled style" in refused.stderr) == (1, True)
    assert not imported_weights(data_dir).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["me.jpg", "me.jpg", "-o", "out.jpg"], "give a folder"),
        ([".", "-o", "out.jpg"], "give a folder"),
        (["me.jpg", "-o", "out.gif"], ".jpg, .png or .webp"),
        (["me.jpg", "-o", "out.png", "--format", "jpeg"], "--format is jpeg"),
        (["me.jpg", "-o", "me.jpg", "--replace"], "one of the photos"),
    ],
)
@pytest.mark.usefixtures("data_dir")
def test_a_name_that_no_picture_can_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    photo_at(tmp_path / "in" / "me.jpg")
    monkeypatch.chdir(tmp_path / "in")
    refused = sakuga("convert", *arguments)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert pictures_in(tmp_path / "in") == ["me.jpg"]


@pytest.mark.usefixtures("data_dir")
def test_a_photo_is_not_overwritten_even_when_pictures_are_to_be_replaced(tmp_path: Path) -> None:
    result = sakuga("convert", photo_at(tmp_path / "cat.jpg"), "-o", tmp_path, "--replace")
    assert result.exit_code == 1
    assert "another folder" in result.stderr


def test_names_that_differ_only_in_case_do_not_share_a_picture(tmp_path: Path) -> None:
    photos = [Photo(Path("a/Cat.jpg"), Path("Cat.jpg")), Photo(Path("b/cat.jpg"), Path("cat.jpg"))]
    names = [task.picture.name for task in plan_tasks(photos, tmp_path, "jpg")]
    assert names == ["Cat.jpg", "cat-2.jpg"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["con.jpg", "LPT².png", "CONOUT$.heic"], ["_con.jpg", "_LPT².jpg", "_CONOUT$.jpg"]),
        (["a:b.jpg", "a?b.jpg", "c\\d.jpg"], ["a_b.jpg", "a_b-2.jpg", "c/d.jpg"]),
        (["trip. /a .jpg", "b.jpg. ."], ["trip/a .jpg", "b.jpg"]),
        (["e\u0301.jpg", "é.jpg"], ["é.jpg", "é-2.jpg"]),
        (["Trip.heic", "trip.JPG/a.jpg"], ["Trip-2.jpg", "trip.JPG/a.jpg"]),
        (["IMG.2024", "IMG.2025"], ["IMG.2024.jpg", "IMG.2025.jpg"]),
        (["x/" * 12 + "a.jpg"], ["x/" * 7 + "a.jpg"]),
    ],
)
def test_pictures_have_names_that_every_system_can_have(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    photos = [Photo(Path(name), PurePosixPath(name)) for name in names]
    made = [task.picture.relative_to(tmp_path).as_posix() for task in plan_tasks(photos, tmp_path, "jpg")]
    assert made == expected


def test_the_picture_of_a_photo_with_the_longest_name_can_be_written(tmp_path: Path) -> None:
    photo = photo_at(tmp_path / "in" / f"{'x' * 251}.jpg")
    other = photo_at(tmp_path / "more" / f"{'x' * 251}.jpg")
    for task in plan_tasks([Photo(path, PurePath(path.name)) for path in (photo, other)], tmp_path / "out", "webp"):
        write(task.picture, b"picture")
    assert len(pictures_in(tmp_path / "out")) == 2


def test_whatever_is_skipped_in_a_folder_is_counted_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "#recycle/b.jpg", "My.photoslibrary/originals/c.jpg"):
        photo_at(tmp_path / "in" / name)
    photo_at(tmp_path / "in" / "My.photoslibrary" / "resources" / "c.jpg")
    for name in ("notes.txt", "older.zip", "newer.7z"):
        (tmp_path / "in" / name).write_text("not a photo")
    (tmp_path / "in" / "up").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    found = find([tmp_path / "in"], output=tmp_path / "out")
    assert [photo.name.as_posix() for photo in found.photos] == ["a.jpg", "My.photoslibrary/originals/c.jpg"]
    assert found.remark == (
        "; 2 archives skipped: unpack them first; 2 files skipped because they are not photos"
        "; 3 hidden files or folders skipped; 1 link skipped because it is not followed"
    )


def test_help_imports_little() -> None:
    heavy = {"PIL", "numpy", "pydantic", "structlog", "asyncio", "httpx", "redis"}
    watch = (
        f"import atexit, sys; atexit.register(lambda: print(sorted({heavy} & set(sys.modules)), file=sys.stderr)); "
        "from cli.main import main; main()"
    )
    command = [sys.executable, "-c", watch, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "convert" in done.stdout
    assert done.stderr == "[]\n"


@pytest.mark.usefixtures("data_dir")
def test_without_a_photo_no_engine_is_loaded_and_no_folder_made(tmp_path: Path) -> None:
    folder, out = tmp_path / "holiday", tmp_path / "out"
    folder.mkdir()
    watch = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); from cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", watch, "convert", tmp_path / "no.jpg", folder, "-o", out],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert "no.jpg: No such file" in done.stderr
    assert "holiday: contains no photos" in done.stderr
    assert "0 of 2 converted" in done.stderr
    assert not out.exists()


def pictures_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("data_dir")
def test_folders_are_converted_with_their_subfolders(tmp_path: Path) -> None:
    holiday = tmp_path / "holiday"
    for seed, name in enumerate(
        ("beach/cat.jpg", "cat.jpg", "beach/far/cat.jpg", "no-suffix", ".trash/a.jpg", "._b.jpg")
    ):
        photo_at(holiday / name, seed=seed)
    (holiday / "notes.txt").write_text("sunny")
    (holiday / "bad.jpg").write_text("no photo")
    result = sakuga("convert", holiday, photo_at(tmp_path / "dog.jpg"), "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "bad.jpg" in result.stderr
    assert "5 of 6 converted" in result.stderr
    assert "1 failed; 1 file skipped because it is not a photo; 2 hidden files or folders skipped" in result.stderr
    assert pictures_in(tmp_path / "out") == [
        "beach/cat.jpg",
        "beach/far/cat.jpg",
        "cat.jpg",
        "dog.jpg",
        "no-suffix.jpg",
    ]


@pytest.mark.usefixtures("data_dir")
def test_links_are_not_followed_and_pictures_in_the_folder_are_not_converted(tmp_path: Path) -> None:
    holiday = tmp_path / "holiday"
    photo_at(holiday / "cat.jpg")
    (holiday / "same.jpg").symlink_to(holiday / "cat.jpg")
    (holiday / "private.jpg").symlink_to(photo_at(tmp_path / "private.jpg"))
    (holiday / "up").symlink_to(tmp_path, target_is_directory=True)
    for _ in range(2):
        assert sakuga("convert", holiday, "-o", holiday / "anime", "--replace").exit_code == 0
    assert pictures_in(holiday / "anime") == ["cat.jpg", "same.jpg"]
    refused = sakuga("convert", holiday, "-o", holiday)
    assert refused.exit_code == 1
    assert "choose another folder" in refused.stderr


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_ctrl_c_reports_what_was_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: str) -> None:
    for seed in range(8):
        photo_at(tmp_path / "in" / f"{seed}.jpg", seed=seed)
    shown: list[str] = []

    def show(self: Progress, bar: TaskID) -> None:  # noqa: ARG001
        shown.append("one")
        if len(shown) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(process_pool, "WORTH_IT", 1)
    monkeypatch.setenv("SAKUGA_PROCESSES", processes)
    monkeypatch.setattr(Progress, "advance", show)
    stopped = sakuga("convert", tmp_path / "in", "-o", tmp_path / "out")
    assert stopped.exit_code == 130
    assert f"Stopped. 2 of 8 pictures in {tmp_path / 'out'}" in stopped.stderr
    assert 2 <= len(pictures_in(tmp_path / "out")) < 8


@pytest.mark.usefixtures("data_dir")
def test_many_photos_are_shared_among_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PROCESSES", "2")
    monkeypatch.setattr(process_pool, "WORTH_IT", 2)
    for seed in range(6):
        photo_at(tmp_path / "in" / f"{seed}.jpg", seed=seed)
    (tmp_path / "in" / "bad.jpg").write_text("no photo")
    assert process_pool.capacity_for(7, load_settings()).processes == 2
    apart = sakuga("convert", tmp_path / "in", "-o", tmp_path / "apart")
    assert apart.exit_code == 1
    assert "6 of 7 converted" in apart.stderr
    monkeypatch.setenv("SAKUGA_PROCESSES", "1")
    sakuga("convert", tmp_path / "in", "-o", tmp_path / "together")
    assert pictures_in(tmp_path / "apart") == [f"{seed}.jpg" for seed in range(6)]
    for name in pictures_in(tmp_path / "apart"):
        assert (tmp_path / "apart" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


def test_a_few_photos_start_no_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PROCESSES", "4")
    monkeypatch.setattr(process_pool, "available_cores", lambda: 4)
    found = [process_pool.capacity_for(photos, load_settings()) for photos in (1, 8, 16, 100)]
    assert [(one.processes, one.threads) for one in found] == [(1, 4), (1, 4), (2, 2), (4, 1)]


@pytest.mark.usefixtures("data_dir")
def test_a_killed_process_costs_only_the_photo_it_was_converting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[process_pool.Process] = []

    class Mortal(process_pool.Process):
        def give(self, task: Task) -> None:
            if not started:
                self._process.kill()
                self._process.join()
            started.append(self)
            super().give(task)

    monkeypatch.setattr(process_pool, "Process", Mortal)
    monkeypatch.setattr(process_pool, "WORTH_IT", 1)
    monkeypatch.setenv("SAKUGA_PROCESSES", "2")
    for seed in range(4):
        photo_at(tmp_path / "in" / f"{seed}.jpg", seed=seed)
    result = sakuga("convert", tmp_path / "in", "-o", tmp_path / "out")
    assert "lack of memory" in result.stderr
    assert "3 of 4 converted" in result.stderr
    assert len(pictures_in(tmp_path / "out")) == 3


@pytest.mark.usefixtures("data_dir")
def test_an_error_of_every_process_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PROCESSES", "2")
    monkeypatch.setenv("SAKUGA_CACHE_DIR", "/dev/null/cache")
    monkeypatch.setenv("SAKUGA_ENGINE", "openvino")
    monkeypatch.setattr(process_pool, "WORTH_IT", 1)
    for seed in range(4):
        photo_at(tmp_path / "in" / f"{seed}.jpg", seed=seed)
    result = sakuga("convert", tmp_path / "in", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("Error: SAKUGA_CACHE_DIR cannot store") == 1


@pytest.mark.usefixtures("data_dir")
def test_standard_output_carries_only_the_result(tmp_path: Path) -> None:
    result = sakuga("convert", photo_at(tmp_path / "cat.jpg"), "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "engine warm" not in result.stderr


@pytest.mark.usefixtures("data_dir")
def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    result = sakuga("convert", tmp_path / "[red]no[/].jpg", "-o", tmp_path / "out")
    assert "[red]no[/].jpg" in result.stderr


def test_a_setting_unlike_any_known_one_gets_no_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_NONSENSE", "1")
    assert "did you mean" not in sakuga("styles").stderr


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(("count", "said"), [("1", "1 worker process of 1 thread"), ("2", "2 worker processes of 1")])
def test_the_doctor_counts_in_words(monkeypatch: pytest.MonkeyPatch, count: str, said: str) -> None:
    monkeypatch.setenv("SAKUGA_PROCESSES", count)
    assert said in sakuga("doctor").stdout


@pytest.mark.parametrize("part", ["web", "worker"])
def test_a_part_logs_its_settings_and_that_the_queue_is_unreachable(data_dir: Path, tmp_path: Path, part: str) -> None:
    log = tmp_path / "log"
    environment = os.environ | {
        "SAKUGA_REDIS_URL": "redis://:secret@127.0.0.1:1/0",
        "SAKUGA_PORT": str(free_port()),
        "SAKUGA_PROCESSES": "1",
    }
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", part], cwd=ROOT, env=environment, stdout=file, stderr=file)
    try:
        wait_until(lambda: "is not responding" in log.read_text(), "the queue is missed")
    finally:
        process.terminate()
        process.wait(30)
    said = log.read_text()
    assert f"{part} starting" in said
    assert f"file:{data_dir}/store" in said
    assert "redis://:**@127.0.0.1:1/0" in said
    assert "secret" not in said


def test_every_setting_is_in_the_documentation() -> None:
    documented = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert [name for name in Settings.model_fields if f"| `SAKUGA_{name.upper()}` |" not in documented] == []


@pytest.mark.parametrize(
    ("found", "installs"), [("2.13.0", 0), ("2.13.0+cpu", 0), ("2.12.1+cpu", 1), ("2.13.0.post1", 1), ("", 1)]
)
def test_torch_is_installed_where_another_version_is(tmp_path: Path, found: str, installs: int) -> None:
    python, asked = tmp_path / "python", tmp_path / "asked"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && echo {found} || echo "$@" >> {asked}\n')
    python.chmod(0o755)
    code = f"import install; install.TORCH = '2.13.0'; install._install_torch({str(python)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "deploy", check=True)
    lines = asked.read_text().splitlines() if asked.exists() else []
    assert ["torch==2.13.0" in line for line in lines] == [True] * installs


def test_requirements_are_pinned_but_not_what_the_installation_chooses() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert {"celery", "flask", "pytest", "numpy", "scikit-image"} <= pinned
    assert not {"torch", "sakuga", "uv", "pip", "setuptools"} & pinned


PROFILE = TuningProfile(
    node="this one",
    size=Size.LIGHT,
    asked="auto",
    engine=EngineName.OPENVINO_INT8,
    processes=2,
    threads=1,
    megapixels_per_s=2 * MEGAPIXELS,
    latency_s=1,
    memory_bytes=150 << 20,
    memory_budget=600 << 20,
)


@pytest.mark.usefixtures("data_dir")
def test_a_machine_is_tuned_for_the_engine_and_the_memory_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAKUGA_ENGINE", "openvino")
    monkeypatch.setenv("SAKUGA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("worker.tune.available_cores", lambda: 1)
    monkeypatch.setattr("cli.tune.tune", partial(tune, seconds=0.1))
    done = sakuga("tune", "--memory", 600, "--price-per-hour", "0.04")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.split()[:4] for line in done.stdout.splitlines() if " x 1 " in line] == [["openvino", "1", "x", "1"]]
    assert "openvino in 1 process of 1 thread: " in done.stdout
    assert "At 0.04 per hour: " in done.stdout
    assert "SAKUGA_ENGINE=openvino" in done.stdout
    node = plan_capacity(Settings())
    assert (node.processes, node.memory) == (1, 600 << 20)


def test_the_report_says_what_a_picture_costs() -> None:
    assert report(PROFILE, 0.036) == [
        "[bold]openvino-int8[/] in 2 processes of 1 thread: 0.52 megapixels/s, 7,200 pictures/hour, 1.00 s each.",
        "Each additional process takes 157 MB of memory.",
        "At 0.036 per hour: 0.0050 per 1,000 pictures, in the same currency.",
    ]
    assert report(PROFILE, None) == report(PROFILE, 0.036)[:2]


def test_a_bound_that_no_layout_met_is_named() -> None:
    assert unmet(PROFILE, Bounds(latency_s=1, memory_bytes=300 << 20)) == []
    late, large = unmet(PROFILE, Bounds(latency_s=0.5, memory_bytes=200 << 20))
    assert "takes 1.00 s; --max-latency allows 0.5 s" in late
    assert "needs 300 MiB of memory; --memory allows 200 MiB" in large
    assert late.startswith("[yellow]No layout meets the limits")


@pytest.mark.usefixtures("data_dir")
def test_nothing_is_measured_where_the_choice_cannot_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> TuningProfile:
        raise AssertionError

    monkeypatch.setattr("cli.tune.tune", measure)
    monkeypatch.setenv("SAKUGA_CACHE_DIR", "/dev/null/cache")
    done = sakuga("tune")
    assert done.exit_code == 1
    assert done.stderr == "Error: SAKUGA_CACHE_DIR cannot store the measurements: Not a directory.\n"


@pytest.mark.usefixtures("data_dir")
def test_a_calibration_is_not_written_over_by_accident(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(photo_bytes())
    done = sakuga("weights", "quantise", "hinata-light", str(tmp_path / "photo.png"))
    assert done.exit_code == 1
    assert "--replace" in done.stderr
