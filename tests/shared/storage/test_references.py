"""Objects are deleted with their last reference, and never under a writer that still has the lock."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import UnavailableError
from shared.services import Services
from shared.storage.disk import DiskStore
from shared.storage.references import LOCK_S, Reference, References
from shared.usecases.jobs import erase
from tests.submitting import make_overdue, submit


def break_off(references: References, reference: Reference, meanwhile: Callable[[], object]) -> None:
    """Start writing an object, call a function, and fail."""
    with references.acquire(reference, until=time.time() + 60):
        meanwhile()
        raise BrokenPipeError


def test_a_writer_that_lost_its_lock_deletes_nothing_until_its_reference_expires(services: Services) -> None:
    late = submit(services).photo_reference
    lock = f"sakuga:lock:{late.key}"
    with pytest.raises(BrokenPipeError):
        break_off(services.references, late, lambda: services.redis.delete(lock))  # as if its lock had expired
    assert services.store.head(late.key) is not None
    make_overdue(services)
    services.references.release_expired()
    assert services.store.head(late.key) is None


def test_a_delete_has_all_the_time_of_its_lock(services: Services, tmp_path: Path) -> None:
    late, left = submit(services).photo_reference, []

    class Watched(DiskStore):
        def delete(self, key: str) -> None:
            left.append(services.redis.pttl(f"sakuga:lock:{key}"))

    lock, own = f"sakuga:lock:{late.key}", References(services.redis, services.clock, Watched(tmp_path))
    with pytest.raises(BrokenPipeError):
        break_off(own, late, lambda: services.redis.pexpire(lock, 1000))  # as if the upload had taken most of it
    (left_ms,) = left
    assert 1000 < left_ms <= 1000 * LOCK_S


def test_an_object_without_references_is_not_deleted_once_its_lock_is_lost(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, exists = submit(services).photo_key, services.redis.exists
    services.redis.flushall()

    def exists_and_pauses(name: str) -> object:
        found = exists(name)
        services.redis.delete(f"sakuga:lock:{key}")  # as if it had expired
        return found

    with monkeypatch.context() as paused:
        paused.setattr(services.redis, "exists", exists_and_pauses)
        with pytest.raises(UnavailableError, match="lock"):
            list(services.references.delete_orphans(older_than_s=-60))
    assert services.store.head(key) is not None
    assert list(services.references.delete_orphans(older_than_s=-60)) == [1]
    assert services.store.head(key) is None


def test_objects_whose_references_expire_during_an_outage_are_deleted_later(services: Services, tmp_path: Path) -> None:
    class Away(DiskStore):
        def delete(self, key: str) -> None:  # noqa: ARG002
            raise UnavailableError("The store is not responding.")

    job = submit(services)
    services.jobs.cancel(job.id)
    make_overdue(services)
    away = References(services.redis, services.clock, Away(tmp_path))
    away.release_expired()  # returns, and does not retry forever
    assert services.store.head(job.photo_key) is not None
    services.references.release_expired()
    assert services.store.head(job.photo_key) is not None, "it is not its turn yet"
    make_overdue(services)
    services.references.release_expired()
    assert services.store.head(job.photo_key) is None


def test_objects_that_cannot_be_deleted_are_deleted_after_the_outage(services: Services) -> None:
    class Down(DiskStore):
        def delete(self, key: str) -> None:  # noqa: ARG002
            raise UnavailableError("The store is not responding.")

    job = submit(services)
    down = Down(services.settings.data_dir / "store")
    erase(replace(services, store=down, references=References(services.redis, services.clock, down)), job.id)
    assert services.store.head(job.photo_key) is not None
    services.references.release_expired()
    assert services.store.head(job.photo_key) is None
