"""Jobs expire at their time, by the clock of Redis alone."""

import time

import pytest

from shared.jobs.record import Lane, State
from shared.services import Services
from shared.usecases.maintenance import expire_due
from tests.submitting import RESULT, claimed, make_overdue, submit


def test_an_expired_job_says_so_and_its_photo_is_gone(services: Services) -> None:
    job = submit(services)
    make_overdue(services)
    expire_due(services)
    services.references.release_expired()
    assert services.jobs.get(job.id).state is State.EXPIRED
    assert services.store.head(job.photo_key) is None


def test_a_job_that_expires_while_waiting_leaves_no_trace_in_the_totals(services: Services) -> None:
    job = submit(services)
    make_overdue(services)
    assert services.redis.expiretime(f"sakuga:job:{job.id}") > job.expires_at + 3000, "its record outlives it"
    expire_due(services)
    assert services.lanes.stats(Lane.INTERACTIVE).jobs == 0
    assert services.lanes.stats(Lane.INTERACTIVE).megapixels == 0


@pytest.mark.parametrize("ahead_s", [10 * 86_400, -10 * 86_400])
def test_a_wrong_clock_expires_nothing_and_reports_correct_times(
    services: Services, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    began, wrong = services.clock.now(), time.time() + ahead_s
    monkeypatch.setattr(time, "time", lambda: wrong)
    job = claimed(services)
    expire_due(services)
    services.references.release_expired()
    done = services.attempts.succeed(job, RESULT, timings={}, notes=())
    assert services.store.head(job.photo_key) is not None
    times = [began, done.created_at, done.started_at or 0, done.finished_at or 0, services.clock.now()]
    assert times == sorted(times)
    assert began <= done.expires_at - services.settings.ttl_s <= times[-1]
