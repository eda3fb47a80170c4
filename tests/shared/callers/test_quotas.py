"""Daily quotas: charged once for each photo admitted, and refunded for the others."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pytest
from flask.testing import FlaskClient
from redis.exceptions import RedisError

from shared.callers import quotas
from shared.callers.api_keys import read_keys
from shared.redis_clock import Clock
from shared.redis_keys import RESERVATIONS
from shared.services import Services
from tests.answers import ALBUMS, JOBS, body, problem
from tests.callers import send
from tests.conftest import photo_bytes


def test_a_megapixel_quota_applies_until_midnight(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(hour=22, minute=30, second=0, microsecond=0)
    monkeypatch.setattr(Clock, "now", lambda _: now.timestamp())
    alice = caller("alice", megapixels_per_day=0.1)  # a small photo counts for 0.05
    assert [send(alice, seed=seed).status_code for seed in range(2)] == [202, 202]
    refused = send(alice, seed=2)
    assert problem(refused) == (429, "quota_exceeded")
    assert refused.headers["Retry-After"] == str(90 * 60)
    limits = body(alice.get("/api/v1/limits"))
    assert (limits["megapixels_per_day"], limits["megapixels_left"]) == (0.1, 0)
    assert send(caller("bob"), seed=2).status_code == 202
    (key,) = guarded.redis.keys("sakuga:quota*")
    assert guarded.redis.expiretime(str(key)) == now.timestamp() + 90 * 60 + 24 * 3600


@pytest.mark.parametrize("ahead_s", [86_400, -86_400])
def test_a_wrong_clock_of_the_web_grants_no_second_quota(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)
    assert [send(alice, seed=seed).status_code for seed in range(2)] == [202, 202]

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=ahead_s)

    monkeypatch.setattr(quotas, "datetime", Wrong)
    refused = send(alice, seed=2)
    assert problem(refused) == (429, "quota_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == 0
    assert len(guarded.redis.keys("sakuga:quota*")) == 1


def test_refused_and_repeated_photos_do_not_count_toward_the_quota(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)
    with monkeypatch.context() as full:
        full.setattr(guarded.admission, "_max_pixels", -1)
        guarded.redis.hset("sakuga:lane:interactive:totals", "pixels", 1)
        assert problem(send(alice)) == (503, "queue_full")
        guarded.redis.delete("sakuga:lane:interactive:totals")
    assert problem(alice.post(JOBS, data=b"no photo", content_type="image/png")) == (415, "not_a_photo")
    first = send(alice, {"Idempotency-Key": "k"})
    again = send(alice, {"Idempotency-Key": "k"})
    assert body(first)["id"] == body(again)["id"]
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == 0.05


@pytest.mark.parametrize(("breaks", "left"), [("admit", 0.1), ("create", 0.05)])
def test_a_failed_request_is_refunded_unless_the_photo_may_have_been_admitted(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch, breaks: str, left: float
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)

    def lose_redis(*_: object, **__: object) -> None:
        raise RedisError("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(guarded.admission if breaks == "admit" else guarded.jobs, breaks, lose_redis)
        assert send(alice).status_code == 503
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == left


def megapixels_left(client: FlaskClient) -> float:
    return float(body(client.get("/api/v1/limits"))["megapixels_left"])


def test_a_reservation_without_a_job_is_refunded_once(
    caller: Callable[..., FlaskClient],
    guarded: Services,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    advance_clock: Callable[[float], None],
) -> None:
    alice = caller("alice", megapixels_per_day=0.2)
    alice_id = read_keys(key_file).callers[0].id
    create = guarded.jobs.create

    def lose_redis(*given: Any) -> None:  # noqa: ANN401  what create takes
        create(*given)
        raise RedisError("the answer was lost")

    with monkeypatch.context() as broken:
        broken.setattr(guarded.jobs, "create", lose_redis)
        assert send(alice).status_code == 503
    dying = guarded.quotas.reserve(alice_id, 50_000, "0" * 40)
    reservation = dying.__enter__()
    assert megapixels_left(alice) == 0.1
    assert list(guarded.quotas.reconcile()) == [], "it may still be on its way"
    advance_clock(quotas.RESERVED_S + 1)
    assert list(guarded.quotas.reconcile()) == [1]
    reservation.refund()
    (usage,) = guarded.redis.keys("sakuga:quota*")
    assert guarded.redis.get(usage) == "50000", "the one with a record"
    assert not guarded.redis.exists(RESERVATIONS)


def test_a_refund_does_not_recreate_a_deleted_quota(
    caller: Callable[..., FlaskClient], guarded: Services, key_file: Path
) -> None:
    caller("alice", megapixels_per_day=0.1)
    alice_id = read_keys(key_file).callers[0].id
    with guarded.quotas.reserve(alice_id, 50_000, "0" * 40) as reservation:
        guarded.redis.delete(*guarded.redis.keys("sakuga:quota*"))
        reservation.refund()
    assert guarded.redis.keys("sakuga:quota*") == []


def test_concurrent_requests_cannot_exceed_the_quota(caller: Callable[..., FlaskClient]) -> None:
    alice = caller("alice", megapixels_per_day=0.2)
    with ThreadPoolExecutor(8) as pool:
        clients = [alice.application.test_client() for _ in range(12)]
        for client in clients:
            client.environ_base.update(alice.environ_base)
        answers = list(pool.map(lambda numbered: send(numbered[1], seed=numbered[0]).status_code, enumerate(clients)))
    assert sorted(answers) == [202] * 4 + [429] * 8


def test_a_photo_larger_than_the_daily_quota_is_too_large(caller: Callable[..., FlaskClient]) -> None:
    refused = send(caller("alice", megapixels_per_day=0.01))
    assert problem(refused) == (413, "photo_too_large")
    assert "Retry-After" not in refused.headers
    assert "0.01 a day" in body(refused)["detail"]


def test_photos_of_an_album_above_the_quota_are_rejected_and_can_be_sent_again(
    caller: Callable[..., FlaskClient], guarded: Services
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)
    link = body(alice.post(ALBUMS, json={}))["links"]["photos"]
    photos = [(BytesIO(photo_bytes(seed=seed)), f"{seed}.png") for seed in range(3)]
    upload = body(alice.post(link, data={"photos": photos}))
    assert [one["name"] for one in upload["accepted"]] == ["0.png", "1.png"]
    (rejected,) = upload["rejected"]
    assert (rejected["name"], rejected["error"]["code"]) == ("2.png", "quota_exceeded")
    assert rejected["retry_after_s"] > 0
    assert body(alice.get(link))["photos"][-1]["name"] == "1.png"
    guarded.redis.delete(*guarded.redis.keys("sakuga:quota*"))  # tomorrow
    assert alice.put(f"{link}/2.png", data=photo_bytes(seed=2)).status_code == 202
