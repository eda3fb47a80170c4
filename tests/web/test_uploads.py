"""Uploads of unknown length, and uploads for which there is no room."""

import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from shared.services import Services
from tests.answers import ALBUMS, JOBS, body, problem, send
from tests.conftest import photo_bytes, zip_of
from web.app import FORM_BYTES, create_app

LIMIT = 100_000


@pytest.fixture
def client(services: Services) -> FlaskClient:
    limits = {"max_upload_bytes": LIMIT, "max_album_upload_bytes": 2 * LIMIT}
    services.settings.__dict__.update(limits)
    return create_app(services).test_client()


def chunked(client: FlaskClient, path: str, data: bytes, kind: str) -> TestResponse:
    """Send a body without `Content-Length`, as our web server passes one on."""
    return client.post(
        path,
        input_stream=BytesIO(data),
        content_type=kind,
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )


def form(**fields: object) -> tuple[bytes, str]:
    boundary, data = encode_multipart(fields)
    return data, f"multipart/form-data; boundary={boundary}"


def photo(size: int) -> FileStorage:
    return FileStorage(BytesIO(photo_bytes().ljust(size, b"\0")), "photo.png")


def test_a_form_of_unknown_length_that_is_too_long_is_told_so(client: FlaskClient) -> None:
    assert problem(chunked(client, JOBS, *form(photo=photo(LIMIT + FORM_BYTES)))) == (413, "photo_too_large")


def test_a_photo_of_unknown_length_that_is_too_long_is_told_so(client: FlaskClient) -> None:
    assert problem(chunked(client, JOBS, photo(LIMIT + 1).read(), "image/png")) == (413, "photo_too_large")


def test_an_upload_to_an_album_of_unknown_length_is_told_its_own_limit(client: FlaskClient) -> None:
    album = body(client.post(ALBUMS, json={}))["links"]["photos"]
    assert problem(chunked(client, album, *form(photos=photo(2 * LIMIT)))) == (413, "photo_too_large")
    accepted = chunked(client, album, *form(photos=photo(LIMIT - 1)))
    assert (accepted.status_code, len(body(accepted)["accepted"])) == (202, 1)


def test_a_form_of_unknown_length_with_too_many_parts_is_told_that(client: FlaskClient) -> None:
    refused = chunked(client, JOBS, *form(**{f"part{number}": "x" for number in range(20)}))
    assert problem(refused) == (400, "bad_request")
    assert "too many parts" in body(refused)["detail"]


def full() -> IO[bytes]:
    return Path("/dev/full").open("r+b")


def unusable() -> IO[bytes]:
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")


@pytest.mark.parametrize("disk", [full, unusable])
def test_without_room_for_temporary_files_an_upload_is_told_so(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, disk: Callable[[], IO[bytes]]
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: disk())
    monkeypatch.setattr("shared.photos.spool.SPOOL_BYTES", 1000)
    large = photo_bytes().ljust(LIMIT - 1, b"\0")
    album = body(client.post(ALBUMS, json={}))["links"]["photos"]
    answers = [
        send(client, large),
        client.post(JOBS, data=large, content_type="image/png"),
        client.put(f"{album}/a.png", data=large),
        client.post(album, data={"photos": (BytesIO(large), "a.png")}),
    ]
    for answer in answers:
        assert problem(answer) == (503, "unavailable")
        assert "no room for uploads" in body(answer)["detail"]
        assert answer.headers["Retry-After"]
    assert send(client).status_code == 202  # what is small needs none


def test_without_room_the_photos_of_an_archive_are_refused_one_by_one(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full())
    monkeypatch.setattr("shared.photos.spool.SPOOL_BYTES", 1000)
    album = body(client.post(ALBUMS, json={}))["links"]["photos"]
    archive = zip_of({"small.png": photo_bytes(), "large.png": photo_bytes().ljust(50_000, b"\0")})
    answer: dict[str, Any] = body(client.post(album, data={"photos": (BytesIO(archive), "a.zip")}))
    assert [one["name"] for one in answer["accepted"]] == ["small.png"]
    assert [one["error"]["code"] for one in answer["rejected"]] == ["unavailable"]
    assert [one["retry_after_s"] for one in answer["rejected"]] == [30]
    assert [one["name"] for one in body(client.get(album))["photos"]] == ["small.png"]  # the other may be sent again
