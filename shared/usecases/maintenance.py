"""Periodic maintenance, idempotent and run by every worker node."""

from collections.abc import Iterator
from itertools import islice

import structlog

from shared import redis_keys
from shared.albums import reconciliation as albums
from shared.jobs.record import RECORD_GRACE_S
from shared.scheduling import reconciliation as lanes
from shared.services import Services

RECONCILE_S = 600  # between two reconciliations
SWEEP_S = 24 * 3600  # between two searches of the store, which may be large
STEPS_AT_ONCE = 10  # each takes Redis a few milliseconds

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


class Reconciliation:
    """Corrects what is kept beside the records, where it has drifted from them: a few steps at a time, on one node.

    A node that dies or loses Redis in between leaves the rest to the next reconciliation.
    """

    def __init__(self, services: Services) -> None:
        """Begin with the first call of `advance`."""
        self._services = services
        self._steps: Iterator[int] | None = None
        self._wrong = 0

    @property
    def is_under_way(self) -> bool:
        return self._steps is not None

    def advance(self) -> None:
        """Do some steps, unless another node is at it, or has finished a short while ago."""
        redis = self._services.redis
        if self._steps is None:
            if not redis.set(redis_keys.RECONCILED, "1", nx=True, ex=RECONCILE_S):
                return
            self._steps, self._wrong = _steps(self._services), 0
        found = list(islice(self._steps, STEPS_AT_ONCE))
        self._wrong += sum(found)
        redis.set(redis_keys.RECONCILED, "1", ex=RECONCILE_S)
        if len(found) < STEPS_AT_ONCE:
            self._steps = None
            if self._wrong:
                log.warning("reconciled lists, totals and quotas that had drifted from the records", wrong=self._wrong)


def _steps(services: Services) -> Iterator[int]:
    yield from lanes.reconcile(services.redis)
    yield from albums.reconcile(services.redis, services.clock, services.jobs)
    yield from services.quotas.reconcile()
    if services.redis.set(redis_keys.SWEPT, "1", nx=True, ex=SWEEP_S):
        kept_s = max(services.settings.ttl_s, services.settings.quarantine_ttl_s) + RECORD_GRACE_S
        yield from (0 for _ in services.references.delete_orphans(older_than_s=kept_s))
