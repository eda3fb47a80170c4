"""Leases: a job belongs to its worker for as long as that renews its lease."""

from shared.jobs.record import Job
from shared.redis_keys import LEASES
from shared.services import Services
from tests.submitting import RESULT, claimed, make_overdue


def age_lease(services: Services, job: Job, *, ago_s: float) -> None:
    """Backdate the last heartbeat of a running job's worker by this many seconds."""
    seconds, _ = services.redis.time()
    services.redis.zadd(LEASES, {job.id: seconds - ago_s}, xx=True)


def test_a_job_whose_worker_falls_silent_can_be_claimed_by_another(services: Services) -> None:
    job = claimed(services)
    make_overdue(services)
    services.leases.renew([job.id])
    assert services.attempts.claim(job.id) is None, "it was silent for long, but it lives"
    make_overdue(services)
    again = services.attempts.claim(job.id)
    assert again is not None
    assert again.attempts == 2


def test_a_lease_has_expired_when_its_message_is_redelivered(services: Services) -> None:
    timeout_s = services.settings.visibility_timeout_s
    job = claimed(services)
    age_lease(services, job, ago_s=timeout_s / 2)
    assert services.attempts.claim(job.id) is None
    age_lease(services, job, ago_s=timeout_s)
    assert services.leases.abandoned(10) == [], "the queue may still have its message"
    assert services.attempts.claim(job.id) is not None
    age_lease(services, job, ago_s=2 * timeout_s)
    assert services.leases.abandoned(10) == [job.id]


def test_no_heartbeat_revives_an_ended_job(services: Services) -> None:
    job = claimed(services)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    services.leases.renew([job.id])
    make_overdue(services)
    assert services.leases.abandoned(10) == []
