"""Uploading ZIP archives into an album: every entry is accepted, rejected or skipped, and none does harm."""

import hashlib
import stat
import warnings
import zipfile
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from shared.services import Services
from tests.albums import body, commands, put, upload, work
from tests.conftest import photo_bytes, zip_of


def test_the_photos_of_a_zip_are_taken_without_system_files(
    client: FlaskClient, services: Services, album: str
) -> None:
    archive = zip_of(
        {
            "trip/": b"",
            "trip/a.png": photo_bytes(seed=1),
            "trip/b.png": photo_bytes(seed=2),
            "__MACOSX/trip/._a.png": b"resource fork",
            "trip/.DS_Store": b"finder",
            "trip/Thumbs.db": b"explorer",
        }
    )
    answer = upload(client, album, ("trip.zip", archive), ("c.png", photo_bytes(seed=3)))
    assert [one["name"] for one in answer["accepted"]] == ["trip/a.png", "trip/b.png", "c.png"]
    assert answer["rejected"] == []
    assert {one["code"] for one in answer["skipped"]} == {"hidden"}
    assert len(answer["skipped"]) == 3
    assert len(work(services)) == 3


def test_hostile_entries_do_no_harm(client: FlaskClient, album: str) -> None:
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    bomb = zip_of({"bomb.png": b"\0" * (30 << 20)}, zipfile.ZIP_DEFLATED)
    archive = zip_of(
        {
            "../../etc/cron.d/evil.png": photo_bytes(seed=1),
            "/abs/olute.png": photo_bytes(seed=2),
            "C:\\windows\\x.png": photo_bytes(seed=3),
            link: b"/etc/passwd",
        }
    )
    answer = upload(client, album, ("a.zip", archive), ("b.zip", bomb), ("c.zip", b"PK\x03\x04 cut short"))
    assert [one["name"] for one in answer["accepted"]] == [
        "etc/cron.d/evil.png",
        "abs/olute.png",
        "C_/windows/x.png",
    ]
    assert {one["name"]: one["error"]["code"] for one in answer["rejected"]} == {
        "link.png": "bad_archive",
        "bomb.png": "bad_archive",
        "c.zip": "bad_archive",
    }


def test_other_files_are_skipped_unless_their_names_are_those_of_photos(client: FlaskClient, album: str) -> None:
    archive = zip_of(
        {
            "notes.txt": b"hi",
            "film.mov": bytes(33 << 20),
            "inner.zip": zip_of({"a.png": photo_bytes()}),
            "photo without suffix": photo_bytes(seed=1),
            "broken.jpg": b"no photo",
            "a.png": photo_bytes(seed=2),
        },
        zipfile.ZIP_DEFLATED,
    )
    answer = upload(client, album, ("folder.zip", archive), ("texts.zip", zip_of({"a.txt": b"hi", "b": b"ho"})))
    assert [one["name"] for one in answer["accepted"]] == ["photo without suffix", "a.png"]
    assert {one["name"]: one["error"]["code"] for one in answer["rejected"]} == {
        "inner.zip": "bad_archive",
        "broken.jpg": "not_a_photo",
        "texts.zip": "bad_archive",
    }
    assert {one["name"]: one["code"] for one in answer["skipped"]} == {
        "notes.txt": "not_a_photo",
        "film.mov": "photo_too_large",
        "a.txt": "not_a_photo",
        "b": "not_a_photo",
    }
    assert body(client.get(album))["counts"]["failed"] == 2
    assert body(client.post(f"{album}/check", json={"sha256": [hashlib.sha256(b"no photo").hexdigest()]})) == {
        "missing": []
    }


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_without_a_bounded_output_are_not_unpacked(
    client: FlaskClient, album: str, monkeypatch: pytest.MonkeyPatch, packing: int
) -> None:
    archive = zip_of({"a.png": photo_bytes()}, packing)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it is unpacked"))
    (refused,) = upload(client, album, ("a.zip", archive))["rejected"]
    assert refused["error"]["code"] == "bad_archive"


def test_an_entry_without_a_name_gets_one(client: FlaskClient, album: str) -> None:
    archive = bytearray(zip_of({"a": photo_bytes(seed=1), "b.png": photo_bytes(seed=2)}))
    for place, length in ((archive.index(b"PK\3\4"), 26), (archive.index(b"PK\1\2"), 28)):
        archive[place + length] = 0  # the name's length; its letter becomes what an extra field might be
        archive[place + length + 2] = 1
    taken = upload(client, album, ("a.zip", bytes(archive)))["accepted"]
    assert [one["name"] for one in taken] == ["photo", "b.png"]


def test_two_photos_of_one_name_are_both_kept(client: FlaskClient, album: str) -> None:
    archive = zip_of({"a.png": photo_bytes(seed=1), "b.png": photo_bytes(seed=2)}).replace(b"b.png", b"a.png")
    answer = upload(client, album, ("a.zip", archive))
    assert [one["name"] for one in answer["accepted"]] == ["a.png", "a (2).png"]
    again = upload(client, album, ("a.zip", archive))
    assert again == answer


def test_a_refused_entry_replaces_no_photo_and_counts_once(client: FlaskClient, services: Services, album: str) -> None:
    put(client, album, "a.png", 1)
    link = zipfile.ZipInfo("a.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for _ in range(2):
        answer = upload(client, album, ("a.zip", zip_of({link: b"/etc/passwd"})))
        assert [one["name"] for one in answer["rejected"]] == ["a (2).png"]
    work(services)
    counts = body(client.get(album))["counts"]
    assert (counts["succeeded"], counts["failed"]) == (1, 1)


def zip_of_links(name: str, count: int) -> bytes:
    """An archive of refused entries that share one name."""
    links = [zipfile.ZipInfo(name) for _ in range(count)]
    for link in links:
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):  # of repeated names
        for link in links:
            archive.writestr(link, b"/etc/passwd")
    return buffer.getvalue()


def test_refused_entries_whose_name_is_taken_look_for_a_number_once(
    client: FlaskClient, services: Services, album: str
) -> None:
    count = 40
    upload(client, album, *(("a.png", photo_bytes(seed=seed)) for seed in range(count)))
    once, often = (zip_of_links("a.png", number) for number in (1, count))
    cost_of_once = commands(services, lambda: upload(client, album, ("once.zip", once)))
    cost_of_often = commands(services, lambda: upload(client, album, ("often.zip", often)))
    assert body(client.get(album))["counts"]["failed"] == 1
    assert cost_of_often < cost_of_once + 10 * count
