"""Estimates of when a job or an album will be finished."""

import pytest
from flask.testing import FlaskClient

from shared.redis_keys import OUTSTANDING, SLOWDOWN
from shared.services import Services
from tests.albums import body, put, work
from tests.submitting import submit


def test_the_place_in_the_queue_and_the_time_left_follow_the_work_ahead(services: Services) -> None:
    first, second, third = (submit(services, seed) for seed in range(3))
    services.workers.heartbeat("host/1")
    estimates = [services.estimates.estimate(job) for job in (first, second, third)]
    assert [estimate.position for estimate in estimates] == [1, 2, 3]
    times = [estimate.eta_s or 0.0 for estimate in estimates]
    assert times == pytest.approx([first.work_ms / 1000 * jobs for jobs in (1, 2, 3)])
    services.workers.heartbeat("host/2")
    assert services.estimates.estimate(third).eta_s == pytest.approx(times[0] * 2)


def test_without_workers_there_is_no_estimate(services: Services) -> None:
    assert services.estimates.estimate(submit(services)).eta_s is None


def test_the_pace_is_learnt_from_what_workers_measure(services: Services) -> None:
    style = services.styles["hinata-light"]
    before = services.estimates.estimate_ms([style], 1.0)
    services.estimates.record_pace(style.name, 100.0)
    services.estimates.record_pace(style.name, 200.0)
    assert services.estimates.estimate_ms([style], 1.0) == 60 + 120
    assert before != 180


def test_the_end_of_an_album_is_estimated(client: FlaskClient, services: Services, album: str) -> None:
    services.workers.heartbeat("host/1")
    services.workers.heartbeat("host/2")
    for seed in range(10):
        put(client, album, f"{seed}.png", seed)
    one_ms = services.jobs.get(work(services, 1)[0]).work_ms
    services.redis.set(SLOWDOWN, 3)
    eta_s = body(client.get(album))["eta_s"]
    assert eta_s == pytest.approx(3 * 9 * one_ms / 2 / 1000, abs=0.05)
    assert eta_s == round(eta_s, 1)
    work(services)
    assert body(client.get(album))["eta_s"] is None


@pytest.fixture
def waiting(client: FlaskClient, services: Services, album: str) -> int:
    """Queue an album of three photos for a worker; return its remaining work in milliseconds."""
    services.workers.heartbeat("host/1")
    for seed in range(3):
        put(client, album, f"{seed}.png", seed)
    return int(services.redis.hget(OUTSTANDING, album.rsplit("/", maxsplit=1)[-1]) or 0)


def let_others_wait(services: Services, work_ms: list[int]) -> None:
    services.redis.hset(OUTSTANDING, mapping={f"{number:040}": ms for number, ms in enumerate(work_ms)})


def test_reading_an_album_costs_the_same_whatever_else_waits(
    client: FlaskClient, services: Services, album: str, waiting: int
) -> None:
    def looked_at_with(others: int) -> tuple[int, int]:
        let_others_wait(services, [waiting] * others)
        body(client.get(album))  # values that are only read now and then, such as the time
        services.redis.config_resetstat()
        body(client.get(album))
        stats = services.redis.info("stats")
        return stats["total_commands_processed"], stats["total_net_output_bytes"]

    (few, few_bytes), (many, many_bytes) = looked_at_with(200), looked_at_with(20_000)
    assert many <= few + 1  # the time may be read
    assert many_bytes <= 1.1 * few_bytes


@pytest.mark.parametrize("others", [7, 90, 5000])
def test_the_end_of_an_album_among_others_is_estimated(
    client: FlaskClient, services: Services, album: str, waiting: int, others: int
) -> None:
    let_others_wait(services, [10 * waiting] * others)
    assert body(client.get(album))["eta_s"] == pytest.approx((others + 1) * waiting / 1000, abs=0.06)


def test_the_end_of_an_album_among_many_unlike_ones_is_estimated_roughly(
    client: FlaskClient, services: Services, album: str, waiting: int
) -> None:
    let_others_wait(services, [waiting // 4, waiting, 100 * waiting, waiting // 4] * 500)
    assert body(client.get(album))["eta_s"] == pytest.approx((1 + 500 * 2.5) * waiting / 1000, rel=0.35)
