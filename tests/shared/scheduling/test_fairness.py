"""Single photos of one caller do not delay those of another."""

import json
from collections.abc import Iterator
from io import BytesIO

import pytest

from shared.conversion import Options
from shared.errors import QueueFullError
from shared.jobs.record import Job, Lane
from shared.photos.formats import Format
from shared.services import Services
from shared.usecases.dispatch import AHEAD_PER_PROCESS, claim
from shared.usecases.submit import Order, submit
from tests.conftest import photo_bytes, with_queue_limit

AHEAD = AHEAD_PER_PROCESS[Lane.INTERACTIVE]
MALLORY, ALICE = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def _worker(services: Services) -> None:
    services.workers.heartbeat("host/1")


def send(services: Services, caller: str, seed: int = 0) -> Job:
    order = Order("hinata-light", Options(512, Format.JPEG), caller)
    return submit(services, BytesIO(photo_bytes((400, 400), seed=seed)), order)


def converted(services: Services) -> Iterator[str]:
    """Yield the callers of all jobs in the order in which a worker takes them."""
    while message := services.redis.rpop(Lane.INTERACTIVE):
        job = claim(services, json.loads(str(message))["headers"]["id"])
        if job:
            services.attempts.stop(job)
            yield job.caller


def test_callers_take_turns(services: Services) -> None:
    for seed in range(20):
        send(services, MALLORY, seed)
    for seed in range(3):
        send(services, ALICE, seed)
    order = list(converted(services))
    assert len(order) == 23
    assert order[: AHEAD + 6].count(ALICE) == 3
    assert services.redis.keys("sakuga:single*") == []


def test_the_photos_of_one_caller_are_converted_in_order(services: Services) -> None:
    jobs = [send(services, MALLORY, seed).id for seed in range(6)]
    done = []
    while message := services.redis.rpop(Lane.INTERACTIVE):
        done.append(json.loads(str(message))["headers"]["id"])
        claim(services, done[-1])
    assert done == jobs


def test_estimates_know_whose_turn_it_is(services: Services) -> None:
    jobs = [send(services, MALLORY, seed) for seed in range(20)]
    assert [services.estimates.estimate(job).position for job in jobs] == list(range(1, 21))
    services.workers.heartbeat("host/1")
    patient, quick = services.estimates.estimate(jobs[-1]), services.estimates.estimate(send(services, ALICE))
    assert patient.eta_s
    assert quick.eta_s
    assert quick.eta_s < patient.eta_s / 5
    assert quick.position == AHEAD + 1


def test_a_canceled_photo_makes_room_for_the_next(services: Services) -> None:
    jobs = [send(services, MALLORY, seed).id for seed in range(AHEAD + 1)]
    for job_id in jobs[:-1]:
        services.jobs.cancel(job_id)
    taken = []
    while message := services.redis.rpop(Lane.INTERACTIVE):
        taken.append(claim(services, json.loads(str(message))["headers"]["id"]))
    assert [job.id for job in taken if job] == jobs[-1:]


def test_one_caller_has_at_most_half_of_the_lane(services: Services) -> None:
    narrow = with_queue_limit(services, 1.6)  # ten photos
    for seed in range(5):
        send(narrow, MALLORY, seed)
    with pytest.raises(QueueFullError):
        send(narrow, MALLORY, 5)
    send(narrow, ALICE)
