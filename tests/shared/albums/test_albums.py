"""Albums: many photos as one resource, bad ones included, scheduled fairly."""

import hashlib
import json
import random
import re
import stat
import sys
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import shared.photos.filenames
import web.archive
from shared.albums.record import Item
from shared.albums.walks import Action
from shared.conversion import Options
from shared.errors import InvalidValueError, UnavailableError, UnknownAlbumError
from shared.jobs.record import Job, Lane, State
from shared.jobs.store import Jobs
from shared.photos.filenames import UniqueNames, safe_name, with_number
from shared.photos.formats import Format
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import FLOW_PIXELS, OUTSTANDING, SLOWDOWN, lane_sent
from shared.scheduling.broker import Queue, celery_app
from shared.scheduling.lane_order import BULK_SHARE, LaneOrder
from shared.services import Services, connect
from shared.settings import Settings
from shared.storage.disk import DiskStore
from shared.usecases import uploads
from shared.usecases.albums import notify_finished
from shared.usecases.dispatch import dispatch
from shared.usecases.recovery import resend_lost
from shared.usecases.submit import Order, submit
from shared.usecases.walks import walk_album
from tests.conftest import ROOT, ToyEngine, expire_lease, photo_bytes, with_queue_limit, zip_of
from web.app import create_app
from web.archive import BrokenOffError
from worker import tasks

ALBUMS = "/api/v1/albums"


@pytest.fixture
def client(services: Services) -> FlaskClient:
    return create_app(services).test_client()


@pytest.fixture
def album(client: FlaskClient) -> str:
    """The path of an album that has no photos yet."""
    response = client.post(ALBUMS, json={"name": "Summer", "format": "png"})
    assert response.status_code == 201
    return str(response.headers["Location"])


def body(response: TestResponse) -> dict[str, Any]:
    assert response.status_code < 300, response.text
    return dict(response.get_json(force=True))


@pytest.mark.parametrize("faces", ["auto", "off"])
def test_photos_of_an_album_are_drawn_with_its_choice_of_faces(client: FlaskClient, faces: str) -> None:
    album = body(client.post(ALBUMS, json={"faces": faces}))
    assert (
        client.put(f"{album['links']['photos']}/a.png", data=photo_bytes(), content_type="image/png").status_code == 202
    )
    (photo,) = body(client.get(album["links"]["photos"]))["photos"]
    assert album["faces"] == photo["job"]["faces"] == faces


def problem(response: TestResponse) -> tuple[int, str]:
    return response.status_code, dict(response.get_json(force=True))["code"]


def put(client: FlaskClient, album: str, name: str, seed: int = 0) -> dict[str, Any]:
    return body(client.put(f"{album}/photos/{name}", data=photo_bytes(seed=seed), content_type="image/png"))


def upload(client: FlaskClient, album: str, *files: tuple[str, bytes]) -> dict[str, Any]:
    photos = [(BytesIO(data), name) for name, data in files]
    return body(client.post(f"{album}/photos", data={"photos": photos}))


def accepted(answer: dict[str, Any]) -> list[str]:
    return [one["name"] for one in answer["accepted"]]


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


def commands(services: Services, do: Callable[[], object]) -> int:
    """Return how many Redis commands a call takes."""
    before = services.redis.info("stats")["total_commands_processed"]
    do()
    return int(services.redis.info("stats")["total_commands_processed"] - before)


def work(services: Services, count: int = 1000) -> list[str]:
    """Convert up to `count` queued jobs in the order in which a worker takes them; return their ids."""
    order = LaneOrder([lane.value for lane in Lane])
    done: list[str] = []
    while len(done) < count:
        message = next((found for lane in order.consume(2) if (found := services.redis.rpop(lane))), None)
        if message is None:
            return done
        headers = json.loads(str(message))
        order.rotate(headers["properties"]["delivery_info"]["routing_key"])
        done.append(headers["headers"]["id"])
        tasks.convert(done[-1], services, lambda _: ToyEngine())
    return done


def erase_album(services: Services, album: str) -> None:
    walk_album(services, services.albums.get(album.rsplit("/", 1)[1]), Action.ERASE)


def names(services: Services, ids: list[str]) -> list[str]:
    return [str(services.jobs.get(job_id).name) for job_id in ids]


