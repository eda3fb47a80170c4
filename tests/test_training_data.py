"""Training data: photos and their sources, pairs, rules for failed ones, batches."""

import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training import data
from training.analysis import MESH_POINTS, Analysis, content_key, nothing_found
from training.batches import FACE_WEIGHT, FEATURE_WEIGHT, MAX_WEIGHT, batch, cut_crop, degraded, feature_weight
from training.bundle import read_bundle
from training.checks import eyes_are_lost, failures, is_one_colour, moved
from training.data import Studio, check_pairs, render_pairs
from training.faces import LEFT_EYE, LIPS, LOWER_NOSE, RIGHT_EYE
from training.pairs import PEOPLE, Pair, Pairs, read_pair, read_pairs, write_pair
from training.photos import CACHE, Source, gather, photos_in, read_photo, sources
from training.pictures import Kind, cut_piece, lay_out, make_picture, overcast, pictures_of

Rgb = npt.NDArray[np.uint8]
NO_FACES = np.zeros((0, MESH_POINTS, 2), np.float32)


def soft_photo(height: int, width: int, seed: int = 0) -> Rgb:
    """A photo-like picture: smooth blobs of colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 7, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def saved(path: Path, picture: Rgb) -> Path:
    Image.fromarray(picture).save(path)
    return path


def face_at(middle_x: float, middle_y: float, radius: float = 0.2) -> npt.NDArray[np.float32]:
    """A mesh whose points form a disc, with eyes, a nose and a mouth in their places; (1, 478, 2)."""
    angles = np.linspace(0, 40, MESH_POINTS)
    mesh = np.column_stack((np.cos(angles), np.sin(angles))) * np.linspace(0.1, 1, MESH_POINTS)[:, None]
    eyes, nose, mouth = (
        ((LEFT_EYE, -0.4, -0.2, -1), (RIGHT_EYE, 0.4, -0.2, 1)),
        (LOWER_NOSE, 0, 0.15, 1),
        (LIPS, 0, 0.5, -1),
    )
    for part, x, y, outwards in (*eyes, nose, mouth):
        turn = np.linspace(0, 2 * np.pi, len(part), endpoint=False)
        mesh[list(part)] = np.column_stack((x + 0.2 * outwards * np.cos(turn), y + 0.07 * np.sin(turn)))
    return (np.array((middle_x, middle_y)) + radius * mesh).astype(np.float32)[None]


def portrait(skin: tuple[int, int, int] = (200, 160, 140), eyes: int = 20, side: int = 200) -> Rgb:
    """A head with two eyes in the middle, where `face_at(0.5, 0.5)` has them, on blue."""
    picture = np.full((side, side, 3), (60, 90, 200), np.uint8)
    cv2.circle(picture, (side // 2, side // 2), int(0.22 * side), skin, -1)
    for x in (-0.08, 0.08):
        cv2.circle(picture, (round((0.5 + x) * side), round(0.46 * side)), 5, (eyes, eyes, eyes), -1)
    return picture


def paler(photo: Rgb, _analysis: Analysis) -> dict[str, Rgb]:
    """A stand-in for the targets of all styles."""
    return {style: (photo * 0.8 + 40).astype(np.uint8) for style in ("hinata", "yoi", "sumi")}


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setattr(data, "render_all", paler)
    return Studio(("hinata", "sumi"), tmp_path / "cache")


def test_photos_are_licensed_and_none_is_held_out() -> None:
    listed = sources()
    assert all(source.licence and source.authors and source.files for source in listed)
    names = " ".join(name for source in listed for name in source.files)
    assert not any(held_out in names for held_out in ("astronaut", "chelsea", "coffee", "rocket", "cat.png", "kodak"))


def test_no_two_photos_are_kept_under_one_name() -> None:
    kept = [name for source in sources() for name in source.kept_as().values()]
    assert len(set(kept)) == len(kept)


def test_photos_of_a_repository_are_gathered_as_they_were_at_a_commit(tmp_path: Path) -> None:
    repository = tmp_path / "walls" / "paper"
    repository.mkdir(parents=True)
    git = ("git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b")
    saved(repository / "a lake.png", soft_photo(200, 2400))
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "one"), ("rm", "-q", "a lake.png")):
        subprocess.run((*git, *command), check=True)
    source = Source("git", str(repository), "CC0-1.0", "somebody", ("HEAD:a lake.png",))
    gather([source], tmp_path / "photos", tmp_path / "cache")
    (photo,) = photos_in([tmp_path / "photos"])
    assert photo.name == "walls-paper--a_lake.jpg"
    assert read_photo(photo, 9999).shape == (150, 1800, 3)


def test_photos_of_a_python_package_are_gathered_once(tmp_path: Path) -> None:
    source = Source("python", "scikit-image", "CC0-1.0", "somebody", ("camera.png",), "skimage/data")
    gather([source], tmp_path)
    (photo,) = photos_in([tmp_path])
    photo.write_bytes(b"as it was")
    gather([source], tmp_path)
    assert photo.read_bytes() == b"as it was"


def test_photos_that_are_left_out_are_not_in_a_folder(tmp_path: Path) -> None:
    for name in ("f001.jpg", "f010.jpg"):
        saved(tmp_path / name, soft_photo(20, 20))
    (tmp_path / "README.md").write_text("no photo")
    assert [path.name for path in photos_in([tmp_path], frozenset({"f010.jpg"}))] == ["f001.jpg"]


def test_a_resource_bundle_gives_its_files() -> None:
    """A bundle of version 1: a folder with a plain file and a compressed one."""
    names, at = b"", {}
    for name in ("photos", "cat.webp", "dog.webp"):
        at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    packed = struct.pack(">I", 3) + zlib.compress(b"dog")
    contents = struct.pack(">i", 3) + b"cat" + struct.pack(">i", len(packed)) + packed
    nodes = [
        struct.pack(">iHii", 0, 2, 1, 1),
        struct.pack(">iHii", at["photos"], 2, 2, 2),
        struct.pack(">iHHHi", at["cat.webp"], 0, 0, 0, 0),
        struct.pack(">iHHHi", at["dog.webp"], 1, 0, 0, 7),
    ]
    tree = 20 + len(names) + len(contents)
    bundle = b"qres" + struct.pack(">4i", 1, tree, 20 + len(names), 20) + names + contents + b"".join(nodes)
    assert read_bundle(bundle) == {"/photos/cat.webp": b"cat", "/photos/dog.webp": b"dog"}
    with pytest.raises(ValueError, match="no resource bundle"):
        read_bundle(b"something else")


def test_a_large_photo_also_gives_a_piece_of_it(tmp_path: Path) -> None:
    small, large = (
        saved(tmp_path / "small.png", soft_photo(300, 400)),
        saved(tmp_path / "large.png", soft_photo(1000, 1600)),
    )
    pictures = pictures_of([small, large])
    assert [picture.kind for picture in pictures] == [Kind.WHOLE, Kind.WHOLE, Kind.PIECE]
    shapes = [make_picture(picture, None, seed=1)[0].shape for picture in pictures]
    assert shapes == [(480, 640, 3), (400, 640, 3), (400, 640, 3)]  # the small one is enlarged
    one, again = (make_picture(pictures[2], None, seed=1)[0] for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_a_piece_keeps_what_is_known_of_its_part() -> None:
    known = Analysis(
        np.concatenate((face_at(0.25, 0.5, 0.01), face_at(0.95, 0.5, 0.01))), *np.zeros((2, 100, 400), np.float32)
    )
    known.sky[:, :200] = 1
    rng = np.random.default_rng(0)
    for _ in range(20):
        photo, inside = cut_piece(soft_photo(100, 400), known, 200, rng)
        assert photo.shape == (50, 200, 3)
        assert inside.sky.shape == (50, 200)
        left = float(inside.sky.mean()) * 200 if 0 < inside.sky.mean() < 1 else None
        for face in inside.faces:
            assert 0 < face.mean(0)[0] < 1
            if left and face.mean(0)[0] * 200 < left:
                assert face.mean(0)[0] * 200 == pytest.approx(
                    left - 100, abs=1
                )  # the sky ends at 200, the face is at 100


def analysed(photo: Path, folder: Path, analysis: Analysis) -> Path:
    """Save an analysis where `training/analyse.py` would."""
    folder.mkdir(exist_ok=True)
    person, sky = ((mask * 255).astype(np.uint8) for mask in (analysis.person, analysis.sky))
    np.savez(folder / f"{content_key(photo)}.npz", faces=analysis.faces, person=person, sky=sky)
    return photo


def test_photos_with_a_sky_are_overcast_and_people_are_put_on_sheets(tmp_path: Path) -> None:
    analyses, half_sky, nothing = tmp_path / "analyses", nothing_found(40, 40), nothing_found(40, 40)
    half_sky.sky[:20] = 1
    person = Analysis(face_at(0.5, 0.5), nothing.person, nothing.sky)
    scene = analysed(saved(tmp_path / "scene.png", soft_photo(300, 400)), analyses, half_sky)
    people = [analysed(saved(tmp_path / f"{n}.png", soft_photo(400, 330, n)), analyses, person) for n in range(1, 10)]
    small = analysed(saved(tmp_path / "small.png", soft_photo(200, 150)), analyses, person)
    pictures = pictures_of([scene, *people, small], analyses)
    kinds = [picture.kind for picture in pictures]
    assert [kinds.count(kind) for kind in Kind] == [11, 0, 1, 3]  # two sheets of four people, one of nine
    assert not any(small in picture.photos for picture in pictures if picture.kind is Kind.SHEET)
    for picture in pictures[12:]:
        sheet, known = make_picture(picture, analyses, seed=1)
        across = len(picture.photos) ** 0.5
        assert sheet.shape == (640 // across * across, 640 // across * across, 3)
        middles = (known.faces.mean(1) * across % 1 - 0.5).round(2)
        assert len(known.faces) == len(picture.photos)
        assert not middles.any()  # every face in the middle of its square
    clouds, known = make_picture(pictures[11], analyses, seed=1)
    assert known.sky[:200].min() > 0.9
    np.testing.assert_array_equal(clouds[250:], make_picture(pictures[0], analyses, seed=1)[0][250:])


def test_an_overcast_sky_is_pale_behind_people_and_nowhere_else() -> None:
    photo = np.full((40, 40, 3), (30, 90, 200), np.uint8)
    known = nothing_found(40, 40)
    known.sky[:20] = 1
    known.person[10:, 10:30] = 1
    changed = overcast(photo, known, np.random.default_rng(0)) != photo
    assert changed[:20, :10].all()
    assert changed[:10].all()
    assert not changed[20:].any()
    assert not changed[10:, 10:30].any()


def test_a_sheet_shows_photos_row_by_row_with_what_is_known_of_them() -> None:
    squares = []
    for number in range(4):
        known = Analysis(face_at(0.25, 0.75, 0.1), *np.full((2, 10, 10), number, np.float32))
        squares.append((np.full((10, 10, 3), number, np.uint8), known))
    sheet, known = lay_out(squares)
    np.testing.assert_array_equal(sheet[::10, ::10, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(known.sky, sheet[..., 0])
    np.testing.assert_array_equal(known.person, sheet[..., 0])
    at = np.array([(0.125, 0.375), (0.625, 0.375), (0.125, 0.875), (0.625, 0.875)])
    np.testing.assert_allclose(known.faces.mean(1), face_at(0.25, 0.75, 0.1).mean(1) / 2 + at - at[0], atol=1e-6)


def test_an_interrupted_rendering_resumes_where_it_stopped(tmp_path: Path, studio: Studio) -> None:
    photos = [saved(tmp_path / f"{number}.png", soft_photo(60, 80, number)) for number in range(3)]
    pictures = pictures_of(photos)
    render_pairs(pictures[:2], studio)
    kept = studio.cache / "sumi" / f"{pictures[0].name}.npy"
    before = kept.stat().st_mtime_ns
    render_pairs(pictures, studio)
    assert kept.stat().st_mtime_ns == before
    for style in studio.styles:
        check_pairs(studio.cache / style, [picture.name for picture in pictures])
        assert len(read_pairs(studio.cache / style)) == len(pictures)
    pair = read_pair(studio.cache / "sumi", pictures[2].name)
    photo, known = make_picture(pictures[2], None, studio.seed)
    np.testing.assert_array_equal(pair.photo, photo)
    np.testing.assert_array_equal(pair.target, paler(photo, known)["sumi"])


def test_pairs_of_another_recipe_are_refused(tmp_path: Path, studio: Studio) -> None:
    pictures = pictures_of([saved(tmp_path / "a.png", soft_photo(60, 80))])
    render_pairs(pictures, studio)
    (studio.cache / "hinata" / "recipe.txt").write_text("another")
    with pytest.raises(ValueError, match="another recipe"):
        render_pairs(pictures, studio)


def test_pairs_whose_target_failed_are_not_learned_from(tmp_path: Path) -> None:
    photo = portrait()
    blind = photo.copy()
    cv2.circle(blind, (100, 100), 44, (200, 160, 140), -1)
    targets = {"good": photo, "blind": blind, "empty": np.full_like(photo, 240), "also_good": photo // 4 * 3 + 40}
    for name, target in targets.items():
        faces = face_at(0.5, 0.5) if name != "empty" else NO_FACES
        write_pair(tmp_path, Pair(name, soft_photo(200, 200) if name == "empty" else photo, target, faces))
    assert set(check_pairs(tmp_path, list(targets))) == {"blind", "empty"}
    assert [pair.name for pair in read_pairs(tmp_path).people] == ["good", "also_good"]


def test_pairs_of_photos_that_are_left_out_now_are_not_learned_from(tmp_path: Path) -> None:
    for name in ("asked_for", "left_out"):
        write_pair(tmp_path, Pair(name, soft_photo(60, 80), soft_photo(60, 80), NO_FACES))
    check_pairs(tmp_path, ["asked_for"])
    assert [pair.name for pair in read_pairs(tmp_path).others] == ["asked_for"]


def test_photos_of_one_name_are_refused(tmp_path: Path) -> None:
    photos = [saved(tmp_path / name, soft_photo(60, 80)) for name in ("a.png", "a.jpg")]
    with pytest.raises(ValueError, match="several pictures are called"):
        pictures_of(photos)


def test_eyes_that_are_too_small_to_judge_are_not_lost() -> None:
    photo = np.random.default_rng(0).uniform(0, 100, (200, 200)).astype(np.float32)
    assert eyes_are_lost(photo, np.full_like(photo, 50), face_at(0.5, 0.5)[0])
    assert not eyes_are_lost(photo, np.full_like(photo, 50), face_at(0.5, 0.5, 0.03)[0])


def test_skin_is_judged_by_what_the_style_does_to_skin_of_its_lightness() -> None:
    """A style that lifts dark skin by 30 and fair skin by 5 fails nobody; one that moves a single face does."""
    usual = [(f"{before}", float(before), 35 + 0.6 * before) for before in range(20, 85, 5)]
    assert moved(usual) == []
    assert moved([*usual, ("pale", 45.0, 95.0)]) == ["pale"]


def test_a_picture_that_was_of_one_colour_before_has_not_failed() -> None:
    even = np.full((50, 50, 3), 200, np.uint8)
    assert not is_one_colour(even, even)
    assert is_one_colour(soft_photo(50, 50), even)


def test_nothing_fails_without_faces_when_the_target_is_the_photo() -> None:
    assert failures([Pair("a", soft_photo(50, 50), soft_photo(50, 50), NO_FACES)]) == {}


@pytest.fixture
def pairs() -> Pairs:
    others = [Pair(f"scene-{i}", soft_photo(90, 120, i), soft_photo(90, 120, i), NO_FACES) for i in range(3)]
    people = [Pair("person", portrait(), portrait(), face_at(0.5, 0.5))]
    return Pairs.of([*others, *people])


def test_a_batch_is_a_function_of_the_step(pairs: Pairs) -> None:
    first, again, other = (batch(pairs, seed=1, step=step, size=2, crop=48) for step in (7, 7, 8))
    np.testing.assert_array_equal(first.photo, again.photo)
    assert not np.array_equal(first.photo, other.photo)
    assert first.photo.shape == first.target.shape == (2, 3, 48, 48)
    assert first.weight.shape == (2, 1, 48, 48)
    assert -1 <= first.target.min() <= first.target.max() <= 1


def test_most_crops_show_people(pairs: Pairs) -> None:
    rng = np.random.default_rng(0)
    drawn = [pairs.draw(rng).name for _ in range(2000)]
    assert drawn.count("person") / len(drawn) == pytest.approx(PEOPLE, abs=0.05)
    assert {Pairs((), pairs.others).draw(rng).name for _ in range(30)} == {"scene-0", "scene-1", "scene-2"}


def test_a_crop_is_the_same_of_photo_and_target_and_often_near_a_face(pairs: Pairs) -> None:
    rng = np.random.default_rng(0)
    near = 0
    for _ in range(200):
        photo, target, _ = cut_crop(pairs.people[0], 60, rng)
        np.testing.assert_array_equal(photo, target)
        near += (photo == 20).all(2).any()  # an eye is in it
    assert near > 100


def test_people_are_not_mirrored_since_the_light_in_drawn_eyes_is_always_on_one_side(pairs: Pairs) -> None:
    rng = np.random.default_rng(0)
    (person,), scene = pairs.people, pairs.others[0]
    whole = [cut_crop(person, 200, rng)[1] for _ in range(20)]
    assert all(np.array_equal(crop, person.target) for crop in whole)
    square = Pair("square", scene.photo[:, :90], scene.target[:, :90], NO_FACES)
    mirrored = [np.array_equal(cut_crop(square, 90, rng)[1], square.target[:, ::-1]) for _ in range(20)]
    assert 3 < sum(mirrored) < 17


def test_faces_and_most_of_all_their_features_count_more_wherever_a_crop_is_cut(pairs: Pairs) -> None:
    rng, seen = np.random.default_rng(0), 0
    of_features = np.float32(feature_weight(200 * float(np.ptp(pairs.people[0].faces[0, :, 1]))))
    for _ in range(20):
        photo, _, weight = cut_crop(pairs.people[0], 60, rng)
        eyes = (photo == 20).all(2)
        assert (weight[eyes] == of_features).all()
        seen += eyes.any()
    assert seen > 5
    _, _, weight = cut_crop(pairs.people[0], 200, rng)  # the whole picture
    features = weight[[92, 92, 105, 120], [84, 116, 100, 100]]  # eyes, nose and mouth
    assert features.tolist() == [of_features, of_features, 2 * of_features, 2 * of_features]
    assert (weight[105, 82], weight[150, 100]) == (FACE_WEIGHT, 1)  # a cheek, and what is below the chin
    _, _, weight = cut_crop(pairs.others[0], 60, rng)
    assert (weight == 1).all()


def test_features_of_small_faces_weigh_more() -> None:
    weights = [feature_weight(height) for height in (400, 200, 100, 50, 0)]
    assert weights == [FEATURE_WEIGHT, FEATURE_WEIGHT, 2 * FEATURE_WEIGHT, MAX_WEIGHT, MAX_WEIGHT]


def test_a_picture_smaller_than_a_crop_is_reflected_and_what_is_reflected_weighs_nothing(pairs: Pairs) -> None:
    photo, _, weight = cut_crop(pairs.others[0], 110, np.random.default_rng(3))
    assert photo.shape == (110, 110, 3)
    np.testing.assert_array_equal(photo[90:], photo[70:90][::-1])
    assert weight[90:].max() == 0
    assert weight[:90].min() == 1


def test_photos_are_degraded_mildly() -> None:
    rng = np.random.default_rng(0)
    photo = soft_photo(64, 64)
    apart = [np.abs(degraded(photo, rng).astype(int) - photo).mean() for _ in range(100)]
    assert 0 < np.mean([off == 0 for off in apart]) < 0.6
    assert max(apart) < 35


def test_the_cache_is_not_in_the_tree_that_is_committed() -> None:
    ignored = (CACHE.parent.parent / ".gitignore").read_text("utf-8").split()
    assert "/training/cache/" in ignored
    assert "/training/runs/" in ignored
