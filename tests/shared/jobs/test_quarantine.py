"""Jobs that ran out of attempts are kept for the operator."""

from collections.abc import Callable

import pytest

from shared.jobs.record import RECORD_GRACE_S, Job, State
from shared.services import Services, connect
from shared.usecases.jobs import erase
from shared.usecases.maintenance import expire_due
from tests.conftest import expire_lease
from tests.submitting import submit


def sweep(services: Services) -> None:
    """Remove expired data, as every worker node does."""
    expire_due(services)
    services.references.release_expired()


def exhausted(services: Services) -> Job:
    """A job that has run out of attempts."""
    job = submit(services)
    for _ in range(services.settings.max_attempts + 1):
        services.attempts.claim(job.id)
        expire_lease(services, job)
    return services.jobs.get(job.id)


class TestQuarantine:
    @pytest.fixture
    def poison(self, services: Services) -> Job:
        return exhausted(services)

    def test_its_photo_is_kept_for_the_operator(
        self, services: Services, poison: Job, advance_clock: Callable[[float], None]
    ) -> None:
        assert [job.id for job in services.quarantine.jobs()] == [poison.id]
        advance_clock(services.settings.ttl_s + 60)
        sweep(services)
        assert services.store.head(poison.photo_key) is not None
        assert services.jobs.get(poison.id).state is State.FAILED

    def test_redis_keeps_its_record_as_long_as_the_quarantine(self, services: Services, poison: Job) -> None:
        assert poison.expires_at > poison.created_at + services.settings.ttl_s
        assert services.redis.expiretime(f"sakuga:job:{poison.id}") == int(poison.expires_at) + RECORD_GRACE_S

    def test_a_short_quarantine_ends_no_job_before_its_time(self, services: Services) -> None:
        short = connect(services.settings.model_copy(update={"quarantine_ttl_s": 60}))
        job = exhausted(short)
        assert job.is_quarantined
        assert job.expires_at == job.created_at + services.settings.ttl_s
        short.redis.close()

    def test_its_photo_is_deleted_when_the_quarantine_ends(
        self, services: Services, poison: Job, advance_clock: Callable[[float], None]
    ) -> None:
        advance_clock(services.settings.quarantine_ttl_s + 60)
        sweep(services)
        assert services.quarantine.jobs() == []
        assert services.store.head(poison.photo_key) is None
        assert services.jobs.get(poison.id).state is State.EXPIRED

    def test_it_can_be_retried(self, services: Services, poison: Job) -> None:
        services.jobs.retry(poison.id)
        assert services.quarantine.jobs() == []
        again = services.attempts.claim(poison.id)
        assert again is not None

    def test_it_is_deleted_with_the_job(self, services: Services, poison: Job) -> None:
        erase(services, poison.id)
        assert services.quarantine.jobs() == []
        assert services.store.head(poison.photo_key) is None
