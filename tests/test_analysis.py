"""Analyses of training photos: written by a separate script, read by the recipe; no network is needed here."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training import analyse
from training.analysis import MESH_POINTS, content_key, nothing_found, read_analysis

Rgb = npt.NDArray[np.uint8]


class Blind:
    """A stand-in for the networks that find faces and people: it finds nothing."""

    def process(self, _photo: Rgb) -> SimpleNamespace:
        return SimpleNamespace(detections=None, multi_face_landmarks=None)


NO_NETS = analyse.Nets(near=Blind(), far=Blind(), mesh=Blind(), person=Blind(), sky=None)


def landscape(height: int, width: int) -> Rgb:
    """Blue sky over rough brown ground, half and half."""
    picture = np.full((height, width, 3), (120, 170, 235), np.uint8)
    noise = np.random.default_rng(0).integers(-30, 30, (height - height // 2, width, 1))
    picture[height // 2 :] = (np.array([110, 80, 40]) + noise).astype(np.uint8)
    return picture


def saved(path: Path, picture: Rgb) -> Path:
    Image.fromarray(picture).save(path)
    return path


def store(folder: Path, photo: Path, *, mask: Rgb, faces: int = 1) -> None:
    meshes = np.full((faces, MESH_POINTS, 2), 0.5, np.float32)
    np.savez(folder / f"{content_key(photo)}.npz", faces=meshes, person=mask, sky=255 - mask)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return saved(tmp_path / "photo.png", landscape(60, 80))


def test_stored_analyses_are_read_in_units_from_0_to_1(tmp_path: Path, photo: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:] = 255
    store(tmp_path, photo, mask=mask, faces=2)
    found = read_analysis(tmp_path, photo, (60, 80))
    assert found.faces.shape == (2, MESH_POINTS, 2)
    assert {plane.dtype for plane in (found.faces, found.person, found.sky)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(found.person, mask / np.float32(255))
    np.testing.assert_allclose(found.sky, 1 - found.person, atol=1e-6)


@pytest.mark.parametrize("size", [(30, 40), (60, 80), (150, 200), (33, 41)])
def test_masks_come_in_the_size_asked_for(tmp_path: Path, photo: Path, size: tuple[int, int]) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[:, 40:] = 255
    store(tmp_path, photo, mask=mask)
    found = read_analysis(tmp_path, photo, size)
    assert found.person.shape == found.sky.shape == size
    assert found.person.mean() == pytest.approx(0.5, abs=0.02)
    assert found.person[:, : size[1] // 3].max() == 0
    assert found.person[:, -(size[1] // 3) :].min() == pytest.approx(1)


def test_a_photo_that_was_not_analysed_is_named(tmp_path: Path, photo: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"photo\.png: has no analysis"):
        read_analysis(tmp_path, photo, (60, 80))


def test_an_analysis_follows_the_content_not_the_name(tmp_path: Path, photo: Path) -> None:
    store(tmp_path, photo, mask=np.zeros((60, 80), np.uint8))
    moved = photo.rename(tmp_path / "moved.png")
    assert len(read_analysis(tmp_path, moved, (6, 8)).faces) == 1
    saved(moved, landscape(61, 80))
    with pytest.raises(FileNotFoundError):
        read_analysis(tmp_path, moved, (6, 8))


def test_an_empty_analysis_has_no_faces_people_or_sky() -> None:
    found = nothing_found(5, 7)
    assert found.faces.shape == (0, MESH_POINTS, 2)
    assert found.person.shape == found.sky.shape == (5, 7)
    assert not found.person.any()
    assert not found.sky.any()


def test_analyses_written_by_the_script_can_be_read(tmp_path: Path, photo: Path) -> None:
    assert analyse.write_analysis(tmp_path, photo, NO_NETS).startswith("0 faces, person 0%, sky ")
    found = read_analysis(tmp_path, photo, (60, 80))
    assert found.faces.shape == (0, MESH_POINTS, 2)
    assert not found.person.any()


def test_a_photo_is_analysed_once(tmp_path: Path, photo: Path) -> None:
    analyse.write_analysis(tmp_path, photo, NO_NETS)
    assert analyse.write_analysis(tmp_path, photo, NO_NETS) == "done before"


def test_without_a_network_a_rule_finds_the_sky(tmp_path: Path) -> None:
    photo = saved(tmp_path / "large.png", landscape(600, 800))
    analyse.write_analysis(tmp_path, photo, NO_NETS)
    sky = read_analysis(tmp_path, photo, (600, 800)).sky
    assert sky[:260].min() > 0.9
    assert sky[340:].max() < 0.1


def test_large_photos_get_masks_of_at_most_512_pixels(tmp_path: Path) -> None:
    photo = saved(tmp_path / "large.png", landscape(900, 1800))
    analyse.write_analysis(tmp_path, photo, NO_NETS)
    with np.load(tmp_path / f"{content_key(photo)}.npz") as planes:
        assert planes["sky"].shape == planes["person"].shape == (256, 512)


def test_a_turned_photo_is_analysed_upright(tmp_path: Path) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(landscape(600, 800)).copy()).save(path, exif=exif, quality=95)
    assert analyse.read_photo(path).size == (800, 600)
    analyse.write_analysis(tmp_path, path, NO_NETS)
    assert read_analysis(tmp_path, path, (600, 800)).sky[:200].min() > 0.9


def test_a_transparent_photo_is_analysed_on_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path)
    assert np.array(analyse.read_photo(path)).min() == 255


def face_at(x: float, y: float, extent: float) -> tuple[npt.NDArray[np.float32], analyse.Found]:
    """A mesh that is a grid except for its features, and a detection that agrees with it."""
    grid = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 22), np.linspace(-0.5, 0.5, 22)), -1).reshape(-1, 2)
    mesh = grid[:MESH_POINTS].astype(np.float32)
    mesh[468], mesh[473], mesh[1], mesh[[13, 14]] = (-0.2, -0.15), (0.2, -0.15), (0, 0.05), (0, 0.25)
    mesh = mesh * extent + np.array([x, y], np.float32)
    features = np.stack([mesh[468], mesh[473], mesh[1], mesh[13]])
    return mesh, analyse.Found(np.array([x, y], np.float32), extent, 0.9, features)


def test_a_mesh_must_lie_where_the_face_was_seen() -> None:
    mesh, found = face_at(100, 100, 80)
    aside, _ = face_at(130, 100, 80)
    tiny, _ = face_at(100, 100, 20)
    assert analyse.is_plausible(mesh, found)
    assert not analyse.is_plausible(aside, found)
    assert not analyse.is_plausible(tiny, found)


def test_a_face_within_another_is_the_same_face() -> None:
    face, small, beside = (
        analyse.box_of(face_at(x, 100, extent)[0]) for x, extent in ((100, 80), (105, 40), (190, 80))
    )
    assert analyse.overlap(face, small) == pytest.approx(1)
    assert analyse.overlap(face, beside) == 0


def test_an_ear_is_no_face_but_somebody_beside_or_far_behind_has_one() -> None:
    face, ear, friend, far = (face_at(x, 100, extent)[0] for x, extent in ((100, 80), (165, 35), (170, 70), (200, 25)))
    assert analyse.is_within_head(ear, face)
    assert not analyse.is_within_head(friend, face)
    assert not analyse.is_within_head(far, face)


@pytest.mark.parametrize(("horizon", "kept"), [(40, True), (100, False)])
def test_a_sky_that_goes_on_below_a_sitters_nose_is_a_backdrop(horizon: int, kept: bool) -> None:  # noqa: FBT001 - a case
    mesh, _ = face_at(50, 40, 30)
    sky = np.zeros((100, 100), np.float32)
    sky[:horizon] = 1
    people = np.zeros((100, 100), np.float32)
    people[25:, 35:65] = 1
    assert analyse.is_backdrop(sky * (1 - people), mesh[None] / np.float32(100), people) is not kept


def test_a_wall_that_the_network_half_takes_for_sky_is_dropped() -> None:
    seen = np.zeros((40, 60), np.float32)
    seen[:20, :20] = np.linspace(1, 0.6, 20)
    seen[:30, 40:] = 0.8
    kept = analyse.keep_sure(seen)
    np.testing.assert_array_equal(kept[:, :20], seen[:, :20])
    assert not kept[:, 20:].any()
    everywhere = np.ones((4, 6), np.float32)
    np.testing.assert_array_equal(analyse.keep_sure(everywhere), everywhere)


def test_folders_are_searched_for_photos_and_named_files_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.md"):
        (tmp_path / name).touch()
    assert analyse.photos_in([tmp_path, tmp_path / "notes.md"]) == [
        tmp_path / name for name in ("a.PNG", "b.jpg", "notes.md")
    ]


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_analysed(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    monkeypatch.setattr(analyse, "load_nets", lambda _sky_net: NO_NETS)
    monkeypatch.setattr("sys.argv", ["analyse.py", str(tmp_path / "out"), str(broken), str(photo)])
    assert analyse.main() == 1
    said = capsys.readouterr()
    assert "broken.jpg: cannot be read" in said.err
    assert "photo.png: 0 faces" in said.out
    assert len(list((tmp_path / "out").iterdir())) == 1
