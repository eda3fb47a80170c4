"""One call, one picture: `Accept` on `POST /jobs`."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope
from shared.errors import WeightsError
from shared.services import Services
from shared.storage.disk import DiskStore
from tests.conftest import ToyEngine, as_subclass, photo_bytes
from web import jobs
from web.app import create_app
from web.held_requests import SlotPool
from worker import tasks

JOBS = "/api/v1/jobs"
JSON, PROBLEM = "application/json", "application/problem+json"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a second where nothing else was said."""
    monkeypatch.setattr(jobs, "MAX_WAIT_S", 1)


def send(
    client: FlaskClient, accept: str | None, headers: dict[str, str] | None = None, *, chosen: str | None = None
) -> TestResponse:
    photo = (BytesIO(photo_bytes()), "photo.png")
    fields = {"format": chosen} if chosen else {}
    given = ({"Accept": accept} if accept is not None else {}) | (headers or {})
    return client.post(JOBS, data={"photo": photo, **fields}, headers=given)


def job_of(response: TestResponse) -> dict[str, Any]:
    found = response.get_json(force=True)
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("work")
def test_a_client_that_accepts_pictures_gets_the_picture_itself(client: FlaskClient) -> None:
    response = send(client, "image/*")
    assert (response.status_code, response.content_type) == (200, "image/jpeg")
    with Image.open(BytesIO(response.data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (64, 48))
    job = job_of(client.get(response.headers["Location"]))
    assert response.headers["Content-Location"] == job["links"]["result"]
    assert response.headers["ETag"] == f'"{job["result"]["sha256"]}"'
    assert response.headers["Content-Disposition"] == f'inline; filename="sakuga-{job["id"][:8]}.jpg"'
    assert response.headers["Vary"] == "Accept"
    assert "Preference-Applied" not in response.headers
    assert client.get(response.headers["Content-Location"]).data == response.data


@pytest.mark.usefixtures("work")
def test_the_image_as_the_body_is_answered_alike(client: FlaskClient) -> None:
    headers = {"Accept": "image/*", "Prefer": "wait=20"}
    response = client.post(f"{JOBS}?max_side=32", data=photo_bytes(), content_type="image/png", headers=headers)
    assert (response.status_code, response.content_type) == (200, "image/jpeg")
    assert response.headers["Preference-Applied"] == "wait=20"


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(
    ("accept", "chosen", "kind"),
    [
        ("image/*", None, "image/jpeg"),
        ("image/png", None, "image/png"),
        ("IMAGE/WebP", None, "image/webp"),
        ("image/png;q=0.5, image/webp;q=0.9", None, "image/webp"),
        ("image/*, image/jpeg;q=0.1", None, "image/png"),
        ("image/avif, image/webp, */*;q=0.8", None, "image/webp"),
        ("image/*", "png", "image/png"),
        ("image/*, image/jpeg;q=0.5, application/json;q=0.4", "jpg", "image/jpeg"),
        ("image/jpeg, application/json;q=0.9", None, "image/jpeg"),
        ("image/*, application/problem+json", None, "image/jpeg"),
        (None, "png", JSON),
        ("", None, JSON),
        ("*/*", "png", JSON),
        ("application/json", None, JSON),
        ("text/html", None, JSON),
        ("image/*, application/json", None, JSON),
        ("image/*;q=0.5, */*;q=0.6", None, JSON),
        ("image/*;q=0, */*", None, JSON),
        ("image/*;q=0", None, JSON),
        ("image/png, application/json;q=0.1", "jpeg", JSON),
    ],
)
def test_accept_is_negotiated_by_its_weights(
    client: FlaskClient, accept: str | None, chosen: str | None, kind: str
) -> None:
    response = send(client, accept, {"Prefer": "wait=20"}, chosen=chosen)
    assert (response.status_code, response.content_type) == (200, kind)
    assert response.headers["Vary"] == "Accept"
    job = job_of(client.get(response.headers["Location"]))
    assert job["format"] == (kind.removeprefix("image/") if kind != JSON else chosen or "jpeg")


@pytest.mark.parametrize(
    ("accept", "chosen", "allowed"),
    [
        ("image/avif", None, "image/jpeg, image/png, image/webp, application/json"),
        ("image/png", "jpeg", "image/jpeg, application/json"),
    ],
)
def test_a_picture_of_a_kind_that_cannot_be_had_is_refused_before_it_costs_anything(
    client: FlaskClient, services: Services, accept: str, chosen: str | None, allowed: str
) -> None:
    response = send(client, accept, chosen=chosen)
    assert (response.status_code, response.content_type) == (406, PROBLEM)
    assert job_of(response)["code"] == "not_acceptable"
    assert job_of(response)["detail"] == f"Accept must include one of: {allowed}."
    assert services.redis.keys("sakuga:job*") == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("prefer", [None, "wait=1", "wait=0", "respond-async", "respond-async, wait=1"])
def test_a_picture_that_is_not_ready_in_time_is_answered_with_its_job(client: FlaskClient, prefer: str | None) -> None:
    response = send(client, "image/png", headers={"Prefer": prefer} if prefer else {})
    assert (response.status_code, response.content_type) == (202, JSON)
    job = job_of(response)
    assert (job["state"], job["format"]) == ("queued", "png")
    assert response.headers["Location"] == job["links"]["self"]
    assert int(response.headers["Retry-After"]) >= 1
    assert "Content-Location" not in response.headers


@pytest.mark.usefixtures("impatient")
def test_the_same_call_again_gets_the_picture_once_it_is_ready(client: FlaskClient, services: Services) -> None:
    headers = {"Idempotency-Key": "mine"}
    job = job_of(send(client, "image/*", headers=headers))
    tasks.convert(job["id"], services, lambda _: ToyEngine())
    again = send(client, "image/*", headers=headers | {"Prefer": "respond-async"})
    assert (again.status_code, again.content_type) == (200, "image/jpeg")
    assert again.headers["Location"] == job["links"]["self"]
    assert job_of(send(client, None, headers=headers))["id"] == job["id"], "with JSON it is the same job"


@pytest.mark.usefixtures("impatient")
def test_a_client_for_which_there_is_no_place_to_wait_gets_the_job(services: Services) -> None:
    app = create_app(services)
    app.extensions["sakuga-slots"] = SlotPool(0)
    response = send(app.test_client(), "image/*", headers={"Prefer": "wait=20"})
    assert (response.status_code, response.content_type) == (202, JSON)
    assert "Preference-Applied" not in response.headers


def test_a_failed_conversion_is_an_error_and_no_picture(client: FlaskClient, services: Services) -> None:
    def broken(_: str) -> Any:  # noqa: ANN401
        raise WeightsError("There are none.")

    headers = {"Idempotency-Key": "mine", "Prefer": "respond-async"}
    job = job_of(send(client, "image/*", headers=headers))
    tasks.convert(job["id"], services, broken)
    response = send(client, "image/*", headers=headers)
    assert (response.status_code, response.content_type) == (409, PROBLEM)
    assert job_of(response)["detail"] == "The conversion failed: There are none."


def test_a_photo_that_is_none_is_refused_as_for_everyone(client: FlaskClient) -> None:
    response = client.post(JOBS, data=b"no photo", content_type="image/png", headers={"Accept": "image/*"})
    assert (response.status_code, response.content_type) == (415, PROBLEM)


class Published(DiskStore):
    """A store from which clients may read by themselves."""

    def url(self, key: str, *, disposition: str, content_type: str) -> str | None:  # noqa: ARG002
        return f"https://pictures.example/{key}"


@pytest.mark.usefixtures("work")
def test_the_picture_itself_is_sent_even_if_the_store_could_send_it(services: Services) -> None:
    published = replace(services, store=as_subclass(services.store, Published))
    client = create_app(published).test_client()
    response = send(client, "image/*")
    assert (response.status_code, response.content_type) == (200, "image/jpeg")
    assert client.get(response.headers["Content-Location"]).status_code == 303


@pytest.mark.parametrize(("accept", "status"), [("image/*", 403), (None, 202)])
def test_a_key_that_may_not_read_gets_no_pictures(
    guarded: Services, key_file: Path, accept: str | None, status: int
) -> None:
    key, _ = create_caller(key_file, "booth", Allowance((Scope.SUBMIT,)), expires_in=None)
    client = create_app(guarded).test_client()
    response = send(client, accept, headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == status
    if status == 403:
        assert "`read`" in job_of(response)["detail"]
        assert guarded.redis.keys("sakuga:job*") == []


def test_the_document_and_the_api_page_tell_of_it(client: FlaskClient) -> None:
    described = job_of(client.get("/openapi.json"))["paths"][JOBS]["post"]
    assert list(described["responses"]["200"]["content"]) == [JSON, "image/*"]
    assert "`Accept: image/*`" in described["description"]
    assert "406" in described["responses"]
