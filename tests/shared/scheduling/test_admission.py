"""Photos are admitted while the queue and the memory of Redis have room."""

from unittest.mock import Mock

import pytest
from flask.testing import FlaskClient

from shared.errors import QueueFullError
from shared.jobs.record import State
from shared.scheduling import admission
from shared.services import Services, connect
from shared.usecases.jobs import erase
from tests.albums import body, put, upload, work
from tests.answers import ALBUMS, problem
from tests.conftest import photo_bytes, with_queue_limit
from tests.submitting import RESULT, submit
from web.app import create_app


def test_a_full_queue_refuses_with_a_time_to_retry(services: Services) -> None:
    tight = with_queue_limit(services, 0.005)
    submit(tight, 0)
    with pytest.raises(QueueFullError) as refused:
        submit(tight, 1)
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1


def test_a_nearly_full_redis_accepts_no_more_and_keeps_working(
    services: Services, request: pytest.FixtureRequest
) -> None:
    job = submit(services)
    nearly_full_redis: Services = request.getfixturevalue("nearly_full_redis")
    with pytest.raises(QueueFullError, match="memory is nearly full") as refused:
        submit(nearly_full_redis, 1)
    assert refused.value.retry_after_s == 60
    taken = nearly_full_redis.attempts.claim(job.id)
    assert taken is not None
    nearly_full_redis.attempts.succeed(taken, RESULT, timings={}, notes=())
    erase(nearly_full_redis, job.id)
    nearly_full_redis.redis.config_set("maxmemory", 0)  # no limit, no share of it
    assert submit(connect(services.settings), 2).state is State.QUEUED


def test_the_memory_of_redis_is_not_checked_for_every_photo(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "READ_AGAIN_S", 60)
    look = Mock(wraps=services.redis.info)
    monkeypatch.setattr(services.redis, "info", look)
    for seed in range(3):
        submit(services, seed)
    assert look.call_count == 1
    monkeypatch.setattr(services.admission, "_memory", admission.Memory(services.redis))
    monkeypatch.setattr(admission, "READ_AGAIN_S", 0)
    for seed in range(3):
        submit(services, seed)
    assert look.call_count == 4


def test_one_album_leaves_room_for_another(client: FlaskClient, services: Services) -> None:
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


def test_retries_need_room_in_the_queue_like_new_photos(client: FlaskClient, services: Services, album: str) -> None:
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
