"""Names of photos: which files are photos, and names that every system can have."""

import json
import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import shared.photos.filenames
from shared.errors import InvalidValueError
from shared.photos.filenames import (
    UniqueNames,
    folded,
    is_archive_name,
    is_clutter,
    is_photo_name,
    picture_name,
    safe_name,
    with_ending,
    with_number,
)
from tests.conftest import ROOT

DEVICES = {
    *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
    *(f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"),
}
PARTS = st.one_of(
    st.text(max_size=300),
    st.text(" .aé桜🎌", max_size=300),
    st.builds(
        "{}{}{}".format, st.sampled_from(sorted(DEVICES)), st.sampled_from(["", " ", " " * 240]), st.text(max_size=8)
    ),
)
NAMES = st.lists(PARTS, max_size=12).map("/".join)
FILES = json.loads((ROOT / "tests" / "page" / "files.json").read_text("utf-8"))


def require_safe(name: str) -> None:
    """Check a name by the rules of Windows, macOS and Linux."""
    assert len(name.encode()) <= 1024 - 200
    for part in name.split("/"):
        assert 0 < len(part.encode()) <= 255 - 16
        assert part not in {".", ".."}
        assert not part.endswith((" ", "."))
        assert part.split(".")[0].rstrip(" ").upper() not in DEVICES
        assert not set(part) & set('<>:"|?*\\')
        assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in part)


@given(NAMES)
def test_a_name_from_anywhere_is_made_safe_once(name: str) -> None:
    safe = safe_name(name, otherwise="photo")
    require_safe(safe)
    assert safe_name(safe) == safe


@given(NAMES, st.integers(2, 99_999))
def test_a_number_or_a_digest_leaves_a_name_safe(name: str, number: int) -> None:
    for longer in (
        with_number(safe_name(name, otherwise="a"), number),
        with_ending(safe_name(name + "/a"), "-12345678"),
    ):
        require_safe(longer)
        assert safe_name(longer) == longer
        assert len(picture_name(longer, "webp").rpartition("/")[2].encode()) <= 255


@pytest.mark.parametrize("path", FILES["photos"])
def test_photos_are_known_by_their_names(path: str) -> None:
    assert is_photo_name(path)
    assert not is_clutter(path)


@pytest.mark.parametrize("path", FILES["others"])
def test_other_files_are_neither_photos_nor_clutter(path: str) -> None:
    assert not is_photo_name(path)
    assert not is_clutter(path)


@pytest.mark.parametrize("path", FILES["clutter"])
def test_what_systems_and_programs_keep_beside_photos_is_clutter(path: str) -> None:
    assert is_clutter(path)


def test_archives_are_known_by_their_names() -> None:
    assert all(map(is_archive_name, ("a.zip", "b.7Z", "c.tar.gz", "d.tgz", "e.cbz")))
    assert not any(map(is_archive_name, ("zip", "a.zip.jpg", "b.gz", "c.docx")))


def test_a_picture_keeps_all_of_a_name_but_the_extension_of_a_photo() -> None:
    names = ("a.jpg", "x.y/b.HEIC", "IMG.2024", "no suffix", "c.tar", ".jpg")
    made = [picture_name(name, "png") for name in names]
    assert made == ["a.png", "x.y/b.png", "IMG.2024.png", "no suffix.png", "c.tar.png", ".jpg.png"]


def test_no_file_gets_the_name_of_a_folder() -> None:
    names = UniqueNames()
    wanted = ["2024.png", "2024.PNG/a.png", "2024.png/b.png", "x/y.png", "X", "x"]
    made = [names.allocate(name) for name in wanted]
    assert made == ["2024.png", "2024 (2).PNG/a.png", "2024 (2).png/b.png", "x/y.png", "X (2)", "x (3)"]


@given(st.lists(st.lists(st.sampled_from(["a", "A", "a (2)", "ß", "SS"]), min_size=1, max_size=3).map("/".join)))
def test_unique_names_can_all_be_unpacked_side_by_side(wanted: list[str]) -> None:
    names = UniqueNames("failures.json")
    files = [folded(names.allocate(name)) for name in wanted]
    assert len(set(files)) == len(files)
    assert not any(file.startswith(f"{other}/") for file in files for other in files)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("x/../../a.jpg", "x/a.jpg"),
        ("nul.jpg", "_nul.jpg"),
        ("aux .tar.gz", "_aux .tar.gz"),
        ("COM¹", "_COM¹"),
        ("x . ./a.jpg. .", "x/a.jpg"),
        ("." * 300 + "a" * 20, "_"),
        ("a:b?.jpg", "a_b_.jpg"),
        ("tab\there.jpg", "tab_here.jpg"),
        (" dots... /photo.jpg ", "dots/photo.jpg"),
        ("e\u0301te\u0301.jpg", "été.jpg"),
        ("写真/桜.jpg", "写真/桜.jpg"),
    ],
)
def test_names_are_made_safe(raw: str, expected: str) -> None:
    assert safe_name(raw) == expected


def test_the_page_names_photos_as_the_service_does() -> None:
    """`tests/page/choice.test.js` checks the page against the same names."""
    for raw, expected in json.loads((ROOT / "tests" / "page" / "names.json").read_text("utf-8")):
        assert safe_name(raw) == expected


def test_a_name_is_never_too_long_for_a_file() -> None:
    made = safe_name("桜" * 400 + ".jpg")
    assert made.endswith("桜.jpg")
    assert len(made.encode()) <= 255
    with pytest.raises(InvalidValueError):
        safe_name("../..")


@pytest.mark.parametrize("seed", range(20))
def test_a_name_is_unique_by_the_first_free_number(seed: int) -> None:
    """Compared with a search through all numbers, for names in capitals and names that look numbered."""
    rng = random.Random(seed)
    names = UniqueNames("failures.json")
    taken = {"failures.json"}
    for _ in range(200):
        stem = rng.choice(["a", "A", "a (2)", "A (3)", "a (2) (2)", "Straße", "STRASSE", ".hidden", "x/a", "failures"])
        name = stem + rng.choice([".png", ".PNG", "", ".json"])
        numbered = (with_number(name, number) for number in range(1, 300))
        free = next(one for one in numbered if one.casefold() not in taken)
        assert names.allocate(name) == free
        taken.add(free.casefold())


def test_many_equal_names_are_made_unique_without_trying_a_number_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def noted(name: str, number: int) -> str:
        tried.append(number)
        return with_number(name, number)

    monkeypatch.setattr(shared.photos.filenames, "with_number", noted)
    names = UniqueNames()
    for _ in range(5000):
        names.allocate("a")
    assert tried == list(range(1, 5001))
