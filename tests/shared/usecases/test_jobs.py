"""Erasing a job, with the photo and the picture that no other job needs."""

import pytest

from shared.errors import UnknownJobError
from shared.services import Services
from shared.usecases.jobs import erase
from tests.submitting import RESULT, claimed, submit


def test_an_erased_job_takes_its_photo_and_result_with_it(services: Services) -> None:
    job = claimed(services)
    with services.references.acquire(job.result_reference, until=job.expires_at):
        services.store.put(job.result_key, b"jpg", content_type="image/jpeg")
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    erase(services, job.id)
    assert services.store.head(job.photo_key) is None
    assert services.store.head(job.result_key) is None
    with pytest.raises(UnknownJobError):
        services.jobs.get(job.id)


def test_a_photo_two_jobs_share_goes_with_the_last_of_them(services: Services) -> None:
    first, second = submit(services), submit(services)
    assert first.photo_key == second.photo_key
    erase(services, first.id)
    assert services.store.head(second.photo_key) is not None
    erase(services, second.id)
    assert services.store.head(second.photo_key) is None
