"""Photos of one caller do not delay those of another, and an album does not delay the other albums of its caller."""

import json
from collections.abc import Iterator
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from shared.conversion import Options
from shared.errors import QueueFullError
from shared.jobs.record import Job, Lane
from shared.photos.formats import Format
from shared.services import Services
from shared.usecases.dispatch import AHEAD_PER_PROCESS, claim, dispatch
from shared.usecases.submit import Order, submit
from tests.albums import names, put, work
from tests.answers import ALBUMS
from tests.conftest import photo_bytes, with_queue_limit

AHEAD = {Lane.INTERACTIVE: 1, Lane.BULK: 2}  # of the single process
MALLORY, ALICE = "a" * 32, "b" * 32
SUMMER, WINTER = "c" * 40, "d" * 40


@pytest.fixture(autouse=True)
def _worker(services: Services) -> None:
    services.workers.heartbeat("host/1")


def send(services: Services, caller: str, seed: int = 0, album: str | None = None) -> Job:
    """Send a single photo, or one of an album."""
    lane = Lane.BULK if album else Lane.INTERACTIVE
    order = Order("hinata-light", Options(512, Format.JPEG), caller, lane=lane, album=album)
    return submit(services, BytesIO(photo_bytes((400, 400), seed=seed)), order)


def converted(services: Services, lane: Lane = Lane.INTERACTIVE) -> Iterator[Job]:
    """Yield all jobs of a lane in the order in which a worker takes them."""
    while message := services.redis.rpop(lane):
        job = claim(services, json.loads(str(message))["headers"]["id"])
        if job:
            services.jobs.cancel(job.id)
            services.attempts.stop(job)
            yield job


@pytest.mark.parametrize("lane", Lane)
def test_callers_take_turns(services: Services, lane: Lane) -> None:
    mine, theirs = (SUMMER, WINTER) if lane is Lane.BULK else (None, None)
    for seed in range(20):
        send(services, MALLORY, seed, theirs)
    for seed in range(3):
        send(services, ALICE, seed, mine)
    order = [job.caller for job in converted(services, lane)]
    assert len(order) == 23
    assert order[: AHEAD[lane] + 6].count(ALICE) == 3
    assert services.redis.keys("sakuga:single*") + services.redis.keys("sakuga:flow*") == []
    assert services.redis.keys("sakuga:outstanding*") == []


def test_a_caller_gains_nothing_by_sending_many_albums(services: Services) -> None:
    for seed in range(20):
        send(services, MALLORY, seed, f"{seed % 10:040}")
    for seed in range(6):
        send(services, ALICE, seed, SUMMER)
    order = [job.caller for job in converted(services, Lane.BULK)]
    assert len(order) == 26
    assert order[: AHEAD[Lane.BULK] + 12].count(ALICE) == 6


def test_the_albums_of_a_caller_take_turns(services: Services) -> None:
    for seed in range(10):
        send(services, ALICE, seed, SUMMER)
    for seed in range(4):
        send(services, ALICE, 100 + seed, WINTER)
    order = [job.album for job in converted(services, Lane.BULK)]
    assert len(order) == 14
    assert order[: AHEAD[Lane.BULK] + 8].count(WINTER) == 4


def test_a_photo_whose_worker_was_killed_is_converted_all_the_same(services: Services) -> None:
    sent = {
        send(services, caller, seed, album).id
        for caller, album in ((MALLORY, WINTER), (ALICE, SUMMER))
        for seed in range(5)
    }
    killed = claim(services, json.loads(str(services.redis.rpop(Lane.BULK)))["headers"]["id"], "host/1")
    assert killed
    services.attempts.release(killed.id, "host/1", counts=True)
    services.queue.send(killed.id, Lane.BULK)  # as the parent does
    assert {job.id for job in converted(services, Lane.BULK)} == sent
    assert services.redis.keys("sakuga:flow*") + services.redis.keys("sakuga:outstanding*") == []