class TestUploads:
    def test_an_album_counts_the_states_of_its_photos(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        for seed in range(3):
            put(client, album, f"{seed}.png", seed)
        assert body(client.get(album))["counts"]["queued"] == 3
        work(services)
        found = body(client.get(album))
        assert found["name"] == "Summer"
        assert found["counts"] == dict.fromkeys(found["counts"], 0) | {"succeeded": 3}
        assert found["progress"] == 1

    def test_the_same_photo_under_the_same_name_counts_once(self, client: FlaskClient, album: str) -> None:
        first, again = (put(client, album, "beach/1.png") for _ in range(2))
        assert first == again
        assert body(client.get(album))["counts"]["queued"] == 1

    def test_another_photo_under_the_same_name_replaces_the_first(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        before, after = put(client, album, "1.png", 1), put(client, album, "1.png", 2)
        assert before["job"] != after["job"]
        assert client.get(before["links"]["self"]).status_code == 404
        assert body(client.get(album))["counts"]["queued"] == 1
        work(services)
        assert body(client.get(album))["counts"]["succeeded"] == 1

    def test_a_client_that_resumes_learns_what_is_missing(self, client: FlaskClient, album: str) -> None:
        sent = put(client, album, "1.png")
        digest = body(client.get(sent["links"]["self"]))["photo"]["sha256"]
        answer = body(client.post(f"{album}/check", json={"sha256": [digest, "0" * 64, digest]}))
        assert answer == {"missing": ["0" * 64]}
        refused = client.post(f"{album}/check", json={"sha256": ["x"]})
        assert problem(refused) == (422, "invalid_value")
        assert "sha256.0 must be 64 hexadecimal digits." in refused.text
        assert problem(client.post(f"{album}/check", data="[]")) == (400, "bad_request")

    def test_one_bad_photo_fails_alone_and_says_why(self, client: FlaskClient, services: Services, album: str) -> None:
        answer = upload(client, album, ("good.png", photo_bytes()), ("bad.png", photo_bytes()[:500]), ("no.txt", b"hi"))
        assert [one["name"] for one in answer["accepted"]] == ["good.png"]
        assert {one["name"]: one["error"]["code"] for one in answer["rejected"]}.keys() == {"bad.png", "no.txt"}
        work(services)
        assert body(client.get(album))["counts"] | {"succeeded": 1, "failed": 2} == body(client.get(album))["counts"]
        listed = body(client.get(f"{album}/photos"))["photos"]
        assert [(one["name"], one["state"], one["error"] is None) for one in listed] == [
            ("good.png", "succeeded", True),
            ("bad.png", "failed", False),
            ("no.txt", "failed", False),
        ]
        upload(client, album, ("bad.png", photo_bytes(seed=2)))
        assert body(client.get(album))["counts"]["failed"] == 1

    def test_refused_photos_are_not_asked_for_again(self, client: FlaskClient, album: str) -> None:
        assert problem(client.put(f"{album}/photos/no.txt", data=b"hi")) == (415, "not_a_photo")
        digest = hashlib.sha256(b"hi").hexdigest()
        assert body(client.post(f"{album}/check", json={"sha256": [digest]})) == {"missing": []}
        assert body(client.get(f"{album}/photos"))["photos"][0]["sha256"] == digest

    def test_an_expired_photo_is_accepted_again(self, client: FlaskClient, services: Services, album: str) -> None:
        first = put(client, album, "1.png")
        services.jobs.expire(first["job"])
        again = put(client, album, "1.png")
        assert again["job"] != first["job"]
        assert body(client.get(album))["counts"] | {"queued": 1, "expired": 0} == body(client.get(album))["counts"]

    def test_a_full_album_says_so_and_lets_its_photos_be_replaced(self, settings: Settings, services: Services) -> None:
        services.redis.flushall()
        small = connect(settings.model_copy(update={"max_album_photos": 2}))
        client = create_app(small).test_client()
        album = str(client.post(ALBUMS, json={}).headers["Location"])
        put(client, album, "1.png", 1)
        put(client, album, "2.png", 2)
        for _ in range(2):
            refused = client.put(f"{album}/photos/3.png", data=photo_bytes(seed=3), content_type="image/png")
            assert problem(refused) == (413, "album_full")
        put(client, album, "2.png", 4)
        assert [one["name"] for one in body(client.get(f"{album}/photos"))["photos"]] == ["1.png", "2.png"]
        small.redis.close()

    def test_a_photo_stays_if_the_queue_has_no_room_for_its_replacement(
        self, settings: Settings, services: Services
    ) -> None:
        services.redis.flushall()
        busy = connect(settings.model_copy(update={"max_queued_megapixels": 0.001}))
        client = create_app(busy).test_client()
        album = str(client.post(ALBUMS, json={}).headers["Location"])
        first = put(client, album, "1.png", 1)
        refused = client.put(f"{album}/photos/1.png", data=photo_bytes(seed=2), content_type="image/png")
        assert problem(refused) == (503, "queue_full")
        assert client.get(first["links"]["self"]).status_code == 200
        busy.redis.close()

    def test_while_redis_is_nearly_full_no_album_is_created_and_nothing_recorded(
        self, album: str, nearly_full_redis: Services
    ) -> None:
        client = create_app(nearly_full_redis).test_client()
        assert problem(client.post(ALBUMS, json={})) == (503, "queue_full")
        bad = photo_bytes()[:500]
        refused = upload(client, album, ("bad.png", bad), ("a.zip", zip_of({"worse.png": bad})))["rejected"]
        assert [one["error"]["code"] for one in refused] == ["queue_full"] * 2
        assert body(client.get(f"{album}/photos"))["photos"] == []

    def test_photos_are_listed_by_pages(self, client: FlaskClient, album: str) -> None:
        for seed in range(5):
            put(client, album, f"{seed}.png", seed)
        found, cursor = [], 0
        while cursor is not None:
            page = body(client.get(f"{album}/photos?limit=2&cursor={cursor}"))
            found += [one["name"] for one in page["photos"]]
            cursor = page["next_cursor"]
        assert found == [f"{seed}.png" for seed in range(5)]

    def test_what_is_not_there_is_said(self, client: FlaskClient, album: str) -> None:
        for method, path in (("get", ""), ("get", "/photos"), ("post", "/retry"), ("delete", ""), ("get", "/archive")):
            assert problem(getattr(client, method)(f"{ALBUMS}/nowhere{path}")) == (404, "unknown_album")
        assert problem(client.post(f"{album}/photos", data={"photos": "text"})) == (400, "bad_request")
        assert problem(client.post(ALBUMS, json={"style": "nobody"})) == (422, "unknown_style")
        assert problem(client.post(ALBUMS, json={"colour": "red"})) == (422, "unknown_field")
        for cursor in (-1, (1 << 63) - 1, 10**30):
            assert problem(client.get(f"{album}/photos?cursor={cursor}")) == (422, "invalid_value")


class TestArchives:
    def test_the_photos_of_a_zip_are_taken_without_system_files(
        self, client: FlaskClient, services: Services, album: str
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

    def test_hostile_entries_do_no_harm(self, client: FlaskClient, album: str) -> None:
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

    def test_other_files_are_skipped_unless_their_names_are_those_of_photos(
        self, client: FlaskClient, album: str
    ) -> None:
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
        self, client: FlaskClient, album: str, monkeypatch: pytest.MonkeyPatch, packing: int
    ) -> None:
        archive = zip_of({"a.png": photo_bytes()}, packing)
        monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it is unpacked"))
        (refused,) = upload(client, album, ("a.zip", archive))["rejected"]
        assert refused["error"]["code"] == "bad_archive"

    def test_an_entry_without_a_name_gets_one(self, client: FlaskClient, album: str) -> None:
        archive = bytearray(zip_of({"a": photo_bytes(seed=1), "b.png": photo_bytes(seed=2)}))
        for place, length in ((archive.index(b"PK\3\4"), 26), (archive.index(b"PK\1\2"), 28)):
            archive[place + length] = 0  # the name's length; its letter becomes what an extra field might be
            archive[place + length + 2] = 1
        taken = upload(client, album, ("a.zip", bytes(archive)))["accepted"]
        assert [one["name"] for one in taken] == ["photo", "b.png"]

    def test_two_photos_of_one_name_are_both_kept(self, client: FlaskClient, album: str) -> None:
        archive = zip_of({"a.png": photo_bytes(seed=1), "b.png": photo_bytes(seed=2)}).replace(b"b.png", b"a.png")
        answer = upload(client, album, ("a.zip", archive))
        assert [one["name"] for one in answer["accepted"]] == ["a.png", "a (2).png"]
        again = upload(client, album, ("a.zip", archive))
        assert again == answer

    def test_photos_of_one_name_cost_little_more_than_those_of_many(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        count, one_more = 40, 99
        many, one = ([photo_bytes(seed=seed + start) for seed in range(count)] for start in (0, count))
        cost_of_many = commands(services, lambda: upload(client, album, *((f"{n}.png", p) for n, p in enumerate(many))))
        cost_of_one = commands(services, lambda: upload(client, album, *(("a.png", photo) for photo in one)))
        assert cost_of_one < cost_of_many + 5 * count
        cost_of_next = commands(services, lambda: upload(client, album, ("a.png", photo_bytes(seed=one_more))))
        assert cost_of_next < cost_of_many / count + 2 * count
        names = [photo["name"] for photo in body(client.get(f"{album}/photos?limit=100"))["photos"][count:]]
        assert names == ["a.png", *(f"a ({number}).png" for number in range(2, count + 2))]

    def test_refused_entries_whose_name_is_taken_look_for_a_number_once(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        count = 40
        upload(client, album, *(("a.png", photo_bytes(seed=seed)) for seed in range(count)))
        once, often = (zip_of_links("a.png", number) for number in (1, count))
        cost_of_once = commands(services, lambda: upload(client, album, ("once.zip", once)))
        cost_of_often = commands(services, lambda: upload(client, album, ("often.zip", often)))
        assert body(client.get(album))["counts"]["failed"] == 1
        assert cost_of_often < cost_of_once + 10 * count

    def test_a_photo_sent_again_is_found_under_its_number(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        jobs = [put(client, album, name, seed)["job"] for seed, name in enumerate(("a.png", "a (2).png", "a (3).png"))]
        third, new, newer = (("a.png", photo_bytes(seed=seed)) for seed in (2, 7, 8))
        assert accepted(upload(client, album, third, new, third, new)) == ["a (3).png", "a (4).png"] * 2
        client.delete(f"/api/v1/jobs/{jobs[1]}")
        services.jobs.expire(jobs[2])
        assert accepted(upload(client, album, newer, third)) == ["a (2).png", "a (3).png"]

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
    def test_names_are_made_safe(self, raw: str, expected: str) -> None:
        assert safe_name(raw) == expected

    def test_the_page_names_photos_as_the_service_does(self) -> None:
        """`tests/page/choice.test.js` checks the page against the same names."""
        for raw, expected in json.loads((ROOT / "tests" / "page" / "names.json").read_text("utf-8")):
            assert safe_name(raw) == expected

    def test_a_name_is_never_too_long_for_a_file(self) -> None:
        made = safe_name("桜" * 400 + ".jpg")
        assert made.endswith("桜.jpg")
        assert len(made.encode()) <= 255
        with pytest.raises(InvalidValueError):
            safe_name("../..")

    def test_the_pictures_come_as_one_archive_with_the_reasons_of_what_failed(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        upload(client, album, ("a.jpg", photo_bytes(seed=1)), ("a.png", photo_bytes(seed=2)), ("no.txt", b"hi"))
        work(services)
        response = client.get(f"{album}/archive")
        assert response.content_type == "application/zip"
        assert 'filename="Summer.zip"' in response.headers["Content-Disposition"]
        with zipfile.ZipFile(BytesIO(response.data)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["a.png", "a (2).png", "failures.json"]
            # otherwise readers that start at the front, such as Java's, cannot find the end of an entry
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
            assert json.loads(archive.read("failures.json"))["no.txt"]["code"] == "not_a_photo"

    @pytest.mark.parametrize(
        ("name", "plain", "full"),
        [
            ("Summer", "Summer", "Summer"),
            ("春の桜", "sakuga-", "%E6%98%A5%E3%81%AE%E6%A1%9C"),
            ('a/b "c".. ', "a-b-c", "a-b%20-c"),
            ("..", "sakuga-", "sakuga-"),
        ],
    )
    def test_the_archive_has_the_name_of_the_album(self, client: FlaskClient, name: str, plain: str, full: str) -> None:
        album = str(client.post(ALBUMS, json={"name": name}).headers["Location"])
        disposition = client.get(f"{album}/archive").headers["Content-Disposition"]
        assert f'filename="{plain}' in disposition
        assert f"filename*=UTF-8''{full}" in disposition

    def test_an_album_is_renamed(self, client: FlaskClient, album: str) -> None:
        renamed = client.patch(album, json={"name": "By the sea"})
        assert body(renamed)["name"] == body(client.get(album))["name"] == "By the sea"
        assert 'filename="By-the-sea.zip"' in client.get(f"{album}/archive").headers["Content-Disposition"]
        for refused in ({"name": ""}, {"name": "x" * 201}, {"name": None}, {}):
            assert problem(client.patch(album, json=refused)) == (422, "invalid_value")
        assert problem(client.patch(album, json={"name": "x", "style": "sumi"})) == (422, "unknown_field")

    def test_an_album_that_is_being_deleted_is_not_renamed(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        found = services.albums.get(album.rsplit("/", 1)[1])
        services.albums.close(found.id)
        with pytest.raises(UnknownAlbumError):
            services.albums.rename(found, "By the sea")
        client.delete(album)
        assert problem(client.patch(album, json={"name": "By the sea"})) == (404, "unknown_album")
        with pytest.raises(UnknownAlbumError):
            services.albums.rename(found, "By the sea")
        assert services.redis.keys("sakuga:album:*") == []


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
        assert names.take(name) == free
        taken.add(free.casefold())


def test_many_equal_names_are_made_unique_without_trying_a_number_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def noted(name: str, number: int) -> str:
        tried.append(number)
        return with_number(name, number)

    monkeypatch.setattr(shared.photos.filenames, "with_number", noted)
    names = UniqueNames()
    for _ in range(5000):
        names.take("a")
    assert tried == list(range(1, 5001))


class TestEvents:
    def test_an_album_without_photos_has_not_ended(self, client: FlaskClient, services: Services, album: str) -> None:
        stream = client.get(f"{album}/events").iter_encoded()
        first = next(stream).decode()
        heard = re.findall(r"id: (\S+)", first)
        assert first.count("event: progress") == 1
        put(client, album, "1.png")
        work(services)
        assert "event: done" in b"".join(stream).decode()
        again = client.get(f"{album}/events", headers={"Last-Event-ID": heard[0]})
        assert "event: done" in again.text

    def test_events_missed_by_a_listener_are_sent_before_the_end(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        put(client, album, "first.png", 1)
        heard = services.albums.last_event(album.rpartition("/")[2])
        put(client, album, "second.png", 2)
        work(services)
        stream = client.get(f"{album}/events", headers={"Last-Event-ID": heard}).text
        events = re.findall(r"event: (\w+)\ndata: (.*)", stream)
        told = {
            photo["name"]: photo["state"] for kind, data in events if kind == "state" and (photo := json.loads(data))
        }
        assert told == {"first.png": "succeeded", "second.png": "succeeded"}
        assert events[-1][0] == "done"

    def test_a_refused_entry_replaces_no_photo_and_counts_once(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        put(client, album, "a.png", 1)
        link = zipfile.ZipInfo("a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        for _ in range(2):
            answer = upload(client, album, ("a.zip", zip_of({link: b"/etc/passwd"})))
            assert [one["name"] for one in answer["rejected"]] == ["a (2).png"]
        work(services)
        counts = body(client.get(album))["counts"]
        assert (counts["succeeded"], counts["failed"]) == (1, 1)

    def test_an_upload_whose_album_is_erased_meanwhile_leaves_nothing(
        self, client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def erased_first(services: Services, photo: BinaryIO, order: Order) -> Job:
            job = submit(services, photo, order)
            erase_album(services, album)
            return job

        monkeypatch.setattr(uploads, "submit", erased_first)
        response = client.put(f"{album}/photos/a.png", data=photo_bytes(), content_type="image/png")
        assert problem(response) == (404, "unknown_album")
        assert services.redis.keys("sakuga:job:*") == []
        assert services.redis.hgetall("sakuga:outstanding") == {}
        assert [key for key in services.redis.keys("sakuga:album:*") if services.redis.ttl(key) < 0] == []

    def test_a_photo_that_comes_while_its_album_is_being_erased_leaves_nothing(
        self, client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for seed in range(2):
            put(client, album, f"{seed}.png", seed)
        answers = []
        erase = Jobs.erase

        def with_another(self: Jobs, job_id: str) -> Job:
            monkeypatch.setattr(Jobs, "erase", erase)
            for name in ("new.png", "1.png"):  # one under a name that was processed already, replacing another
                photo = photo_bytes(seed=7)
                answers.append(client.put(f"{album}/photos/{name}", data=photo, content_type="image/png"))
            return self.erase(job_id)

        monkeypatch.setattr(Jobs, "erase", with_another)
        erase_album(services, album)
        assert [problem(answer) for answer in answers] == [(404, "unknown_album")] * 2
        assert services.redis.keys("sakuga:job:*") == []
        assert services.redis.keys("sakuga:album:*") == []
        assert services.redis.hgetall("sakuga:outstanding") == {}

    def test_an_album_whose_deletion_was_interrupted_can_be_deleted_again(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        put(client, album, "a.png")
        services.albums.close(album.rsplit("/", 1)[1])
        assert client.delete(album).status_code == 204
        assert services.redis.keys("sakuga:job:*") == []

    def test_an_upload_to_a_closed_album_completes_its_deletion(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        put(client, album, "a.png")
        services.albums.close(album.rsplit("/", 1)[1])
        refused = client.put(f"{album}/photos/b.png", data=photo_bytes(seed=2), content_type="image/png")
        assert problem(refused) == (404, "unknown_album")
        assert services.redis.keys("sakuga:job:*") + services.redis.keys("sakuga:album:*") == []

    def test_an_upload_to_an_erased_album_restores_none_of_it(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        found = services.albums.get(album.rsplit("/", 1)[1])
        client.delete(album)
        services.albums.put(found, Item("a.png", "job"), None, expires_at=found.expires_at)
        assert not services.albums.exists(found.id)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # werkzeug does not close them
    def test_an_upload_of_too_many_files_is_refused_with_the_limit(self, client: FlaskClient, album: str) -> None:
        photos = [(BytesIO(b"x"), f"{number}.png") for number in range(501)]
        refused = client.post(f"{album}/photos", data={"photos": photos})
        assert problem(refused) == (400, "bad_request")
        assert "500" in refused.text

    def test_a_photo_under_two_names_is_missing_only_when_both_are_gone(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        first, second = put(client, album, "a.png", 1), put(client, album, "b.png", 1)
        digest = hashlib.sha256(photo_bytes(seed=1)).hexdigest()

        def missing() -> list[str]:
            return list(body(client.post(f"{album}/check", json={"sha256": [digest]}))["missing"])

        put(client, album, "a.png", 2)
        assert missing() == []
        assert client.get(first["links"]["self"]).status_code == 404
        services.jobs.expire(second["job"])
        assert missing() == [digest]

    def test_one_album_leaves_room_for_another(self, client: FlaskClient, services: Services) -> None:
        small = services.settings.model_copy(update={"max_queued_megapixels": 0.05, "max_attempts": 3})
        client = create_app(connect(small)).test_client()
        first, second = (str(client.post(ALBUMS, json={}).headers["Location"]) for _ in range(2))
        answers = [upload(client, first, (f"{seed}.png", photo_bytes(seed=seed))) for seed in range(8)]
        refused = [answer["rejected"][0] for answer in answers if answer["rejected"]]
        assert len(refused) == 3
        assert refused[0]["error"]["code"] == "queue_full"
        assert refused[0]["retry_after_s"] >= 1
        assert upload(client, second, ("a.png", photo_bytes(seed=99)))["rejected"] == []
        assert body(client.get(f"{first}/photos"))["photos"][-1]["name"] == "4.png"


class TestAfterwards:
    def test_a_photo_whose_job_is_erased_leaves_the_album(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        jobs = [put(client, album, f"{seed}.png", seed) for seed in range(2)]
        work(services)
        assert client.delete(jobs[0]["links"]["self"]).status_code == 204
        found = body(client.get(album))
        assert found["counts"] == dict.fromkeys(found["counts"], 0) | {"succeeded": 1}
        assert [one["name"] for one in body(client.get(f"{album}/photos"))["photos"]] == ["1.png"]
        with zipfile.ZipFile(BytesIO(client.get(f"{album}/archive").data)) as archive:
            assert archive.namelist() == ["1.png"]
        put(client, album, "0.png", 5)
        assert body(client.get(album))["counts"]["queued"] == 1

    def test_only_failed_photos_are_retried(self, client: FlaskClient, services: Services, album: str) -> None:
        put(client, album, "good.png", 1)
        work(services)
        put(client, album, "unlucky.png", 2)

        def fail(_: str) -> ToyEngine:
            raise InvalidValueError("not today")

        message = json.loads(str(services.redis.rpop("bulk")))
        tasks.convert(message["headers"]["id"], services, fail)
        assert body(client.get(album))["counts"]["failed"] == 1
        assert body(client.post(f"{album}/retry"))["counts"]["queued"] == 1
        assert names(services, work(services)) == ["unlucky.png"]
        assert body(client.get(album))["counts"]["succeeded"] == 2

    def test_quarantined_photos_are_retried_by_the_operator_alone(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        job_id = put(client, album, "poison.png")["job"]
        for _ in range(4):
            services.attempts.claim(job_id)
            expire_lease(services, services.jobs.get(job_id))
        assert body(client.post(f"{album}/retry"))["counts"]["failed"] == 1
        assert [job.id for job in services.quarantine.jobs()] == [job_id]

    def test_a_canceled_album_stops_and_can_be_resumed(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        for seed in range(12):
            put(client, album, f"{seed}.png", seed)
        work(services, 2)
        assert body(client.post(f"{album}/cancel"))["counts"]["canceled"] == 10
        work(services)
        assert services.lanes.stats(Lane.BULK).jobs == 0
        assert body(client.get(album))["counts"]["succeeded"] == 2
        client.post(f"{album}/retry")
        work(services)
        assert body(client.get(album))["counts"]["succeeded"] == 12

    def test_retries_need_room_in_the_queue_like_new_photos(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        for seed in range(5):
            put(client, album, f"{seed}.png", seed)
        client.post(f"{album}/cancel")
        narrow = with_queue_limit(services, 0.02)  # two photos of an album
        tight = create_app(narrow).test_client()
        assert problem(tight.post(f"{album}/retry")) == (503, "queue_full")
        assert body(client.get(album))["counts"]["queued"] == 2
        work(services)
        assert problem(tight.post(f"{album}/retry")) == (503, "queue_full")
        work(services)
        assert body(tight.post(f"{album}/retry"))["counts"]["queued"] == 1

    def test_an_album_whose_record_is_damaged_is_unknown(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        services.redis.hset(f"sakuga:album:{album.rsplit('/', maxsplit=1)[-1]}", "name", "{")
        assert problem(client.get(album)) == (404, "unknown_album")

    def test_an_album_that_a_newer_release_has_recorded_is_left_to_it(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        put(client, album, "1.png")
        work(services)
        record, other = f"sakuga:album:{album.rsplit('/', maxsplit=1)[-1]}", client.post(ALBUMS, json={})
        services.redis.hset(record, mapping={"version": RECORD_VERSION + 1, "format": '"gif"'})
        before = services.redis.hgetall(record)
        for response in (client.get(album), client.delete(album), client.put(f"{album}/photos/2.png", data=b"x")):
            assert problem(response) == (503, "unavailable")
            assert response.headers["Retry-After"] == "5"
        put(client, str(other.headers["Location"]), "1.png")
        work(services)
        notify_finished(services)
        assert services.albums.unnotified(10) == [record.rsplit(":", maxsplit=1)[-1]], "it is still to be told"
        assert services.redis.hgetall(record) == before

    def test_an_album_with_a_photo_that_a_newer_release_has_recorded_is_not_listed_without_it(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        job_id = put(client, album, "1.png")["job"]
        services.redis.hset(f"sakuga:job:{job_id}", mapping={"version": RECORD_VERSION + 1, "stage": '"dreaming"'})
        assert problem(client.get(f"{album}/photos")) == (503, "unavailable")
        assert body(client.get(album))["counts"]["queued"] == 1

    @pytest.mark.parametrize("newer", ["the album", "a photo"])
    def test_an_album_with_a_record_of_a_newer_release_is_erased_by_that_alone(
        self, client: FlaskClient, services: Services, album: str, newer: str
    ) -> None:
        jobs = [put(client, album, f"{seed}.png", seed)["job"] for seed in range(3)]
        album_id = album.rsplit("/", 1)[1]
        record = f"sakuga:album:{album_id}" if newer == "the album" else f"sakuga:job:{jobs[1]}"
        services.redis.hset(record, "version", RECORD_VERSION + 1)
        keys, found = set(services.redis.keys("sakuga:*")), services.redis.hgetall(f"sakuga:album:{album_id}")
        assert problem(client.delete(album)) == (503, "unavailable")
        assert set(services.redis.keys("sakuga:*")) == keys
        assert services.redis.hgetall(f"sakuga:album:{album_id}") == found
        services.redis.hset(record, "version", RECORD_VERSION)
        assert client.delete(album).status_code == 204
        assert services.redis.keys("sakuga:job:*") + services.redis.keys("sakuga:album:*") == []

    def test_an_erased_album_leaves_nothing(self, client: FlaskClient, services: Services, album: str) -> None:
        upload(client, album, *((f"{seed}.png", photo_bytes(seed=seed)) for seed in range(3)), ("no.txt", b"hi"))
        work(services, 2)
        assert client.delete(album).status_code == 204
        assert problem(client.get(album)) == (404, "unknown_album")
        work(services)
        services.references.release_expired()
        assert services.redis.keys("sakuga:album:*") == []
        assert services.redis.keys("sakuga:job:*") == []
        assert services.redis.keys("sakuga:flow*") + services.redis.keys("sakuga:refer*") == []
        assert services.redis.hlen(OUTSTANDING) == services.redis.hlen(FLOW_PIXELS) == 0
        assert services.lanes.stats(Lane.BULK).jobs == 0
        assert [path for path in (services.settings.data_dir / "store").rglob("*") if path.is_file()] == []

    def test_the_archive_of_an_album_erased_meanwhile_is_visibly_incomplete(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        upload(client, album, *((f"{seed}.png", photo_bytes(seed=seed)) for seed in range(2)))
        work(services, 1)
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        so_far = next(chunks)
        client.delete(album)
        with pytest.raises(BrokenOffError):
            so_far += b"".join(chunks)
        assert not zipfile.is_zipfile(BytesIO(so_far))


class Hiccuping(DiskStore):
    """A store on disk with brief outages."""

    hiccups = 0

    def open(self, key: str) -> BinaryIO:
        if self.hiccups:
            self.hiccups -= 1
            raise UnavailableError("The store is not responding; please try again.")
        return super().open(key)


class TestArchivesOfAStoreThatDoesNotAnswer:
    @pytest.fixture(autouse=True)
    def _no_pause(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(web.archive, "STORE_PAUSE_S", 0)

    @pytest.fixture
    def store(self, settings: Settings) -> Hiccuping:
        return Hiccuping(settings.data_dir / "store")

    @pytest.fixture
    def services(self, services: Services, store: Hiccuping) -> Services:
        return replace(services, store=store)

    @pytest.fixture
    def album(self, client: FlaskClient, services: Services, album: str) -> str:
        """An album of three pictures."""
        for seed in range(3):
            put(client, album, f"{seed}.png", seed)
        work(services)
        return album

    def test_an_archive_continues_after_a_brief_outage(self, client: FlaskClient, album: str, store: Hiccuping) -> None:
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        so_far = next(chunks)
        store.hiccups = 3
        with zipfile.ZipFile(BytesIO(so_far + b"".join(chunks))) as archive:
            assert archive.namelist() == ["0.png", "1.png", "2.png"]
            assert archive.testzip() is None
        assert store.hiccups == 0

    def test_an_aborted_archive_is_visibly_incomplete(
        self, client: FlaskClient, album: str, store: Hiccuping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(web.archive, "STORE_RETRY_S", 0.1)
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        so_far = next(chunks)
        store.hiccups = sys.maxsize
        with pytest.raises(UnavailableError):
            so_far += b"".join(chunks)
        assert not zipfile.is_zipfile(BytesIO(so_far))

    def test_an_archive_does_not_wait_for_the_store_during_shutdown(
        self, services: Services, album: str, store: Hiccuping
    ) -> None:
        client = create_app(services, is_serving=lambda: store.hiccups > 1).test_client()
        chunks = iter(client.get(f"{album}/archive").iter_encoded())
        next(chunks)
        store.hiccups = 5
        with pytest.raises(BrokenOffError):
            b"".join(chunks)
        assert store.hiccups == 1


class TestLaneOrder:
    def test_single_photos_come_first_and_albums_still_advance(self) -> None:
        order = LaneOrder(["bulk", "interactive"])
        taken = [order.rotate(order.consume(2)[0]) for _ in range(400)]
        assert taken[0] == "interactive"
        assert taken.count("bulk") / 400 == pytest.approx(BULK_SHARE, abs=0.01)

    def test_the_broker_alternates_lanes_in_this_order(self, services: Services) -> None:
        with celery_app(services.settings).connection() as connection:
            assert isinstance(connection.default_channel._queue_cycle, LaneOrder)  # noqa: SLF001

    def test_a_single_photo_overtakes_an_album(self, client: FlaskClient, services: Services, album: str) -> None:
        for seed in range(20):
            put(client, album, f"{seed}.png", seed)
        work(services, 1)
        single = body(client.post("/api/v1/jobs", data={"photo": (BytesIO(photo_bytes(seed=99)), "p.png")}))
        assert work(services, 1) == [single["id"]]
        assert single["lane"] == "interactive"

    def test_two_albums_share_fairly(self, client: FlaskClient, services: Services) -> None:
        first, second = (str(client.post(ALBUMS, json={}).headers["Location"]) for _ in range(2))
        for seed in range(40):
            put(client, first, f"a{seed}.png", seed)
        for seed in range(10):
            put(client, second, f"b{seed}.png", 100 + seed)
        done = "".join(name[0] for name in names(services, work(services, 24)))
        assert 9 <= done.count("b") <= 10
        assert names(services, work(services))[-1] == "a39.png"

    def test_a_late_album_gains_no_advantage(self, client: FlaskClient, services: Services) -> None:
        early, late = (str(client.post(ALBUMS, json={}).headers["Location"]) for _ in range(2))
        for seed in range(20):
            put(client, early, f"a{seed}.png", seed)
        work(services, 10)
        for seed in range(10):
            put(client, late, f"b{seed}.png", 100 + seed)
        done = "".join(name[0] for name in names(services, work(services, 10)))
        assert 3 <= done.count("b") <= 5

    def test_only_a_few_bulk_jobs_are_dispatched_ahead(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        for seed in range(12):
            put(client, album, f"{seed}.png", seed)
        assert services.redis.llen(Lane.BULK) == 2
        assert services.lanes.stats(Lane.BULK).jobs == 12
        assert resend_lost(services) == 0

    def test_concurrent_dispatches_send_no_more_jobs(self, client: FlaskClient, services: Services, album: str) -> None:
        class Overtaken(Queue):
            def send(self, job_id: str, lane: Lane) -> None:
                dispatch(services)  # as others do before this message is in the queue
                super().send(job_id, lane)

        jobs = [put(client, album, f"{seed}.png", seed)["job"] for seed in range(12)]
        for job_id in jobs[:2]:
            services.jobs.cancel(job_id)
        services.redis.delete("bulk")
        dispatch(replace(services, queue=Overtaken(celery_app(services.settings), services.redis)))
        assert services.redis.llen(Lane.BULK) == 2

    def test_concurrent_uploads_send_no_more_jobs(self, services: Services) -> None:
        def upload_one(seed: int) -> Job:
            order = Order("hinata-light", Options(64, Format.PNG), lane=Lane.BULK)
            return submit(services, BytesIO(photo_bytes(seed=seed)), order)

        with ThreadPoolExecutor(16) as pool:
            assert len({job.id for job in pool.map(upload_one, range(16))}) == 16
        assert services.redis.llen(Lane.BULK) == 2
        assert services.lanes.stats(Lane.BULK).jobs == 16
        assert len(work(services)) == 16

    def test_a_job_that_could_not_be_sent_is_sent_soon_and_keeps_its_place(
        self, services: Services, album: str
    ) -> None:
        class Failing(Queue):
            def send(self, job_id: str, lane: Lane) -> None:  # noqa: ARG002
                raise UnavailableError("The queue does not answer.")

        failing = replace(services, queue=Failing(celery_app(services.settings), services.redis))
        tight = create_app(failing).test_client()
        for seed in range(4):
            put(tight, album, f"{seed}.png", seed)
        assert services.redis.llen(Lane.BULK) == 0
        dispatch(services)
        assert services.redis.llen(Lane.BULK) == 0, "both places are taken by the first two"
        assert resend_lost(services) == 2
        assert names(services, work(services)) == [f"{seed}.png" for seed in range(4)]

    def test_a_damaged_record_holds_up_no_other_job_of_the_lane(
        self, client: FlaskClient, services: Services, album: str
    ) -> None:
        jobs = [put(client, album, f"{seed}.png", seed)["job"] for seed in range(6)]
        services.redis.hset(f"sakuga:job:{jobs[3]}", "work_ms", "{")
        services.redis.set(f"sakuga:job:{jobs[4]}", "no hash")
        work(services)
        assert [services.jobs.get(jobs[place]).state for place in (0, 1, 2, 5)] == [State.SUCCEEDED] * 4

    def test_a_bulk_job_whose_message_is_lost_is_sent_again(
        self, client: FlaskClient, services: Services, album: str, later: Callable[[float], None]
    ) -> None:
        for seed in range(6):
            put(client, album, f"{seed}.png", seed)
        services.redis.delete("bulk")
        later(120)
        assert resend_lost(services) == 2
        dispatch(services)
        assert len(work(services)) == 6


@pytest.fixture
def later(services: Services) -> Callable[[float], None]:
    """Backdate everything that was sent by this many seconds."""

    def shift(seconds: float) -> None:
        for job_id in services.redis.zrange(lane_sent(Lane.BULK), 0, -1):
            services.redis.zincrby(lane_sent(Lane.BULK), -seconds, str(job_id))

    return shift


def test_the_end_of_an_album_is_estimated(client: FlaskClient, services: Services, album: str) -> None:
    services.workers.heartbeat("host/1")
    services.workers.heartbeat("host/2")
    for seed in range(10):
        put(client, album, f"{seed}.png", seed)
    one_ms = services.jobs.get(work(services, 1)[0]).work_ms
    services.redis.set(SLOWDOWN, 3)
    eta_s = body(client.get(album))["eta_s"]
    assert eta_s == pytest.approx(3 * 9 * one_ms / 2 / 1000, abs=0.05)
    assert eta_s == round(eta_s, 1)
    work(services)
    assert body(client.get(album))["eta_s"] is None


@pytest.fixture
def waiting(client: FlaskClient, services: Services, album: str) -> int:
    """Queue an album of three photos for a worker; return its remaining work in milliseconds."""
    services.workers.heartbeat("host/1")
    for seed in range(3):
        put(client, album, f"{seed}.png", seed)
    return int(services.redis.hget(OUTSTANDING, album.rsplit("/", maxsplit=1)[-1]) or 0)


def let_others_wait(services: Services, work_ms: list[int]) -> None:
    services.redis.hset(OUTSTANDING, mapping={f"{number:040}": ms for number, ms in enumerate(work_ms)})


def test_reading_an_album_costs_the_same_whatever_else_waits(
    client: FlaskClient, services: Services, album: str, waiting: int
) -> None:
    def looked_at_with(others: int) -> tuple[int, int]:
        let_others_wait(services, [waiting] * others)
        body(client.get(album))  # values that are only read now and then, such as the time
        services.redis.config_resetstat()
        body(client.get(album))
        stats = services.redis.info("stats")
        return stats["total_commands_processed"], stats["total_net_output_bytes"]

    (few, few_bytes), (many, many_bytes) = looked_at_with(200), looked_at_with(20_000)
    assert many <= few + 1  # the time may be read
    assert many_bytes <= 1.1 * few_bytes


@pytest.mark.parametrize("others", [7, 90, 5000])
def test_the_end_of_an_album_among_others_is_estimated(
    client: FlaskClient, services: Services, album: str, waiting: int, others: int
) -> None:
    let_others_wait(services, [10 * waiting] * others)
    assert body(client.get(album))["eta_s"] == pytest.approx((others + 1) * waiting / 1000, abs=0.06)


def test_the_end_of_an_album_among_many_unlike_ones_is_estimated_roughly(
    client: FlaskClient, services: Services, album: str, waiting: int
) -> None:
    let_others_wait(services, [waiting // 4, waiting, 100 * waiting, waiting // 4] * 500)
    assert body(client.get(album))["eta_s"] == pytest.approx((1 + 500 * 2.5) * waiting / 1000, rel=0.35)


def test_a_locked_name_or_photo_keeps_no_caller_waiting_for_long(settings: Settings, album: str) -> None:
    services, photo = connect(settings, wait_s=0.1), photo_bytes()
    client = create_app(services).test_client()
    services.redis.set(f"sakuga:lock:album:{album.rsplit('/', maxsplit=1)[-1]}:a.png", "another", px=60_000)
    services.redis.set(f"sakuga:lock:public/photos/{hashlib.sha256(photo).hexdigest()}", "another", px=60_000)
    for name in ("a.png", "b.png"):
        refused = client.put(f"{album}/photos/{name}", data=photo)
        assert problem(refused) == (503, "unavailable")
        assert refused.headers["Retry-After"] == "5"
    services.redis.close()
