"""Dispatching jobs: sending the bulk jobs that are next, and claiming a job whose message has arrived."""

import structlog

from shared.errors import UnavailableError
from shared.jobs.record import Job, Lane
from shared.services import Services

AHEAD_PER_PROCESS = 2  # bulk jobs in the message queue: one is taken while the next is sent

log = structlog.get_logger()


def dispatch(services: Services) -> None:
    """Send the bulk jobs that are next: only a few ahead of the workers, so that the rest can still be reordered.

    One that cannot be sent now is treated as lost, and resent.
    """
    ahead = AHEAD_PER_PROCESS * max(1, services.workers.count())
    for _ in range(ahead):
        job_id = services.lanes.next_bulk_job(ahead)
        if job_id is None:
            return
        try:
            services.queue.send(job_id, Lane.BULK)
        except UnavailableError as error:
            services.lanes.mark_unsent(Lane.BULK, job_id)
            log.warning("failed to send a message; will retry", job_id=job_id, error=error.detail)


def claim(services: Services, job_id: str, worker: str = "") -> Job | None:
    """Begin an attempt by `worker` at a job whose message has arrived.

    Returns None if there is nothing (more) to do.
    """
    job = services.attempts.claim(job_id, worker)
    if job is None:
        services.resend_locks.release(job_id)
    elif job.lane is Lane.BULK:
        dispatch(services)  # its place in the queue is free
    return job
