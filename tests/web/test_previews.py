"""Previews: one photo in, one job, one small picture for each style out."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope
from shared.conversion import MIN_PIXELS, PREVIEWS_DRAWN_AT
from shared.drawing import Engine, ProgressCallback, Tensor
from shared.errors import UnknownStyleError
from shared.jobs.record import State
from shared.photos.decoding import Rgb
from shared.redis_keys import PACE
from shared.services import Services
from shared.styles import Styles, imported_weights, write_manifest
from tests.conftest import ToyEngine, photo_bytes
from web.app import create_app
from worker import tasks

JOBS, PREVIEWS = "/api/v1/jobs", "/api/v1/previews"
PHOTO = photo_bytes((640, 480))
LIGHT = ["hinata-light", "yoi-light", "sumi-light"]


def send(
    client: FlaskClient, photo: bytes = PHOTO, *, key: str = "", wait_s: int = 0, styles: str = ""
) -> TestResponse:
    headers = ({"Idempotency-Key": key} if key else {}) | ({"Prefer": f"wait={wait_s}"} if wait_s else {})
    return client.post(PREVIEWS, data={"photo": (BytesIO(photo), "cat.png"), "styles": styles}, headers=headers)


def body(response: TestResponse) -> dict[str, Any]:
    assert response.json is not None
    return dict(response.json)


def drawn(services: Services, client: FlaskClient, styles: str = "") -> dict[str, Any]:
    """Return previews that a worker has drawn."""
    sent = body(send(client, styles=styles))
    assert tasks.convert(sent["id"], services, lambda _: ToyEngine()) is None
    return body(client.get(sent["links"]["self"]))


class Watched(ToyEngine):
    """An engine that draws at one size, and remembers the sizes of what it has drawn."""

    drawn_at = 640

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
        self.sizes.append((photo.shape[3], photo.shape[2]))
        return super().generate(photo, report)


@pytest.mark.usefixtures("work")
def test_one_call_previews_a_photo_in_every_light_style(client: FlaskClient) -> None:
    response = send(client, wait_s=20)
    assert (response.status_code, response.headers["Preference-Applied"]) == (200, "wait=20")
    previews = body(response)
    assert response.headers["Location"] == previews["links"]["self"] == f"{PREVIEWS}/{previews['id']}"
    assert (previews["state"], previews["styles"]) == ("succeeded", LIGHT)
    assert [one["style"] for one in previews["previews"]] == LIGHT
    for one in previews["previews"]:
        picture = client.get(one["url"])
        assert (picture.status_code, picture.content_type) == (200, "image/jpeg")
        assert Image.open(BytesIO(picture.data)).size == (256, 192)


def test_previews_are_a_job_like_any_other_until_they_are_drawn(services: Services, client: FlaskClient) -> None:
    response = send(client)
    previews = body(response)
    assert (response.status_code, previews["state"], previews["previews"]) == (202, "queued", [])
    assert int(response.headers["Retry-After"]) >= 1
    early = client.get(f"{PREVIEWS}/{previews['id']}/sumi-light")
    assert (early.status_code, body(early)["code"]) == (409, "not_ready")
    assert tasks.convert(previews["id"], services, lambda _: ToyEngine()) is None
    job = body(client.get(f"{JOBS}/{previews['id']}"))
    assert (job["state"], job["styles"], job["lane"]) == ("succeeded", LIGHT, "interactive")
    assert [one["id"] for one in body(client.get(JOBS))["jobs"]] == [previews["id"]]
    archive = client.get(job["links"]["result"])
    assert archive.content_type == job["result"]["content_type"] == "application/zip"
    assert archive.headers["Content-Disposition"].endswith('.zip"')
    assert ZipFile(BytesIO(archive.data)).namelist() == [f"{style}.jpg" for style in LIGHT]


@pytest.mark.parametrize(
    ("styles", "names"),
    [
        ("sumi", ["sumi-light"]),
        ("sumi-full, hinata,sumi-full,hinata-light", ["sumi-full", "hinata-light"]),
        ("", LIGHT),
    ],
)
def test_styles_can_be_named(client: FlaskClient, styles: str, names: list[str]) -> None:
    assert body(send(client, styles=styles))["styles"] == names


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"styles": "hinata,monet"}, "unknown_style"),
        ({"style": "hinata"}, "unknown_field"),
        ({"max_side": "512"}, "unknown_field"),
    ],
)
def test_what_is_unknown_is_refused_and_costs_nothing(
    services: Services, client: FlaskClient, fields: dict[str, str], code: str
) -> None:
    response = client.post(PREVIEWS, data={"photo": (BytesIO(PHOTO), "cat.png"), **fields})
    assert (response.status_code, body(response)["code"]) == (422, code)
    assert services.redis.keys("sakuga:job*") == []


def test_a_photo_is_decoded_once_and_drawn_small_in_each_style(services: Services, client: FlaskClient) -> None:
    job_id = body(send(client, photo_bytes((1500, 1000))))["id"]
    engines: dict[str, Watched] = {}

    def engine_of(style: str) -> Engine:
        assert all(engine.sizes for engine in engines.values()), "an engine is asked for when the one before has drawn"
        return engines.setdefault(style, Watched())

    assert tasks.convert(job_id, services, engine_of) is None
    assert list(engines) == LIGHT
    width, height = PREVIEWS_DRAWN_AT, -(-PREVIEWS_DRAWN_AT * 2 // 3 // 4) * 4
    assert [engine.sizes for engine in engines.values()] == [[(width, height)]] * 3
    assert services.jobs.get(job_id).timings.keys() == {"queued_s", "decode_s", "generate_s", "encode_s"}  # type: ignore[union-attr]
    assert not services.redis.exists(PACE), "the pace of a style is measured with pictures"


def test_a_close_up_is_drawn_smaller_than_other_photos(services: Services, client: FlaskClient) -> None:
    class Near(Watched):
        def face_heights(self, _photo: Rgb) -> tuple[float, ...]:
            return (0.7,)

    near, job_id = Near(), body(send(client, styles="hinata"))["id"]
    assert tasks.convert(job_id, services, lambda _: near) is None
    assert near.sizes == [(288, 216)]  # the face is 202 pixels high


def test_a_picture_below_the_size_of_previews_is_not_enlarged(services: Services, client: FlaskClient) -> None:
    job_id = body(send(client, photo_bytes((60, 90)), styles="sumi"))["id"]
    assert tasks.convert(job_id, services, lambda _: Watched()) is None
    picture = client.get(f"{PREVIEWS}/{job_id}/sumi-light")
    assert Image.open(BytesIO(picture.data)).size == (60, 90)


def test_transparency_is_filled_with_white(services: Services, client: FlaskClient) -> None:
    clear = BytesIO()
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(clear, "PNG")
    job_id = body(send(client, clear.getvalue(), styles="sumi"))["id"]
    assert tasks.convert(job_id, services, lambda _: ToyEngine()) is None
    inverted = Image.open(BytesIO(client.get(f"{PREVIEWS}/{job_id}/sumi-light").data))
    assert np.asarray(inverted).max() < 5


def test_the_same_photo_is_previewed_once(services: Services, client: FlaskClient) -> None:
    def refuse(_: str) -> Engine:
        raise AssertionError("it is drawn already")

    first = drawn(services, client)
    second = body(send(client))
    assert second["id"] != first["id"]
    assert tasks.convert(second["id"], services, refuse) is None
    shared = body(client.get(second["links"]["self"]))
    assert client.get(shared["previews"][0]["url"]).data == client.get(first["previews"][0]["url"]).data


def test_a_picture_and_previews_of_one_size_and_style_are_two_things(services: Services, client: FlaskClient) -> None:
    picture = client.post(f"{JOBS}?max_side=256&style=sumi", data=PHOTO, content_type="image/png")
    assert tasks.convert(body(picture)["id"], services, lambda _: ToyEngine()) is None
    assert [one["style"] for one in drawn(services, client, styles="sumi")["previews"]] == ["sumi-light"]


def test_deleting_previews_deletes_the_photo_and_all_pictures(services: Services, client: FlaskClient) -> None:
    previews = drawn(services, client)
    assert client.delete(f"{JOBS}/{previews['id']}").status_code == 204
    assert client.get(previews["links"]["self"]).status_code == 404
    assert client.get(previews["previews"][0]["url"]).status_code == 404
    services.references.release_expired()
    assert [key for keys in services.store.keys(older_than_s=0) for key in keys] == []


def test_the_photo_is_deleted_once_its_previews_are_drawn(services: Services, client: FlaskClient) -> None:
    previews = drawn(services, client)
    services.references.release_expired()
    assert services.store.head(services.jobs.get(previews["id"]).photo_key) is None


def test_previews_expire(services: Services, client: FlaskClient, advance_clock: Callable[[float], None]) -> None:
    previews = drawn(services, client)
    advance_clock(services.settings.ttl_s + 1)
    services.jobs.expire(previews["id"])
    assert body(client.get(previews["links"]["self"]))["previews"] == []
    gone = client.get(previews["previews"][0]["url"])
    assert (gone.status_code, body(gone)["code"]) == (410, "expired")


def test_previews_are_canceled_between_two_styles(services: Services, client: FlaskClient) -> None:
    job_id, asked = body(send(client))["id"], list[str]()

    def engine_of(style: str) -> Engine:
        asked.append(style)
        client.post(f"{JOBS}/{job_id}/cancel")
        return Slow()

    class Slow(ToyEngine):
        def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
            report(0.5)
            return super().generate(photo, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "REPORT_EVERY_S", 0)
        assert tasks.convert(job_id, services, engine_of) is None
    assert asked == LIGHT[:1]
    assert services.jobs.get(job_id).state is State.CANCELED
    gone = client.get(f"{PREVIEWS}/{job_id}/{LIGHT[0]}")
    assert (gone.status_code, body(gone)["code"]) == (409, "no_result")


def test_a_worker_without_one_of_the_styles_gives_the_job_back(services: Services, client: FlaskClient) -> None:
    def engine_of(style: str) -> Engine:
        if style == "yoi-light":
            raise UnknownStyleError("not here")
        return ToyEngine()

    job_id = body(send(client))["id"]
    assert tasks.convert(job_id, services, engine_of)
    assert services.jobs.get(job_id).state is State.QUEUED


def test_previews_occupy_no_worker_while_one_of_their_styles_is_being_prepared(
    services: Services, client: FlaskClient
) -> None:
    prepared, job_id = set(LIGHT[:2]), body(send(client))["id"]
    watched, asked = Watched(), list[str]()

    def is_prepared(style: str) -> bool:
        asked.append(style)
        return style in prepared

    def attempt() -> float | None:
        return tasks.convert(job_id, services, lambda _: watched, is_prepared=is_prepared)

    assert attempt()
    assert (services.jobs.get(job_id).state, watched.sizes) == (State.QUEUED, [])
    prepared.add(LIGHT[2])
    asked.clear()
    assert attempt() is None
    assert asked == LIGHT
    job = services.jobs.get(job_id)
    assert (job.state, job.attempts - job.uncounted_attempts) == (State.SUCCEEDED, 1)


def test_previews_of_a_style_that_is_replaced_meanwhile_are_of_the_new_one(
    services: Services, client: FlaskClient
) -> None:
    folder = imported_weights(services.settings.data_dir)
    folder.mkdir(parents=True)
    old = services.styles["hinata-light"].model_copy(update={"name": "mine", "sha256": "0" * 64})
    write_manifest(folder, [old])
    job = services.jobs.get(body(send(client, styles="mine,sumi"))["id"])
    asked: list[str] = []

    def replaced(style: str) -> Engine:
        asked.append(style)
        write_manifest(folder, [old.model_copy(update={"sha256": "1" * 64})])
        return ToyEngine()

    assert tasks.convert(job.id, services, replaced) is None
    assert asked == 2 * ["mine", "sumi-light"]
    done = services.jobs.get(job.id)
    assert (done.state, done.result_key == job.result_key) == (State.SUCCEEDED, False)
    assert client.get(f"{PREVIEWS}/{job.id}/mine").status_code == 200


def test_the_same_idempotency_key_returns_the_same_previews(client: FlaskClient) -> None:
    first = body(send(client, key="k"))
    assert body(send(client, key="k"))["id"] == first["id"]
    reused = send(client, key="k", styles="sumi")
    assert (reused.status_code, body(reused)["code"]) == (422, "idempotency_key_reused")
    key = {"Idempotency-Key": "k"}
    assert client.post(f"{JOBS}?max_side=256", data=PHOTO, content_type="image/png", headers=key).status_code == 422


def test_an_unknown_style_of_previews_is_not_found_and_pictures_are_no_previews(
    services: Services, client: FlaskClient
) -> None:
    previews = drawn(services, client, styles="sumi")
    missing = client.get(f"{PREVIEWS}/{previews['id']}/hinata-light")
    assert (missing.status_code, body(missing)["code"]) == (404, "unknown_preview")
    picture = body(client.post(JOBS, data=photo_bytes(), content_type="image/png"))
    assert body(client.get(f"{PREVIEWS}/{picture['id']}"))["code"] == "unknown_job"


def test_polling_previews_that_have_not_changed_costs_no_body(services: Services, client: FlaskClient) -> None:
    previews = drawn(services, client)
    found = client.get(previews["links"]["self"])
    again = client.get(previews["links"]["self"], headers={"If-None-Match": found.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    one = previews["previews"][0]["url"]
    picture = client.get(one)
    assert client.get(one, headers={"If-None-Match": picture.headers["ETag"]}).status_code == 304
    assert client.get(previews["previews"][1]["url"]).headers["ETag"] != picture.headers["ETag"]


def test_previews_count_towards_the_quota_by_their_number_and_are_their_callers_own(
    guarded: Services, key_file: Path
) -> None:
    def caller(name: str, *scopes: Scope) -> FlaskClient:
        key, _ = create_caller(key_file, name, Allowance(scopes, megapixels_per_day=0.4), expires_in=None)
        client = create_app(guarded).test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
        return client

    alice, bob = caller("alice", Scope.SUBMIT, Scope.READ), caller("bob", Scope.READ)
    previews = drawn(guarded, alice)
    assert guarded.jobs.get(previews["id"]).pixels == 3 * MIN_PIXELS
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == pytest.approx(0.25)
    assert bob.get(previews["links"]["self"]).status_code == 404
    assert bob.get(previews["previews"][0]["url"]).status_code == 404
    assert send(bob).status_code == 403
    assert send(alice, styles="hinata,yoi,sumi,hinata-full,yoi-full,sumi-full").status_code == 429


def test_without_a_light_style_some_must_be_named(services: Services) -> None:
    response = send(create_app(replace(services, styles=Styles())).test_client())
    assert (response.status_code, body(response)["code"]) == (422, "unknown_style")
