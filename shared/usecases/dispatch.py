"""Dispatching jobs: sending the jobs that are next, and claiming a job whose message has arrived."""

from collections.abc import Iterable
from typing import Final

import structlog

from shared.errors import UnavailableError
from shared.jobs.record import Job, Lane
from shared.services import Services

# Jobs in the message queue, where they cannot be overtaken, per process; there is always one. One is taken while the
# next is sent. Single photos may be large, and whoever sends another waits for all that are there.
AHEAD_PER_PROCESS: Final = {Lane.INTERACTIVE: 0.25, Lane.BULK: 2}

log = structlog.get_logger()


def dispatch(services: Services, lanes: Iterable[Lane] = Lane) -> None:
    """Send the jobs that are next: only a few ahead of the workers, so that the rest can still be reordered.

    One that cannot be sent now is treated as lost, and resent.
    """
    processes = max(1, services.workers.count())
    for lane in lanes:
        ahead = max(1, int(AHEAD_PER_PROCESS[lane] * processes))
        for _ in range(ahead):
            job_id = services.lanes.next_job(lane, ahead)
            if job_id is None:
                break
            _send(services, lane, job_id)


def _send(services: Services, lane: Lane, job_id: str) -> None:
    try:
        services.queue.send(job_id, lane)
    except UnavailableError as error:
        services.lanes.mark_unsent(lane, job_id)
        log.warning("failed to send a message; will retry", job_id=job_id, error=error.detail)


def claim(services: Services, job_id: str, worker: str = "") -> Job | None:
    """Begin an attempt by `worker` at a job whose message has arrived.

    Returns None if there is nothing (more) to do.
    """
    job = services.attempts.claim(job_id, worker)
    if job is None:
        services.resend_locks.release(job_id)
    dispatch(services, [job.lane] if job else Lane)  # a place in the queue is free
    return job