def test_the_photos_of_one_caller_are_converted_in_order(services: Services) -> None:
    jobs = [send(services, MALLORY, seed).id for seed in range(6)]
    assert [job.id for job in converted(services)] == jobs


def test_estimates_know_whose_turn_it_is(services: Services) -> None:
    jobs = [send(services, MALLORY, seed) for seed in range(20)]
    assert [services.estimates.estimate(job).position for job in jobs] == list(range(1, 21))
    services.workers.heartbeat("host/1")
    patient, quick = services.estimates.estimate(jobs[-1]), services.estimates.estimate(send(services, ALICE))
    assert patient.eta_s
    assert quick.eta_s
    assert quick.eta_s < patient.eta_s / 5
    assert quick.position == AHEAD[Lane.INTERACTIVE] + 1


def test_the_end_of_an_album_is_estimated_beside_other_callers_and_other_albums_of_its_caller(
    services: Services,
) -> None:
    photo_s = send(services, MALLORY, 0, f"{0:040}").work_ms / 1000
    for seed in range(1, 20):
        send(services, MALLORY, seed, f"{seed % 10:040}")
    for seed in range(3):
        send(services, ALICE, seed, SUMMER)
    send(services, ALICE, 3, WINTER)
    expected = {
        (ALICE, WINTER): 1 + 1 + 2,  # as much of the other album, and as much of the other caller
        (ALICE, SUMMER): 3 + 1 + 4,
        (MALLORY, f"{5:040}"): 20 + 4,
    }
    for (caller, album), photos in expected.items():
        services.workers.heartbeat("host/1")  # which may have been silent meanwhile
        assert services.estimates.album_eta_s(caller, album) == pytest.approx(photos * photo_s)


def test_a_canceled_photo_makes_room_for_the_next(services: Services) -> None:
    jobs = [send(services, MALLORY, seed).id for seed in range(AHEAD[Lane.INTERACTIVE] + 1)]
    for job_id in jobs[:-1]:
        services.jobs.cancel(job_id)
    assert [job.id for job in converted(services)] == jobs[-1:]


def test_whoever_sends_a_single_photo_waits_for_few_of_others(services: Services) -> None:
    for number in range(8):
        services.workers.heartbeat(f"host/{number}")
    for seed in range(20):
        send(services, MALLORY, seed)
    dispatch(services)
    assert services.redis.llen(Lane.INTERACTIVE) == 8 * AHEAD_PER_PROCESS[Lane.INTERACTIVE] == 2


@pytest.mark.parametrize("albums", [[None], [SUMMER], [SUMMER, WINTER]])
def test_one_caller_has_at_most_half_of_a_lane(services: Services, albums: list[str | None]) -> None:
    narrow = with_queue_limit(services, 1.6 if albums == [None] else 0.16)  # ten photos
    for seed in range(5):
        send(narrow, MALLORY, seed, albums[seed % len(albums)])
    with pytest.raises(QueueFullError):
        send(narrow, MALLORY, 5, albums[-1])
    send(narrow, ALICE, 0, "e" * 40 if albums[0] else None)


def test_two_albums_share_fairly(client: FlaskClient, services: Services) -> None:
    first, second = (str(client.post(ALBUMS, json={}).headers["Location"]) for _ in range(2))
    for seed in range(40):
        put(client, first, f"a{seed}.png", seed)
    for seed in range(10):
        put(client, second, f"b{seed}.png", 100 + seed)
    done = "".join(name[0] for name in names(services, work(services, 24)))
    assert 9 <= done.count("b") <= 10
    assert names(services, work(services))[-1] == "a39.png"


def test_a_late_album_gains_no_advantage(client: FlaskClient, services: Services) -> None:
    early, late = (str(client.post(ALBUMS, json={}).headers["Location"]) for _ in range(2))
    for seed in range(20):
        put(client, early, f"a{seed}.png", seed)
    work(services, 10)
    for seed in range(10):
        put(client, late, f"b{seed}.png", 100 + seed)
    done = "".join(name[0] for name in names(services, work(services, 10)))
    assert 3 <= done.count("b") <= 5
