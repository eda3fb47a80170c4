"""The styles of a node, and what they may be called."""

from pathlib import Path

import pytest

from shared.errors import UnknownStyleError, WeightsError
from shared.styles import BUNDLED_WEIGHTS, MANIFEST, Size, Style, Styles, write_manifest


def styles_of(folder: Path, **sizes: Size) -> Styles:
    made = [
        Style(name=name.replace("_", "-"), title=name, size=size, file=f"{name}.pt", sha256="0" * 64, licence="MIT")
        for name, size in sizes.items()
    ]
    write_manifest(folder, made)
    return Styles(folder)


@pytest.mark.parametrize("look", ["hinata", "yoi", "sumi"])
def test_a_bundled_style_without_its_size_is_the_light_one(look: str) -> None:
    styles = Styles(BUNDLED_WEIGHTS)
    assert look in styles
    assert look not in list(styles), "it is another name of one that is listed"
    assert styles[look] is styles[f"{look}-light"]
    assert styles.full_name(look) == f"{look}-light"
    assert styles.full_name(f"{look}-full") == f"{look}-full"


def test_a_style_that_comes_in_one_size_has_that(tmp_path: Path) -> None:
    styles = styles_of(tmp_path, paint_full=Size.FULL)
    assert styles.full_name("paint") == "paint-full"


def test_a_name_without_a_size_that_is_a_full_name_stays_what_it_is(tmp_path: Path) -> None:
    styles = styles_of(tmp_path, paint=Size.FULL, paint_light=Size.LIGHT)
    assert styles["paint"].size is Size.FULL
    assert styles.full_name("paint-light") == "paint-light"


def test_a_style_that_is_not_installed_keeps_its_name_and_cannot_be_had(tmp_path: Path) -> None:
    styles = styles_of(tmp_path, paint_full=Size.FULL)
    assert styles.full_name("sumi") == "sumi"
    assert "paint-light" not in styles
    with pytest.raises(UnknownStyleError, match=r"style must be one of: paint-full\."):
        styles["sumi"]


def test_styles_that_are_added_or_removed_are_noticed(tmp_path: Path) -> None:
    styles = Styles(tmp_path)
    assert len(styles) == 0
    styles_of(tmp_path, paint_full=Size.FULL, brush=Size.LIGHT)
    assert styles.full_name("paint") == "paint-full"
    assert [style.name for style in styles.values()] == list(styles) == ["paint-full", "brush"]
    styles_of(tmp_path, brush=Size.FULL)
    assert "paint" not in styles
    assert dict(styles.items()).keys() == {"brush"}
    assert styles["brush"].size is Size.FULL


def test_a_manifest_that_becomes_invalid_changes_nothing_until_it_is_mended(tmp_path: Path) -> None:
    styles = styles_of(tmp_path, brush=Size.LIGHT)
    for broken in (b"[[style]]\nname = 'mine'\n", b"no TOML", b"\xff"):
        (tmp_path / MANIFEST).write_bytes(broken)
        assert list(styles) == ["brush"]
        with pytest.raises(WeightsError):
            Styles(tmp_path)
    styles_of(tmp_path, paint=Size.FULL)
    assert list(styles) == ["paint"]


@pytest.mark.parametrize(
    "change",
    [{"sha256": "0" * 64}, {"upsample": "asymmetric"}, {"drawn_at": 512}, {"close_ups": False}, {"small_faces": False}],
)
def test_what_decides_the_picture_decides_the_digest_of_a_style(change: dict[str, object]) -> None:
    style = Styles(BUNDLED_WEIGHTS)["hinata-light"]
    assert style.model_copy(update=change).digest != style.digest
    assert style.model_copy(update={"title": "Other", "preview": ""}).digest == style.digest
