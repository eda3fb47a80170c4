"""Requests to the HTTP API, and what it answers."""

from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import photo_bytes

JOBS, ALBUMS = "/api/v1/jobs", "/api/v1/albums"


def send(client: FlaskClient, data: bytes = b"", headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
    photo = (BytesIO(data or photo_bytes()), "photo.png")
    return client.post(JOBS, data={"photo": photo, **fields}, headers=headers or {})


def body(response: TestResponse) -> dict[str, Any]:
    found = response.get_json(force=True)
    assert isinstance(found, dict)
    return found


def problem(response: TestResponse) -> tuple[int, str]:
    assert response.content_type == "application/problem+json"
    found = body(response)
    assert found["status"] == response.status_code
    assert found["detail"]
    return response.status_code, found["code"]
