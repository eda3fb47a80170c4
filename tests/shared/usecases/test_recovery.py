"""Lost messages are resent once, and those that merely wait are left alone."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from shared.errors import UnavailableError
from shared.jobs.record import Lane
from shared.redis_keys import LEASES, lane_sent
from shared.scheduling.broker import Queue, celery_app
from shared.services import Services
from shared.usecases.dispatch import claim, dispatch
from shared.usecases.recovery import resend_lost
from tests.albums import names, put, work
from tests.submitting import claimed, make_overdue, submit
from web.app import create_app


def test_a_message_that_is_still_unacked_is_not_taken_for_lost(services: Services) -> None:
    job = claimed(services)
    message = {"headers": {"id": job.id}}
    services.redis.hset("unacked", "tag", json.dumps([message, "", "interactive"]))
    services.redis.zadd("unacked_index", {"tag": time.time()})
    make_overdue(services)
    assert resend_lost(services) == 0
    services.redis.zadd("unacked_index", {"tag": time.time() + 3600})  # from a node whose clock was wrong when it died
    assert resend_lost(services) == 1


def test_a_job_whose_submitter_died_before_queueing_it_is_queued_once(services: Services) -> None:
    class Killed(BaseException):
        pass

    class DyingQueue(Queue):
        def send(self, job_id: str, lane: Lane) -> None:  # noqa: ARG002
            raise Killed

    with pytest.raises(Killed):
        submit(replace(services, queue=DyingQueue(celery_app(services.settings), services.redis)))
    assert services.redis.llen(Lane.INTERACTIVE) == 0
    assert resend_lost(services) == 0
    make_overdue(services)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: resend_lost(services), range(8))) == 1
    assert services.redis.llen(Lane.INTERACTIVE) == 1


def test_a_photo_whose_message_the_broker_rejects_is_sent_again_soon(services: Services) -> None:
    away = celery_app(services.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))
    submit(replace(services, queue=Queue(away, services.redis)))
    assert services.redis.llen(Lane.INTERACTIVE) == 0
    assert resend_lost(services) == 1
    assert services.redis.llen(Lane.INTERACTIVE) == 1


@pytest.mark.usefixtures("_workers")
def test_a_broker_outage_strands_no_lost_job(services: Services) -> None:
    class Failing(Queue):
        def send(self, job_id: str, lane: Lane) -> None:  # noqa: ARG002
            raise UnavailableError("The queue does not answer.")

    for seed in range(3):
        submit(services, seed)
    services.redis.delete(Lane.INTERACTIVE)
    make_overdue(services)
    assert resend_lost(replace(services, queue=Failing(celery_app(services.settings), services.redis))) == 0
    assert resend_lost(services) == 3
    assert services.redis.llen(Lane.INTERACTIVE) == 3


@pytest.mark.usefixtures("_workers")
def test_a_job_that_merely_waits_long_is_not_resent(services: Services) -> None:
    for seed in range(3):
        submit(services, seed)
    make_overdue(services)
    assert resend_lost(services) == 0
    assert services.redis.llen(Lane.INTERACTIVE) == 3


@pytest.mark.usefixtures("_workers")
def test_a_job_whose_message_is_lost_behind_others_is_resent(services: Services) -> None:
    lost = submit(services)
    services.redis.rpop(Lane.INTERACTIVE)
    make_overdue(services)
    submit(services, seed=1)
    assert resend_lost(services) == 1
    assert services.redis.llen(Lane.INTERACTIVE) == 2
    assert services.attempts.claim(lost.id) is not None


def test_a_resent_message_that_came_too_early_is_resent_once_more(services: Services) -> None:
    job = claimed(services)
    services.redis.delete(Lane.INTERACTIVE)
    make_overdue(services)
    assert resend_lost(services) == 1
    services.redis.zadd(LEASES, {job.id: time.time()})  # as if a worker still had it
    assert claim(services, job.id) is None
    services.redis.delete(Lane.INTERACTIVE)
    make_overdue(services)
    assert resend_lost(services) == 1
    assert services.attempts.claim(job.id) is not None


def test_an_attempt_lost_with_its_message_is_repeated(services: Services) -> None:
    job = claimed(services)
    services.redis.delete(Lane.INTERACTIVE)
    assert resend_lost(services) == 0
    make_overdue(services)
    assert resend_lost(services) == 1
    again = services.attempts.claim(job.id)
    assert again is not None
    assert again.attempts == 2


@pytest.fixture
def later(services: Services) -> Callable[[float], None]:
    """Backdate everything that was sent by this many seconds."""

    def shift(seconds: float) -> None:
        for job_id in services.redis.zrange(lane_sent(Lane.BULK), 0, -1):
            services.redis.zincrby(lane_sent(Lane.BULK), -seconds, str(job_id))

    return shift


def test_a_bulk_job_whose_message_is_lost_is_sent_again(
    client: FlaskClient, services: Services, album: str, later: Callable[[float], None]
) -> None:
    for seed in range(6):
        put(client, album, f"{seed}.png", seed)
    services.redis.delete("bulk")
    later(120)
    assert resend_lost(services) == 2
    dispatch(services)
    assert len(work(services)) == 6


def test_a_job_that_could_not_be_sent_is_sent_soon_and_keeps_its_place(services: Services, album: str) -> None:
    class Failing(Queue):
        def send(self, job_id: str, lane: Lane) -> None:  # noqa: ARG002
            raise UnavailableError("The queue does not answer.")

    failing = replace(services, queue=Failing(celery_app(services.settings), services.redis))
    tight = create_app(failing).test_client()
    for seed in range(4):
        put(tight, album, f"{seed}.png", seed)
    assert services.redis.llen(Lane.BULK) == 0
    dispatch(services)
    assert services.redis.llen(Lane.BULK) == 0, "both places are taken by the first two"
    assert resend_lost(services) == 2
    assert names(services, work(services)) == [f"{seed}.png" for seed in range(4)]
