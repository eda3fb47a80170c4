"""Albums: reading, renaming, canceling, retrying and erasing them, and records that this release cannot read."""

import json
import zipfile
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from shared.errors import InvalidValueError, UnknownAlbumError
from shared.jobs.record import Lane
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import FLOW_PIXELS, OUTSTANDING
from shared.services import Services
from shared.usecases.albums import notify_finished
from tests.albums import body, names, put, upload, work
from tests.answers import ALBUMS, problem
from tests.conftest import ToyEngine, expire_lease, photo_bytes
from worker import tasks


def test_photos_are_listed_by_pages(client: FlaskClient, album: str) -> None:
    for seed in range(5):
        put(client, album, f"{seed}.png", seed)
    found, cursor = [], 0
    while cursor is not None:
        page = body(client.get(f"{album}/photos?limit=2&cursor={cursor}"))
        found += [one["name"] for one in page["photos"]]
        cursor = page["next_cursor"]
    assert found == [f"{seed}.png" for seed in range(5)]


def test_what_is_not_there_is_said(client: FlaskClient, album: str) -> None:
    for method, path in (("get", ""), ("get", "/photos"), ("post", "/retry"), ("delete", ""), ("get", "/archive")):
        assert problem(getattr(client, method)(f"{ALBUMS}/nowhere{path}")) == (404, "unknown_album")
    assert problem(client.post(f"{album}/photos", data={"photos": "text"})) == (400, "bad_request")
    assert problem(client.post(ALBUMS, json={"style": "nobody"})) == (422, "unknown_style")
    assert problem(client.post(ALBUMS, json={"colour": "red"})) == (422, "unknown_field")
    for cursor in (-1, (1 << 63) - 1, 10**30):
        assert problem(client.get(f"{album}/photos?cursor={cursor}")) == (422, "invalid_value")


def test_an_album_is_renamed(client: FlaskClient, album: str) -> None:
    renamed = client.patch(album, json={"name": "By the sea"})
    assert body(renamed)["name"] == body(client.get(album))["name"] == "By the sea"
    assert 'filename="By-the-sea.zip"' in client.get(f"{album}/archive").headers["Content-Disposition"]
    for refused in ({"name": ""}, {"name": "x" * 201}, {"name": None}, {}):
        assert problem(client.patch(album, json=refused)) == (422, "invalid_value")
    assert problem(client.patch(album, json={"name": "x", "style": "sumi"})) == (422, "unknown_field")


def test_an_album_that_is_being_deleted_is_not_renamed(client: FlaskClient, services: Services, album: str) -> None:
    found = services.albums.get(album.rsplit("/", 1)[1])
    services.albums.close(found.id)
    with pytest.raises(UnknownAlbumError):
        services.albums.rename(found, "By the sea")
    client.delete(album)
    assert problem(client.patch(album, json={"name": "By the sea"})) == (404, "unknown_album")
    with pytest.raises(UnknownAlbumError):
        services.albums.rename(found, "By the sea")
    assert services.redis.keys("sakuga:album:*") == []


def test_a_photo_whose_job_is_erased_leaves_the_album(client: FlaskClient, services: Services, album: str) -> None:
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


def test_only_failed_photos_are_retried(client: FlaskClient, services: Services, album: str) -> None:
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
    client: FlaskClient, services: Services, album: str
) -> None:
    job_id = put(client, album, "poison.png")["job"]
    for _ in range(4):
        services.attempts.claim(job_id)
        expire_lease(services, services.jobs.get(job_id))
    assert body(client.post(f"{album}/retry"))["counts"]["failed"] == 1
    assert [job.id for job in services.quarantine.jobs()] == [job_id]


def test_a_canceled_album_stops_and_can_be_resumed(client: FlaskClient, services: Services, album: str) -> None:
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


def test_an_erased_album_leaves_nothing(client: FlaskClient, services: Services, album: str) -> None:
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


def test_an_album_whose_deletion_was_interrupted_can_be_deleted_again(
    client: FlaskClient, services: Services, album: str
) -> None:
    put(client, album, "a.png")
    services.albums.close(album.rsplit("/", 1)[1])
    assert client.delete(album).status_code == 204
    assert services.redis.keys("sakuga:job:*") == []


def test_an_album_whose_record_is_damaged_is_unknown(client: FlaskClient, services: Services, album: str) -> None:
    services.redis.hset(f"sakuga:album:{album.rsplit('/', maxsplit=1)[-1]}", "name", "{")
    assert problem(client.get(album)) == (404, "unknown_album")


def test_an_album_that_a_newer_release_has_recorded_is_left_to_it(
    client: FlaskClient, services: Services, album: str
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
    client: FlaskClient, services: Services, album: str
) -> None:
    job_id = put(client, album, "1.png")["job"]
    services.redis.hset(f"sakuga:job:{job_id}", mapping={"version": RECORD_VERSION + 1, "stage": '"dreaming"'})
    assert problem(client.get(f"{album}/photos")) == (503, "unavailable")
    assert body(client.get(album))["counts"]["queued"] == 1


@pytest.mark.parametrize("newer", ["the album", "a photo"])
def test_an_album_with_a_record_of_a_newer_release_is_erased_by_that_alone(
    client: FlaskClient, services: Services, album: str, newer: str
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
