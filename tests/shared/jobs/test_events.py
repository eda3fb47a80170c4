"""The event stream of a job, and waiting for its end."""

import threading

from shared.conversion import Stage
from shared.errors import DamagedPhotoError
from shared.jobs.record import State, error_info
from shared.services import Services
from tests.submitting import RESULT, claimed, submit


def test_every_change_is_an_event_in_order(services: Services) -> None:
    job = claimed(services)
    services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    events = list(services.events.read(job.id, after="0", wait_s=1))
    assert [event.kind for event in events] == ["state", "state", "progress", "done"]
    later = list(services.events.read(job.id, after=events[1].id, wait_s=1))
    assert [event.kind for event in later] == ["progress", "done"]


def test_waiting_ends_when_the_job_does(services: Services) -> None:
    job = claimed(services)
    timer = threading.Timer(0.3, services.attempts.fail, (job.id, DamagedPhotoError("broken")))
    timer.start()
    ended = services.events.wait_for_end(job.id, 20)
    timer.join()
    assert ended.state is State.FAILED
    assert ended.error == error_info(DamagedPhotoError("broken"))


def test_waiting_ends_at_its_timeout(services: Services) -> None:
    job = submit(services)
    looks = iter((True, True, False))
    assert services.events.wait_for_end(job.id, 600, keep_waiting=lambda: next(looks)).state is State.QUEUED
    assert list(looks) == []
