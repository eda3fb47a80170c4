"""The store of job records: canceling, expiry times, and the list of a caller's jobs."""

from collections.abc import Callable

import pytest

from shared.errors import DamagedPhotoError, InvalidValueError
from shared.jobs.events import STREAM_GRACE_S
from shared.jobs.record import RECORD_GRACE_S, State
from shared.services import Services
from shared.usecases.jobs import erase
from tests.submitting import RESULT, claimed, submit


def test_a_waiting_job_is_canceled_at_once_and_never_claimed(services: Services) -> None:
    job = submit(services)
    assert services.jobs.cancel(job.id).state is State.CANCELED
    assert services.jobs.cancel(job.id).state is State.CANCELED
    assert services.attempts.claim(job.id) is None


def test_the_record_of_an_ended_job_expires(services: Services) -> None:
    job = claimed(services)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    record = f"sakuga:job:{job.id}"
    assert services.redis.expiretime(record) == int(job.expires_at) + RECORD_GRACE_S
    assert services.redis.expiretime(f"sakuga:result:{job.result_key}") == int(job.expires_at)
    assert STREAM_GRACE_S / 2 < services.redis.ttl(f"{record}:events") <= STREAM_GRACE_S


def test_a_retried_job_does_not_expire_before_it_ends(services: Services) -> None:
    job = claimed(services)
    keys = [f"sakuga:job:{job.id}", f"sakuga:job:{job.id}:events"]
    services.attempts.fail(job.id, DamagedPhotoError("broken"))
    assert all(services.redis.ttl(key) > 0 for key in keys)
    services.jobs.retry(job.id)
    assert all(services.redis.ttl(key) > services.settings.ttl_s for key in keys)


def test_a_retried_job_still_expires_by_itself(services: Services) -> None:
    job = claimed(services)
    services.attempts.fail(job.id, DamagedPhotoError("broken"))
    services.jobs.retry(job.id)
    for key in (f"sakuga:job:{job.id}", f"sakuga:job:{job.id}:events"):
        assert services.redis.expiretime(key) == int(job.expires_at) + 3600


def test_expired_jobs_are_trimmed_from_the_list_of_their_caller(
    services: Services, advance_clock: Callable[[float], None]
) -> None:
    first = submit(services, 0)
    advance_clock(services.settings.ttl_s)
    second = submit(services, 1)
    assert services.redis.zrange("sakuga:jobs:public", 0, -1) == [first.id, second.id]
    advance_clock(RECORD_GRACE_S + 60)
    third = submit(services, 2)
    assert services.redis.zrange("sakuga:jobs:public", 0, -1) == [second.id, third.id]


def test_a_paging_cursor_outlives_its_job(services: Services) -> None:
    ids = [submit(services, seed).id for seed in range(4)]
    first = services.jobs.page("public", cursor=None, count=2)
    erase(services, first.jobs[-1].id)
    second = services.jobs.page("public", cursor=first.next_cursor, count=2)
    assert [job.id for job in second.jobs] == ids[1::-1]
    with pytest.raises(InvalidValueError):
        services.jobs.page("public", cursor="zzz", count=2)


def test_jobs_are_listed_newest_first_a_page_at_a_time(services: Services) -> None:
    ids = [submit(services, seed).id for seed in range(5)]
    first = services.jobs.page("public", cursor=None, count=2)
    second = services.jobs.page("public", cursor=first.next_cursor, count=2)
    third = services.jobs.page("public", cursor=second.next_cursor, count=2)
    listed = [job.id for page in (first, second, third) for job in page.jobs]
    assert listed == ids[::-1]
    assert third.next_cursor is None


def test_callers_see_only_their_own_jobs(services: Services) -> None:
    submit(services)
    assert services.jobs.page("someone-else", cursor=None, count=10).jobs == []
