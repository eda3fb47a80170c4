"""Attempts at a job: each is counted, and only the newest may commit."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.conversion import PROGRESS_AT, Stage
from shared.errors import CanceledError, DamagedPhotoError, UnavailableError
from shared.jobs.attempts import OUTAGE_RETRY_S
from shared.jobs.record import Lane, State, new_id
from shared.services import Services
from tests.conftest import expire_lease
from tests.submitting import RESULT, claimed, submit


def test_a_claimed_job_runs_and_counts_the_attempt(services: Services) -> None:
    job = claimed(services)
    assert (job.state, job.attempts) == (State.RUNNING, 1)
    assert job.started_at is not None


def test_a_redelivered_finished_job_is_left_alone(services: Services) -> None:
    job = claimed(services)
    done = services.attempts.succeed(job, RESULT, timings={}, notes=())
    assert services.attempts.claim(job.id) is None
    assert services.jobs.get(job.id) == done


def test_a_redelivered_erased_job_is_left_alone(services: Services) -> None:
    assert services.attempts.claim(new_id()) is None


def test_a_duplicated_message_starts_its_job_once(services: Services) -> None:
    job = claimed(services)
    assert services.attempts.claim(job.id) is None
    assert services.jobs.get(job.id).attempts == 1


def test_a_job_that_never_ends_is_given_up_after_the_allowed_attempts(services: Services) -> None:
    job = submit(services)
    for attempt in (1, 2, 3):
        running = services.attempts.claim(job.id)
        assert running is not None
        assert running.attempts == attempt
        expire_lease(services, job)
    assert services.attempts.claim(job.id) is None
    failed = services.jobs.get(job.id)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error.code == "attempts_exhausted"


def test_an_overtaken_attempt_cannot_commit(services: Services) -> None:
    first = claimed(services)
    expire_lease(services, first)
    second = services.attempts.claim(first.id)
    assert second is not None
    with pytest.raises(CanceledError):
        services.attempts.succeed(first, RESULT, timings={}, notes=())
    services.attempts.fail(first.id, DamagedPhotoError("late"), attempt=first.attempts)
    assert services.jobs.get(first.id).state is State.RUNNING
    services.attempts.succeed(second, RESULT, timings={}, notes=())
    assert services.jobs.get(first.id).state is State.SUCCEEDED


def test_a_commit_made_many_times_at_once_counts_once(services: Services) -> None:
    job = claimed(services)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: services.attempts.succeed(job, RESULT, timings={}, notes=()), range(8)))
    assert len({one.finished_at for one in done}) == 1
    assert services.totals.read()["jobs_succeeded"] == 1


def test_progress_follows_the_stages(services: Services) -> None:
    job = claimed(services)
    for stage, progress in PROGRESS_AT.items():
        services.attempts.advance(job, stage, progress)
        now = services.jobs.get(job.id)
        assert (now.stage, now.progress) == (stage, progress)


def test_a_canceled_job_whose_worker_died_is_not_begun_again(services: Services) -> None:
    job = claimed(services)
    assert services.jobs.cancel(job.id).state is State.RUNNING
    expire_lease(services, job)
    assert services.attempts.claim(job.id) is None
    assert services.jobs.get(job.id).state is State.CANCELED
    assert services.jobs.cancel(job.id).state is State.CANCELED


def test_a_running_job_stops_at_its_next_stage_when_canceled(services: Services) -> None:
    job = claimed(services)
    services.attempts.advance(job, Stage.DECODE, 0.0)
    assert services.jobs.cancel(job.id).state is State.RUNNING
    with pytest.raises(CanceledError):
        services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.attempts.stop(job)
    assert services.jobs.get(job.id).state is State.CANCELED


def test_a_job_that_is_still_to_stop_goes_on_when_it_is_retried(services: Services) -> None:
    job = claimed(services)
    services.jobs.cancel(job.id)
    assert services.jobs.retry(job.id).state is State.RUNNING
    services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    assert services.jobs.get(job.id).state is State.SUCCEEDED


def test_a_job_that_is_retried_while_its_worker_stops_waits_again(services: Services) -> None:
    job = claimed(services)
    services.jobs.cancel(job.id)
    with pytest.raises(CanceledError):
        services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.jobs.retry(job.id)
    assert services.attempts.stop(job)
    again = services.attempts.claim(job.id)
    assert again is not None
    assert (again.attempts, again.uncounted_attempts) == (2, 1)


@pytest.mark.parametrize("is_requeued", [True, False])
def test_a_job_canceled_and_retried_while_its_worker_dies_is_begun_again(
    services: Services, *, is_requeued: bool
) -> None:
    job = claimed(services)
    services.jobs.cancel(job.id)
    if is_requeued:
        services.attempts.release(job.id, "", counts=False)
    services.jobs.retry(job.id)
    expire_lease(services, job)
    assert services.attempts.claim(job.id) is not None


def test_a_retried_job_is_left_alone_by_the_attempt_that_was_canceled(services: Services) -> None:
    first = claimed(services)
    services.jobs.cancel(first.id)
    services.attempts.stop(first)
    services.jobs.retry(first.id)
    second = services.attempts.claim(first.id)
    assert second is not None
    assert not services.attempts.stop(first)
    services.attempts.fail(first.id, DamagedPhotoError("late"), attempt=first.attempts)
    assert services.jobs.get(first.id) == second


def test_a_requeued_job_waits_again_until_its_last_attempt(services: Services) -> None:
    job = claimed(services)
    assert services.attempts.requeue(job)
    assert services.jobs.get(job.id).state is State.QUEUED
    services.attempts.claim(job.id)
    expire_lease(services, job)
    last = services.attempts.claim(job.id)
    assert last is not None
    assert services.attempts.requeue(last) is None


def test_a_job_in_an_outage_waits_again_and_keeps_its_attempts(services: Services) -> None:
    job = claimed(services)
    for _ in range(4):
        assert services.attempts.requeue(job, outage=True)
        assert services.jobs.get(job.id).state is State.QUEUED
        again = services.attempts.claim(job.id)
        assert again is not None
        job = again
    assert job.attempts - job.uncounted_attempts == 1


def test_a_retried_job_may_wait_out_another_whole_outage(
    services: Services, advance_clock: Callable[[float], None]
) -> None:
    job = claimed(services)
    advance_clock(OUTAGE_RETRY_S + 1)
    assert services.attempts.requeue(job, outage=True)
    late = services.attempts.claim(job.id)
    assert late is not None
    assert services.attempts.requeue(late, outage=True) is None
    services.attempts.fail(job.id, UnavailableError("The store is not responding."))
    services.jobs.retry(job.id)
    anew = services.attempts.claim(job.id)
    assert anew is not None
    assert services.attempts.requeue(anew, outage=True)


def test_an_attempt_ended_by_the_shutdown_of_its_node_does_not_count(services: Services) -> None:
    job = submit(services)
    for _ in range(services.settings.max_attempts):
        assert services.attempts.claim(job.id, "here/1")
        services.attempts.release(job.id, "here/1", counts=False)
    for _ in range(services.settings.max_attempts):
        assert services.attempts.claim(job.id, "here/1")
        services.attempts.release(job.id, "here/1", counts=True)
    assert services.attempts.claim(job.id, "here/1") is None
    assert services.jobs.get(job.id).state is State.FAILED


def test_a_released_job_waits_behind_the_others(services: Services) -> None:
    job = services.attempts.claim(submit(services).id, "here/1")
    assert job is not None
    for seed in (1, 2):
        submit(services, seed)
    assert services.lanes.next_job(Lane.INTERACTIVE, 2), "both are sent"
    services.workers.heartbeat("here/2")
    services.attempts.release(job.id, "there/1", counts=True)
    assert services.jobs.get(job.id).state is State.RUNNING, "it is none of theirs"
    services.attempts.release(job.id, "here/1", counts=True)
    waiting = services.jobs.get(job.id)
    estimate = services.estimates.estimate(waiting)
    assert (waiting.state, estimate.position) == (State.QUEUED, 3)
    assert estimate.eta_s == pytest.approx(3 * waiting.work_ms / 1000)
    assert services.leases.abandoned(10) == []
    again = services.attempts.claim(job.id, "there/1")
    assert again is not None
    assert again.attempts == 2


def test_the_end_of_a_killed_process_leaves_a_newer_attempt_alone(services: Services) -> None:
    job = claimed(services)
    services.attempts.fail(job.id, DamagedPhotoError("late"), running_for_s=60)
    assert services.jobs.get(job.id).state is State.RUNNING
    services.attempts.fail(job.id, DamagedPhotoError("late"), running_for_s=0)
    assert services.jobs.get(job.id).state is State.FAILED
