"""Single photos come first, and albums still advance."""

from io import BytesIO

import pytest
from flask.testing import FlaskClient

from shared.scheduling.broker import celery_app
from shared.scheduling.lane_order import BULK_SHARE, LaneOrder
from shared.services import Services
from tests.albums import body, put, work
from tests.conftest import photo_bytes


def test_single_photos_come_first_and_albums_still_advance() -> None:
    order = LaneOrder(["bulk", "interactive"])
    taken = [order.rotate(order.consume(2)[0]) for _ in range(400)]
    assert taken[0] == "interactive"
    assert taken.count("bulk") / 400 == pytest.approx(BULK_SHARE, abs=0.01)


def test_the_broker_alternates_lanes_in_this_order(services: Services) -> None:
    with celery_app(services.settings).connection() as connection:
        assert isinstance(connection.default_channel._queue_cycle, LaneOrder)  # noqa: SLF001


def test_a_single_photo_overtakes_an_album(client: FlaskClient, services: Services, album: str) -> None:
    for seed in range(20):
        put(client, album, f"{seed}.png", seed)
    work(services, 1)
    single = body(client.post("/api/v1/jobs", data={"photo": (BytesIO(photo_bytes(seed=99)), "p.png")}))
    assert work(services, 1) == [single["id"]]
    assert single["lane"] == "interactive"
