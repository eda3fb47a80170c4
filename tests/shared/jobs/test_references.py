"""The photo of a job is kept until it has a picture, or for a retry."""

from shared.errors import DamagedPhotoError
from shared.services import Services
from tests.submitting import RESULT, claimed


def test_a_photo_is_deleted_once_its_picture_is_stored_and_the_picture_when_it_expires(services: Services) -> None:
    job = claimed(services)
    services.store.put_new(job.result_key, b"picture", content_type="image/png")
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    services.references.release_expired()
    assert services.store.head(job.photo_key) is None
    assert services.store.head(job.result_key) is not None


def test_a_failed_photo_is_kept_for_a_retry(services: Services) -> None:
    job = claimed(services)
    services.attempts.fail(job.id, DamagedPhotoError("It ends too soon."))
    services.references.release_expired()
    assert services.store.head(job.photo_key) is not None
