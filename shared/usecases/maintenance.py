"""Periodic maintenance, idempotent and run by every worker node."""

import structlog

from shared import redis_keys
from shared.albums import reconciliation as albums
from shared.scheduling import reconciliation as lanes
from shared.services import Services

RECONCILE_S = 600

log = structlog.get_logger()


def expire_due(services: Services) -> None:
    """Expire the jobs whose time to live has passed, except those with records of a newer release."""
    left = 0
    while due := services.jobs.due(count=100, after=left):
        for job_id in due:
            if services.jobs.expire(job_id):
                log.info("job expired", job_id=job_id)
            else:
                left += 1


def reconcile(services: Services) -> None:
    """Correct what is kept beside the records, where it has drifted from them; one node at a time does it."""
    if not services.redis.set(redis_keys.RECONCILED, "1", nx=True, ex=RECONCILE_S):
        return
    wrong = lanes.reconcile(services.redis) + albums.reconcile(services.redis, services.clock, services.jobs)
    if wrong:
        log.warning("reconciled lists and totals that had drifted from the records", wrong=wrong)
