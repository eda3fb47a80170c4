"""The operations on a job."""

import structlog

from shared.errors import UnavailableError
from shared.services import Services
from shared.usecases.dispatch import dispatch

log = structlog.get_logger()


def retry(services: Services, job_id: str) -> None:
    """Retry a job that failed or was canceled.

    Raises:
        UnknownJobError: there is none.
    """
    dispatch(services, [services.jobs.retry(job_id).lane])


def erase(services: Services, job_id: str) -> None:
    """Erase a job with its photo and result; what the store cannot delete now is deleted when it responds again.

    The photo is also removed from its album, if it has one.
    """
    job = services.jobs.erase(job_id)
    if job.album and job.name:
        services.albums.remove_item(job.album, job.name, job.id)
    try:
        for reference in job.references:
            services.references.release(reference)
    except UnavailableError as error:
        log.warning("deletion of an erased job's files deferred", job_id=job_id, error=error.detail)
