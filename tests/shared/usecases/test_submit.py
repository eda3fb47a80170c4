"""Submitting a photo: its job and its place in the queue, once for each idempotency key."""

import threading
from dataclasses import replace
from io import BytesIO

import pytest

from shared.errors import DamagedPhotoError, IdempotencyKeyReusedError, UnknownStyleError
from shared.jobs.record import Job, Lane, State
from shared.jobs.store import Idempotency, Jobs
from shared.redis_keys import REFERENCES
from shared.services import Services
from shared.usecases.jobs import erase
from shared.usecases.submit import submit as submit_photo
from tests.conftest import as_subclass, photo_bytes
from tests.submitting import make_overdue, order, submit


def test_a_submitted_job_waits_with_its_photo_kept(services: Services) -> None:
    job = submit(services)
    assert services.jobs.get(job.id) == job
    assert job.state is State.QUEUED
    with services.store.open(job.photo_key) as photo:
        assert photo.read() == photo_bytes()


def test_a_submitted_job_is_in_its_lane_of_the_queue(services: Services) -> None:
    submit(services)
    assert services.redis.llen(Lane.INTERACTIVE) == 1


def test_a_refused_photo_leaves_nothing_behind(services: Services) -> None:
    with pytest.raises(DamagedPhotoError):
        submit_photo(services, BytesIO(photo_bytes(image_format="JPEG")[:400]), order())
    assert services.redis.keys("*") == []


def test_an_unknown_style_names_the_known_ones(services: Services) -> None:
    with pytest.raises(UnknownStyleError, match="hinata-light"):
        submit_photo(services, BytesIO(photo_bytes()), replace(order(), style="nope"))


def test_the_same_idempotency_key_and_photo_give_the_same_job(services: Services) -> None:
    first = submit(services, key="k1")
    assert submit(services, key="k1").id == first.id
    assert services.redis.llen(Lane.INTERACTIVE) == 1


def test_the_idempotency_key_of_an_erased_job_creates_another(services: Services) -> None:
    first = submit(services, key="k1")
    erase(services, first.id)
    assert submit(services, key="k1").id != first.id


def test_an_idempotency_key_is_kept_for_a_day(services: Services) -> None:
    submit(services, key="k1")
    assert 23 * 3600 < services.redis.ttl("sakuga:idempotency:public:k1") <= 24 * 3600


def test_many_requests_with_one_idempotency_key_at_once_make_one_job(services: Services) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(submit(services, key="k").id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert services.totals.read()["jobs_submitted"] == 1


def test_of_two_photos_with_one_idempotency_key_at_once_the_refused_one_leaves_nothing(services: Services) -> None:
    class Overtaken(Jobs):
        def find_by_idempotency_key(self, caller: str, idempotency: Idempotency) -> Job | None:
            found = super().find_by_idempotency_key(caller, idempotency)
            submit(services, seed=0, key="k1")
            return found

    jobs = as_subclass(services.jobs, Overtaken)
    refused = submit(services, seed=1)
    erase(services, refused.id)
    with pytest.raises(IdempotencyKeyReusedError):
        submit(replace(services, jobs=jobs), seed=1, key="k1")
    assert services.store.head(refused.photo_key) is None
    assert services.redis.zcard(REFERENCES) == 1, "that of the photo that was quicker"


@pytest.mark.parametrize("other", [{"seed": 1}, {"max_side": 256}])
def test_an_idempotency_key_with_another_payload_is_refused(services: Services, other: dict[str, int]) -> None:
    submit(services, key="k1")
    with pytest.raises(IdempotencyKeyReusedError):
        submit(services, key="k1", **other)


def test_a_record_whose_confirmation_was_lost_keeps_its_photo(services: Services) -> None:
    class Deaf(Jobs):
        def create(self, job: Job, idempotency: Idempotency | None = None) -> Job:
            super().create(job, idempotency)
            raise ConnectionError

    deaf = as_subclass(services.jobs, Deaf)
    with pytest.raises(ConnectionError):
        submit(replace(services, jobs=deaf), key="k1")
    again = submit(services, key="k1")
    assert services.store.head(again.photo_key) is not None


def test_a_photo_whose_submitter_died_before_writing_the_record_expires(services: Services) -> None:
    job = submit(services)
    services.redis.delete(f"sakuga:job:{job.id}")  # leaves the photo and its reference, which existed before
    services.references.release_expired()
    assert services.store.head(job.photo_key) is not None
    make_overdue(services)
    services.references.release_expired()
    assert services.store.head(job.photo_key) is None
    assert services.redis.keys("sakuga:refer*") == []
