"""Uploading photos into an album: each is accepted or refused by itself, under a name of its own."""

import hashlib
from io import BytesIO
from typing import BinaryIO

import pytest
from flask.testing import FlaskClient

from shared.albums.record import Item
from shared.albums.walks import Action
from shared.jobs.record import Job
from shared.jobs.store import Jobs
from shared.services import Services, connect
from shared.settings import Settings
from shared.usecases import uploads
from shared.usecases.submit import Order, submit
from shared.usecases.walks import walk_album
from tests.albums import accepted, body, commands, put, upload, work
from tests.answers import ALBUMS, problem
from tests.conftest import photo_bytes, zip_of
from web.app import create_app


@pytest.mark.parametrize("faces", ["auto", "off"])
def test_photos_of_an_album_are_drawn_with_its_choice_of_faces(client: FlaskClient, faces: str) -> None:
    album = body(client.post(ALBUMS, json={"faces": faces}))
    assert (
        client.put(f"{album['links']['photos']}/a.png", data=photo_bytes(), content_type="image/png").status_code == 202
    )
    (photo,) = body(client.get(album["links"]["photos"]))["photos"]
    assert album["faces"] == photo["job"]["faces"] == faces


def test_an_album_counts_the_states_of_its_photos(client: FlaskClient, services: Services, album: str) -> None:
    for seed in range(3):
        put(client, album, f"{seed}.png", seed)
    assert body(client.get(album))["counts"]["queued"] == 3
    work(services)
    found = body(client.get(album))
    assert found["name"] == "Summer"
    assert found["counts"] == dict.fromkeys(found["counts"], 0) | {"succeeded": 3}
    assert found["progress"] == 1


def test_the_same_photo_under_the_same_name_counts_once(client: FlaskClient, album: str) -> None:
    first, again = (put(client, album, "beach/1.png") for _ in range(2))
    assert first == again
    assert body(client.get(album))["counts"]["queued"] == 1


def test_another_photo_under_the_same_name_replaces_the_first(
    client: FlaskClient, services: Services, album: str
) -> None:
    before, after = put(client, album, "1.png", 1), put(client, album, "1.png", 2)
    assert before["job"] != after["job"]
    assert client.get(before["links"]["self"]).status_code == 404
    assert body(client.get(album))["counts"]["queued"] == 1
    work(services)
    assert body(client.get(album))["counts"]["succeeded"] == 1


def test_one_bad_photo_fails_alone_and_says_why(client: FlaskClient, services: Services, album: str) -> None:
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


def test_refused_photos_are_not_asked_for_again(client: FlaskClient, album: str) -> None:
    assert problem(client.put(f"{album}/photos/no.txt", data=b"hi")) == (415, "not_a_photo")
    digest = hashlib.sha256(b"hi").hexdigest()
    assert body(client.post(f"{album}/check", json={"sha256": [digest]})) == {"missing": []}
    assert body(client.get(f"{album}/photos"))["photos"][0]["sha256"] == digest


def test_an_expired_photo_is_accepted_again(client: FlaskClient, services: Services, album: str) -> None:
    first = put(client, album, "1.png")
    services.jobs.expire(first["job"])
    again = put(client, album, "1.png")
    assert again["job"] != first["job"]
    assert body(client.get(album))["counts"] | {"queued": 1, "expired": 0} == body(client.get(album))["counts"]


def test_a_client_that_resumes_learns_what_is_missing(client: FlaskClient, album: str) -> None:
    sent = put(client, album, "1.png")
    digest = body(client.get(sent["links"]["self"]))["photo"]["sha256"]
    answer = body(client.post(f"{album}/check", json={"sha256": [digest, "0" * 64, digest]}))
    assert answer == {"missing": ["0" * 64]}
    refused = client.post(f"{album}/check", json={"sha256": ["x"]})
    assert problem(refused) == (422, "invalid_value")
    assert "sha256.0 must be 64 hexadecimal digits." in refused.text
    assert problem(client.post(f"{album}/check", data="[]")) == (400, "bad_request")


def test_a_photo_under_two_names_is_missing_only_when_both_are_gone(
    client: FlaskClient, services: Services, album: str
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


def test_a_full_album_says_so_and_lets_its_photos_be_replaced(settings: Settings, services: Services) -> None:
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


def test_a_photo_stays_if_the_queue_has_no_room_for_its_replacement(settings: Settings, services: Services) -> None:
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
    album: str, nearly_full_redis: Services
) -> None:
    client = create_app(nearly_full_redis).test_client()
    assert problem(client.post(ALBUMS, json={})) == (503, "queue_full")
    bad = photo_bytes()[:500]
    refused = upload(client, album, ("bad.png", bad), ("a.zip", zip_of({"worse.png": bad})))["rejected"]
    assert [one["error"]["code"] for one in refused] == ["queue_full"] * 2
    assert body(client.get(f"{album}/photos"))["photos"] == []


def test_a_photo_sent_again_is_found_under_its_number(client: FlaskClient, services: Services, album: str) -> None:
    jobs = [put(client, album, name, seed)["job"] for seed, name in enumerate(("a.png", "a (2).png", "a (3).png"))]
    third, new, newer = (("a.png", photo_bytes(seed=seed)) for seed in (2, 7, 8))
    assert accepted(upload(client, album, third, new, third, new)) == ["a (3).png", "a (4).png"] * 2
    client.delete(f"/api/v1/jobs/{jobs[1]}")
    services.jobs.expire(jobs[2])
    assert accepted(upload(client, album, newer, third)) == ["a (2).png", "a (3).png"]


def test_photos_of_one_name_cost_little_more_than_those_of_many(
    client: FlaskClient, services: Services, album: str
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


def erase_album(services: Services, album: str) -> None:
    walk_album(services, services.albums.get(album.rsplit("/", 1)[1]), Action.ERASE)


def test_an_upload_whose_album_is_erased_meanwhile_leaves_nothing(
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
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
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
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


def test_an_upload_to_a_closed_album_completes_its_deletion(
    client: FlaskClient, services: Services, album: str
) -> None:
    put(client, album, "a.png")
    services.albums.close(album.rsplit("/", 1)[1])
    refused = client.put(f"{album}/photos/b.png", data=photo_bytes(seed=2), content_type="image/png")
    assert problem(refused) == (404, "unknown_album")
    assert services.redis.keys("sakuga:job:*") + services.redis.keys("sakuga:album:*") == []


def test_an_upload_to_an_erased_album_restores_none_of_it(client: FlaskClient, services: Services, album: str) -> None:
    found = services.albums.get(album.rsplit("/", 1)[1])
    client.delete(album)
    services.albums.put(found, Item("a.png", "job"), None, expires_at=found.expires_at)
    assert not services.albums.exists(found.id)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # werkzeug does not close them
def test_an_upload_of_too_many_files_is_refused_with_the_limit(client: FlaskClient, album: str) -> None:
    photos = [(BytesIO(b"x"), f"{number}.png") for number in range(501)]
    refused = client.post(f"{album}/photos", data={"photos": photos})
    assert problem(refused) == (400, "bad_request")
    assert "500" in refused.text


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
