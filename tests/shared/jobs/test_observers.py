"""Observers see every change of a job, in the transaction that makes it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from shared.errors import UnknownJobError
from shared.jobs.observer import Change, Observer
from shared.jobs.record import Job, PhotoInfo, State, as_ended, as_expired
from shared.jobs.store import Jobs
from shared.photos.formats import Format
from shared.redis_keys import job_record
from shared.services import Services

if TYPE_CHECKING:
    from redis.client import Pipeline

NOTES = "notes"
PHOTO = PhotoInfo(width=64, height=48, bytes=100, sha256="0" * 64)


class Notes(Observer):
    """Records what it sees in Redis, so that only committed transactions leave a trace."""

    def changed(self, pipe: "Pipeline", change: Change) -> None:
        before, after = (one.state if one else "nothing" for one in (change.before, change.after))
        pipe.rpush(NOTES, f"{before} -> {after}")

    def lost(self, pipe: "Pipeline", job_id: str) -> None:
        pipe.rpush(NOTES, f"{job_id} is lost")


@pytest.fixture
def jobs(services: Services) -> Iterator[Jobs]:
    yield Jobs(services.redis, services.clock, [Notes()], ticket=lambda _, work_ms: work_ms, quarantine_ttl_s=60)
    services.redis.delete(NOTES)


def new_job(services: Services, job_id: str = "a" * 40) -> Job:
    now = services.clock.now()
    return Job(
        id=job_id,
        caller="public",
        style="hinata-light",
        max_side=64,
        format=Format.PNG,
        created_at=now,
        expires_at=now + 60,
        photo=PHOTO,
        photo_key="public/photos/0",
        result_key="public/results/0.png",
        pixels=64 * 48,
        work_ms=10,
        ticket_ms=10,
    )


def running(job: Job) -> Job:
    return job.model_copy(update={"state": State.RUNNING, "claim": "here", "attempts": job.attempts + 1})


def notes(services: Services) -> list[str]:
    return [str(note) for note in services.redis.lrange(NOTES, 0, -1)]


def test_an_observer_sees_the_whole_life_of_a_job(jobs: Jobs, services: Services) -> None:
    job = jobs.create(new_job(services))
    jobs.change(job.id, running)
    jobs.change(job.id, lambda current: current.model_copy(update={"progress": 0.5}))
    jobs.change(job.id, lambda current: as_ended(current, State.FAILED, services.clock.now()))
    jobs.retry(job.id)
    jobs.erase(job.id)
    assert notes(services) == [
        "nothing -> queued",
        "queued -> running",
        "running -> running",
        "running -> failed",
        "failed -> queued",
        "queued -> nothing",
    ]


def test_an_observer_is_not_told_of_changes_that_do_not_happen(jobs: Jobs, services: Services) -> None:
    job = jobs.create(new_job(services))
    jobs.create(job)
    jobs.change(job.id, lambda current: current)

    def refuse(_: Job) -> Job:
        raise ValueError("not now")

    with pytest.raises(ValueError, match="not now"):
        jobs.change(job.id, refuse)
    with pytest.raises(UnknownJobError):
        jobs.erase("b" * 40)
    assert notes(services) == ["nothing -> queued"]


def test_a_change_repeated_after_a_conflict_is_seen_once(jobs: Jobs, services: Services) -> None:
    job = jobs.create(new_job(services))
    looks = iter([True, False])

    def run(current: Job) -> Job:
        if next(looks):
            services.redis.hset(job_record(job.id), "progress", "0.25")
        return running(current)

    assert jobs.change(job.id, run).progress == 0.25
    assert notes(services) == ["nothing -> queued", "queued -> running"]


def test_an_observer_is_told_of_a_record_that_cannot_be_read(jobs: Jobs, services: Services) -> None:
    job = jobs.create(new_job(services))
    services.redis.hset(job_record(job.id), "state", "{")
    assert jobs.expire(job.id)
    assert notes(services) == ["nothing -> queued", f"{job.id} is lost"]


def changes(services: Services) -> dict[str, Change]:
    waits, now = new_job(services), services.clock.now()
    runs = running(waits)
    failed = as_ended(runs, State.FAILED, now)
    return {
        "is made": Change(None, waits),
        "is claimed": Change(waits, runs),
        "advances": Change(runs, runs.model_copy(update={"progress": 0.5})),
        "waits again": Change(runs, waits),
        "fails": Change(runs, failed),
        "is retried": Change(failed, waits),
        "expires while it waits": Change(waits, as_expired(waits, now)),
        "expires after its end": Change(failed, as_expired(failed, now)),
        "is erased while it runs": Change(runs, None),
        "is erased after its end": Change(failed, None),
    }


def test_a_change_knows_what_it_means_for_its_job(services: Services) -> None:
    found = changes(services)
    assert {name for name, one in found.items() if one.begins} == {"is made", "is retried"}
    assert {name for name, one in found.items() if one.ends} == {
        "fails",
        "expires while it waits",
        "is erased while it runs",
    }
    assert {name for name, one in found.items() if not one.moves} == {"advances"}
    assert {name for name, one in found.items() if one.enters(State.QUEUED)} == {
        "is made",
        "waits again",
        "is retried",
    }
    assert {name for name, one in found.items() if one.leaves(State.QUEUED)} == {
        "is claimed",
        "expires while it waits",
    }
    assert {one.job.id for one in found.values()} == {"a" * 40}
