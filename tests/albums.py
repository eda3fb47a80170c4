"""Albums filled over the HTTP API, and a worker that draws them."""

import json
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from shared.jobs.record import Lane
from shared.scheduling.lane_order import LaneOrder
from shared.services import Services
from tests.answers import ALBUMS
from tests.conftest import ToyEngine, photo_bytes
from web.app import create_app
from worker import tasks


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


def put(client: FlaskClient, album: str, name: str, seed: int = 0) -> dict[str, Any]:
    return body(client.put(f"{album}/photos/{name}", data=photo_bytes(seed=seed), content_type="image/png"))


def upload(client: FlaskClient, album: str, *files: tuple[str, bytes]) -> dict[str, Any]:
    photos = [(BytesIO(data), name) for name, data in files]
    return body(client.post(f"{album}/photos", data={"photos": photos}))


def accepted(answer: dict[str, Any]) -> list[str]:
    return [one["name"] for one in answer["accepted"]]


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


def names(services: Services, ids: list[str]) -> list[str]:
    return [str(services.jobs.get(job_id).name) for job_id in ids]
