"""An album that keeps its photos is drawn in another style without sending them again."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope
from shared.photos.formats import MAX_SIDE_DEFAULT
from shared.services import Services
from shared.usecases import redraw
from shared.usecases.walking import Walking
from tests.albums import body, put
from tests.answers import ALBUMS, problem
from tests.conftest import ToyEngine
from web.app import create_app
from worker import tasks

PHOTOS = 3


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redraw, "AT_ONCE", 2)


@pytest.fixture
def album(client: FlaskClient, services: Services) -> str:
    """An album that keeps its photos, and is finished."""
    return finished(client, services, keep_photos=True)


def finished(client: FlaskClient, services: Services, **options: Any) -> str:  # noqa: ANN401  JSON
    album = str(client.post(ALBUMS, json={"name": "Summer", "style": "hinata"} | options).headers["Location"])
    for seed in range(PHOTOS):
        put(client, album, f"{seed}.png", seed)
    draw(client, services, album)
    return album


def draw(client: FlaskClient, services: Services, album: str) -> None:
    for photo in body(client.get(f"{album}/photos"))["photos"]:
        if photo["job"]:
            tasks.convert(photo["job"]["id"], services, lambda _: ToyEngine())
    services.references.release_expired()


def redrawn(client: FlaskClient, services: Services, album: str, **options: Any) -> str:  # noqa: ANN401  JSON
    location = str(client.post(f"{album}/redraw", json={"style": "sumi"} | options).headers["Location"])
    Walking(services).advance()
    return location


def stored(services: Services) -> list[str]:
    return [key for keys in services.store.keys(older_than_s=0) for key in keys]


def test_photos_are_drawn_again_without_being_sent(client: FlaskClient, services: Services, album: str) -> None:
    assert body(client.get(album))["keep_photos"] is True
    answer = client.post(f"{album}/redraw", json={"style": "sumi"})
    started = body(answer)
    assert (answer.status_code, started["links"]["self"]) == (201, answer.headers["Location"])
    assert (started["name"], started["style"], started["max_side"]) == ("Summer", "sumi-light", MAX_SIDE_DEFAULT)
    assert started["pending"] == ["redraw"]
    Walking(services).advance()
    found = body(client.get(started["links"]["self"]))
    assert (found["pending"], found["counts"]["queued"]) == ([], PHOTOS)
    draw(client, services, started["links"]["self"])
    photos = body(client.get(f"{started['links']['self']}/photos"))["photos"]
    assert [(photo["name"], photo["state"]) for photo in photos] == [(f"{seed}.png", "succeeded") for seed in range(3)]
    assert {photo["job"]["style"] for photo in photos} == {"sumi-light"}
    assert body(client.get(album))["counts"]["succeeded"] == PHOTOS


def test_a_redrawn_album_can_be_drawn_again_in_another_size_and_format(
    client: FlaskClient, services: Services, album: str
) -> None:
    second = redrawn(client, services, album)
    assert client.delete(album).status_code == 204
    third = redrawn(client, services, second, style="yoi", max_side=64, format="png")
    found = body(client.get(third))
    assert (found["style"], found["max_side"], found["format"]) == ("yoi-light", 64, "png")
    assert found["counts"]["queued"] == PHOTOS


def test_photos_are_kept_only_on_request_and_go_with_the_last_album(client: FlaskClient, services: Services) -> None:
    other = finished(client, services)
    assert body(client.get(other))["keep_photos"] is False
    assert [key for key in stored(services) if "/photos/" in key] == []
    assert problem(client.post(f"{other}/redraw", json={"style": "sumi"})) == (410, "missing_object")
    album = finished(client, services, keep_photos=True)
    again = redrawn(client, services, album)
    draw(client, services, again)
    client.delete(album)
    services.references.release_expired()
    assert len([key for key in stored(services) if "/photos/" in key]) == PHOTOS
    client.delete(again)
    client.delete(other)
    services.references.release_expired()
    assert stored(services) == []


def test_what_was_refused_or_is_gone_is_refused_again(client: FlaskClient, services: Services, album: str) -> None:
    client.put(f"{album}/photos/diary.png", data=b"Dear diary", content_type="image/png")
    gone = body(client.get(f"{album}/photos"))["photos"][0]["job"]["id"]
    services.store.delete(services.jobs.get(gone).photo_key)
    photos = body(client.get(f"{redrawn(client, services, album)}/photos"))["photos"]
    problems = {photo["name"]: photo["error"] and photo["error"]["code"] for photo in photos}
    assert problems == {"0.png": "missing_object", "1.png": None, "2.png": None, "diary.png": "not_a_photo"}


def test_canceling_stops_a_redraw_and_erasing_leaves_nothing_of_it(
    client: FlaskClient, services: Services, album: str
) -> None:
    canceled = str(client.post(f"{album}/redraw", json={"style": "sumi"}).headers["Location"])
    assert body(client.post(f"{canceled}/cancel"))["pending"] == []
    erased = str(client.post(f"{album}/redraw", json={"style": "yoi"}).headers["Location"])
    assert client.delete(erased).status_code == 204
    Walking(services).advance()
    assert sum(body(client.get(canceled))["counts"].values()) == 0
    assert client.get(erased).status_code == 404


def test_a_redraw_goes_on_where_it_stopped(
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = str(client.post(f"{album}/redraw", json={"style": "sumi"}).headers["Location"])
    with monkeypatch.context() as full:
        full.setattr(services.admission, "_max_pixels", 5_000)  # ten times as many in the bulk lane: one photo
        Walking(services).advance()
    found = body(client.get(started))
    assert (found["pending"], found["counts"]["queued"]) == (["redraw"], 1)
    services.redis.zadd("sakuga:walks", {str(services.redis.zrange("sakuga:walks", 0, -1)[0]): 0})
    Walking(services).advance()
    found = body(client.get(started))
    assert (found["pending"], found["counts"]["queued"]) == ([], PHOTOS)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, "invalid_value"),
        ({"style": "monet"}, "unknown_style"),
        ({"style": "sumi", "max_side": 9}, "invalid_value"),
        ({"style": "sumi", "webhook": "https://example.org"}, "unknown_field"),
    ],
)
def test_how_to_draw_is_checked(client: FlaskClient, album: str, options: dict[str, Any], code: str) -> None:
    assert problem(client.post(f"{album}/redraw", json=options)) == (422, code)


def test_another_callers_album_is_unknown_and_photos_count_towards_the_quota(guarded: Services, key_file: Path) -> None:
    def caller(name: str) -> FlaskClient:
        allowance = Allowance((Scope.SUBMIT, Scope.READ), megapixels_per_day=0.25)  # five small photos
        key, _ = create_caller(key_file, name, allowance, expires_in=None)
        client = create_app(guarded).test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return client

    alice, bob = caller("alice"), caller("bob")
    album = finished(alice, guarded, keep_photos=True)
    assert problem(bob.post(f"{album}/redraw", json={"style": "sumi"})) == (404, "unknown_album")
    found = body(alice.get(redrawn(alice, guarded, album)))
    assert (found["pending"], found["counts"]["queued"]) == (["redraw"], 2), "it goes on when there is quota again"
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == 0
