"""Resending lost messages."""

import structlog

from shared.errors import NewerRecordError, UnavailableError
from shared.jobs.record import Lane
from shared.services import Services

LOST_AFTER_S = 60  # a job queued this much longer than the oldest message has lost its own

log = structlog.get_logger()


def resend_lost(services: Services, count: int = 100) -> int:
    """Resend lost messages; return how many there were.

    A queued job is stranded if it has waited longer than the oldest message: its submitter died before sending one, or
    the queue lost it. A running job is stranded if its lease has expired and the queue has no message that would be
    redelivered to another worker.
    """
    lost = [job_id for lane in Lane for job_id in _stranded(services, lane, count)]
    if abandoned := services.leases.abandoned(count):
        lost += sorted(set(abandoned) - services.queue.unacked_ids(2 * services.settings.visibility_timeout_s))
    return sum(_resend(services, job_id) for job_id in lost)


def _resend(services: Services, job_id: str) -> bool:
    try:
        job = services.jobs.find(job_id)
    except NewerRecordError:
        return False  # a newer release resends it
    if job is None:
        services.jobs.clear(job_id)
        return False
    if not services.resend_locks.acquire(job_id):
        return False
    try:
        services.queue.send(job.id, job.lane)
    except UnavailableError as error:
        services.resend_locks.release(job_id)
        log.warning("failed to resend a lost message; will retry", job_id=job_id, error=error.detail)
        return False
    log.warning("lost message resent", job_id=job_id)
    return True


def _stranded(services: Services, lane: Lane, count: int) -> list[str]:
    oldest = services.queue.oldest(lane)
    since = services.clock.now() if oldest is None else services.lanes.waiting_since(lane, oldest)
    if since is None:
        return []  # the oldest message is that of a job that is no longer queued; it is consumed soon
    return services.lanes.waiting_before(lane, since - LOST_AFTER_S, count)
