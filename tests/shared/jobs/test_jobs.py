"""The job record: the life of a job, and the totals that change with it."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import pytest
from redis import Redis
from structlog.testing import capture_logs

from shared.conversion import PROGRESS_AT, Options, Stage
from shared.errors import (
    CanceledError,
    DamagedPhotoError,
    IdempotencyKeyReusedError,
    InvalidValueError,
    NewerRecordError,
    QueueFullError,
    UnavailableError,
    UnknownJobError,
    UnknownStyleError,
)
from shared.jobs.attempts import OUTAGE_RETRY_S
from shared.jobs.events import STREAM_GRACE_S
from shared.jobs.record import RECORD_GRACE_S, Job, Lane, ResultInfo, State, error_info, new_id
from shared.jobs.store import Idempotency, Jobs
from shared.photos.formats import Format
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import EXPIRY, LEASES, REFERENCES, lane_sent
from shared.scheduling import admission
from shared.scheduling.broker import Queue, celery_app
from shared.services import Services, connect
from shared.storage.disk import DiskStore
from shared.storage.references import LOCK_S, Reference, References
from shared.usecases.dispatch import AHEAD_PER_PROCESS, claim
from shared.usecases.jobs import erase
from shared.usecases.maintenance import expire_due
from shared.usecases.recovery import resend_lost
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from tests.conftest import as_subclass, expire_lease, photo_bytes, with_queue_limit

RESULT = ResultInfo(width=64, height=48, bytes=3, sha256="0" * 64, content_type="image/jpeg")


def order(idempotency_key: str | None = None, max_side: int = 512) -> Order:
    return Order("hinata-light", Options(max_side, Format.JPEG), idempotency_key=idempotency_key)


def submit(services: Services, seed: int = 0, key: str | None = None, max_side: int = 512) -> Job:
    return submit_photo(services, BytesIO(photo_bytes(seed=seed)), order(key, max_side))


def claimed(services: Services, seed: int = 0) -> Job:
    job = services.attempts.claim(submit(services, seed).id)
    assert job is not None
    return job


def make_overdue(services: Services) -> None:
    """Let everything with an expiry be past it."""
    for key in (EXPIRY, REFERENCES, LEASES, lane_sent(Lane.INTERACTIVE)):
        for entry in services.redis.zrange(key, 0, -1):
            services.redis.zadd(key, {str(entry): 1})


def sweep(services: Services) -> None:
    """Remove expired data, as every worker node does."""
    expire_due(services)
    services.references.release_expired()


def age_lease(services: Services, job: Job, *, ago_s: float) -> None:
    """Backdate the last heartbeat of a running job's worker by this many seconds."""
    seconds, _ = services.redis.time()
    services.redis.zadd(LEASES, {job.id: seconds - ago_s}, xx=True)


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


def test_ids_cannot_be_guessed() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert len(bytes.fromhex(new_id())) * 8 >= 128


def test_a_claimed_job_runs_and_counts_the_attempt(services: Services) -> None:
    job = claimed(services)
    assert (job.state, job.attempts) == (State.RUNNING, 1)
    assert job.started_at is not None


def test_a_redelivered_finished_job_is_left_alone(services: Services) -> None:
    job = claimed(services)
    done = services.attempts.succeed(job, RESULT, timings={}, notes=())
    assert services.attempts.claim(job.id) is None
    assert services.jobs.get(job.id) == done


def test_a_redelivered_erased_job_is_left_alone(services: Services) -> None:
    assert services.attempts.claim(new_id()) is None


def test_a_job_that_never_ends_is_given_up_after_the_allowed_attempts(services: Services) -> None:
    job = submit(services)
    for attempt in (1, 2, 3):
        running = services.attempts.claim(job.id)
        assert running is not None
        assert running.attempts == attempt
        expire_lease(services, job)
    assert services.attempts.claim(job.id) is None
    failed = services.jobs.get(job.id)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error.code == "attempts_exhausted"


def test_an_overtaken_attempt_cannot_commit(services: Services) -> None:
    first = claimed(services)
    expire_lease(services, first)
    second = services.attempts.claim(first.id)
    assert second is not None
    with pytest.raises(CanceledError):
        services.attempts.succeed(first, RESULT, timings={}, notes=())
    services.attempts.fail(first.id, DamagedPhotoError("late"), attempt=first.attempts)
    assert services.jobs.get(first.id).state is State.RUNNING
    services.attempts.succeed(second, RESULT, timings={}, notes=())
    assert services.jobs.get(first.id).state is State.SUCCEEDED


def test_a_commit_made_many_times_at_once_counts_once(services: Services) -> None:
    job = claimed(services)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: services.attempts.succeed(job, RESULT, timings={}, notes=()), range(8)))
    assert len({one.finished_at for one in done}) == 1
    assert services.totals.read()["jobs_succeeded"] == 1


def test_a_waiting_job_is_canceled_at_once_and_never_claimed(services: Services) -> None:
    job = submit(services)
    assert services.jobs.cancel(job.id).state is State.CANCELED
    assert services.jobs.cancel(job.id).state is State.CANCELED
    assert services.attempts.claim(job.id) is None


def test_a_canceled_job_whose_worker_died_is_not_begun_again(services: Services) -> None:
    job = claimed(services)
    assert services.jobs.cancel(job.id).state is State.RUNNING
    expire_lease(services, job)
    assert services.attempts.claim(job.id) is None
    assert services.jobs.get(job.id).state is State.CANCELED
    assert services.jobs.cancel(job.id).state is State.CANCELED


def test_a_restarted_node_deregisters_its_former_processes(services: Services) -> None:
    for process in ("node/1", "node/2", "node2/1"):
        services.workers.heartbeat(process)
    for _ in range(2):
        services.workers.deregister_host("node")
        assert services.workers.count() == 1


def test_a_running_job_stops_at_its_next_stage_when_canceled(services: Services) -> None:
    job = claimed(services)
    services.attempts.advance(job, Stage.DECODE, 0.0)
    assert services.jobs.cancel(job.id).state is State.RUNNING
    with pytest.raises(CanceledError):
        services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.attempts.stop(job)
    assert services.jobs.get(job.id).state is State.CANCELED


def test_a_job_that_is_still_to_stop_goes_on_when_it_is_retried(services: Services) -> None:
    job = claimed(services)
    services.jobs.cancel(job.id)
    assert services.jobs.retry(job.id).state is State.RUNNING
    services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    assert services.jobs.get(job.id).state is State.SUCCEEDED


def test_a_job_that_is_retried_while_its_worker_stops_waits_again(services: Services) -> None:
    job = claimed(services)
    services.jobs.cancel(job.id)
    with pytest.raises(CanceledError):
        services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.jobs.retry(job.id)
    assert services.attempts.stop(job)
    again = services.attempts.claim(job.id)
    assert again is not None
    assert (again.attempts, again.uncounted_attempts) == (2, 1)


@pytest.mark.parametrize("is_requeued", [True, False])
def test_a_job_canceled_and_retried_while_its_worker_dies_is_begun_again(
    services: Services, *, is_requeued: bool
) -> None:
    job = claimed(services)
    services.jobs.cancel(job.id)
    if is_requeued:
        services.attempts.release(job.id, "", counts=False)
    services.jobs.retry(job.id)
    expire_lease(services, job)
    assert services.attempts.claim(job.id) is not None


def test_a_retried_job_is_left_alone_by_the_attempt_that_was_canceled(services: Services) -> None:
    first = claimed(services)
    services.jobs.cancel(first.id)
    services.attempts.stop(first)
    services.jobs.retry(first.id)
    second = services.attempts.claim(first.id)
    assert second is not None
    assert not services.attempts.stop(first)
    services.attempts.fail(first.id, DamagedPhotoError("late"), attempt=first.attempts)
    assert services.jobs.get(first.id) == second


def test_the_message_of_a_canceled_job_begins_what_was_retried_and_the_other_does_nothing(services: Services) -> None:
    job = submit(services)
    services.jobs.cancel(job.id)
    services.jobs.retry(job.id)
    assert claim(services, job.id) is not None
    assert claim(services, job.id) is None
    assert services.jobs.get(job.id).state is State.RUNNING
    assert services.lanes.stats(Lane.INTERACTIVE).jobs == 0


def test_progress_follows_the_stages(services: Services) -> None:
    job = claimed(services)
    for stage, progress in PROGRESS_AT.items():
        services.attempts.advance(job, stage, progress)
        now = services.jobs.get(job.id)
        assert (now.stage, now.progress) == (stage, progress)


def test_a_requeued_job_waits_again_until_its_last_attempt(services: Services) -> None:
    job = claimed(services)
    assert services.attempts.requeue(job)
    assert services.jobs.get(job.id).state is State.QUEUED
    services.attempts.claim(job.id)
    expire_lease(services, job)
    last = services.attempts.claim(job.id)
    assert last is not None
    assert services.attempts.requeue(last) is None


def test_a_job_in_an_outage_waits_again_and_keeps_its_attempts(services: Services) -> None:
    job = claimed(services)
    for _ in range(4):
        assert services.attempts.requeue(job, outage=True)
        assert services.jobs.get(job.id).state is State.QUEUED
        again = services.attempts.claim(job.id)
        assert again is not None
        job = again
    assert job.attempts - job.uncounted_attempts == 1


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


def test_an_expired_job_says_so_and_its_photo_is_gone(services: Services) -> None:
    job = submit(services)
    make_overdue(services)
    expire_due(services)
    services.references.release_expired()
    assert services.jobs.get(job.id).state is State.EXPIRED
    assert services.store.head(job.photo_key) is None


DAMAGE: dict[str, Callable[[Redis, str], object]] = {
    "no JSON": lambda redis, key: redis.hset(key, "created_at", "{"),
    "nothing that a job has": lambda redis, key: redis.hset(key, "state", '"bored"'),
    "half": lambda redis, key: redis.hdel(key, "caller", "pixels"),
    "no text": lambda redis, key: redis.hset(key, "style", b"\xff\xfe"),
    "too deep": lambda redis, key: redis.hset(key, "photo", "[" * 100_000),
    "no hash": lambda redis, key: redis.set(key, "x"),
}


def have_processes_for(services: Services, jobs: int) -> None:
    """Have as many processes as let so many single photos be sent at once."""
    for number in range(int(jobs / AHEAD_PER_PROCESS[Lane.INTERACTIVE])):
        services.workers.heartbeat(f"host/{number}")


@pytest.mark.parametrize("damage", DAMAGE)
class TestADamagedRecord:
    @pytest.fixture
    def damaged(self, services: Services, damage: str) -> str:
        """The id of the next job to expire, whose record is unreadable."""
        have_processes_for(services, 3)
        job_id = min(submit(services, seed).id for seed in range(3))
        DAMAGE[damage](services.redis, f"sakuga:job:{job_id}")
        return job_id

    def test_does_not_keep_other_jobs_from_expiring(self, services: Services, damaged: str) -> None:
        others = [str(job_id) for job_id in services.redis.zrange(EXPIRY, 0, -1) if job_id != damaged]
        make_overdue(services)
        expire_due(services)
        assert [services.jobs.get(job_id).state for job_id in others] == [State.EXPIRED] * 2
        assert services.jobs.due(10) == []

    def test_is_logged_once_and_kept_for_a_while(self, services: Services, damaged: str) -> None:
        make_overdue(services)
        with capture_logs() as logs:
            expire_due(services)
            services.jobs.expire(damaged)
        assert [entry["job_id"] for entry in logs if entry["log_level"] == "error"] == [damaged]
        kept = f"sakuga:damaged:{damaged}"
        assert services.redis.exists(f"sakuga:job:{damaged}") == 0
        assert 0 < services.redis.ttl(kept) <= services.settings.quarantine_ttl_s

    def test_is_reported_as_unknown_and_kept_until_it_expires(self, services: Services, damaged: str) -> None:
        with pytest.raises(UnknownJobError, match="send the photo again"):
            services.jobs.get(damaged)
        assert services.jobs.find(damaged) is None
        assert damaged not in [job.id for job in services.jobs.page("public", cursor=None, count=10).jobs]
        assert services.redis.exists(f"sakuga:job:{damaged}") == 1

    def test_holds_up_neither_a_worker_nor_the_queue(self, services: Services, damaged: str) -> None:
        assert services.attempts.claim(damaged) is None
        assert services.lanes.waiting_since(Lane.INTERACTIVE, damaged) is None

    def test_is_not_sent_again_for_ever(self, services: Services, damaged: str) -> None:
        services.redis.delete(Lane.INTERACTIVE)
        make_overdue(services)
        assert resend_lost(services) == 2
        assert services.lanes.waiting_since(Lane.INTERACTIVE, damaged) is None


class TestARecordOfANewerRelease:
    """It has fields and values that this release does not know."""

    @pytest.fixture
    def newer(self, services: Services) -> Job:
        job = submit(services, key="newer")
        record = f"sakuga:job:{job.id}"
        services.redis.hset(record, mapping={"version": RECORD_VERSION + 1, "stage": '"dreaming"', "mood": "happy"})
        services.redis.hdel(record, "style")
        return job

    @pytest.fixture
    def is_untouched(self, services: Services, newer: Job) -> Callable[[], bool]:
        def look() -> tuple[object, ...]:
            record, place = f"sakuga:job:{newer.id}", services.lanes.waiting_since(Lane.INTERACTIVE, newer.id)
            stats = services.lanes.stats(Lane.INTERACTIVE)
            index = services.redis.zscore("sakuga:jobs:public", newer.id)
            kept = services.redis.expiretime(record), services.redis.zscore(EXPIRY, newer.id) is not None
            return services.redis.hgetall(record), place is not None, stats, index, kept

        before = look()
        return lambda: look() == before

    @pytest.mark.parametrize(
        "use",
        [
            lambda services, job: services.jobs.get(job.id),
            lambda services, job: services.jobs.find(job.id),
            lambda services, _: services.jobs.page("public", cursor=None, count=10),
            lambda services, job: services.attempts.claim(job.id),
            lambda services, job: services.jobs.cancel(job.id),
            lambda services, job: erase(services, job.id),
            lambda services, _: submit(services, key="newer"),
        ],
    )
    def test_is_left_alone_and_its_owner_told_to_try_again(
        self,
        services: Services,
        newer: Job,
        is_untouched: Callable[[], bool],
        use: Callable[[Services, Job], object],
    ) -> None:
        with pytest.raises(NewerRecordError) as refused:
            use(services, newer)
        assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
        assert is_untouched()

    def test_is_left_to_a_newer_release_to_expire_and_does_not_hold_up_others(
        self, services: Services, newer: Job, is_untouched: Callable[[], bool]
    ) -> None:
        others = [submit(services, seed) for seed in range(1, 4)]
        for job in others:
            services.jobs.cancel(job.id)
        make_overdue(services)
        services.redis.zadd(EXPIRY, {newer.id: 0})
        expire_due(services)
        assert services.jobs.due(10) == [newer.id]
        assert {services.jobs.get(job.id).state for job in others} == {State.EXPIRED}
        assert is_untouched()

    def test_expires_by_itself_where_no_newer_release_is_left(self, services: Services, newer: Job) -> None:
        record, grace_s = f"sakuga:job:{newer.id}", 3600
        assert services.redis.expiretime(record) == int(newer.expires_at) + grace_s
        assert services.redis.expiretime(f"{record}:events") == int(newer.expires_at) + grace_s
        services.redis.delete(record)  # as Redis does at that time
        make_overdue(services)
        expire_due(services)
        assert services.redis.zcard(EXPIRY) == 0

    @pytest.mark.usefixtures("_workers")
    def test_is_not_sent_again(self, services: Services, newer: Job) -> None:
        other = submit(services, seed=1)
        services.redis.delete(Lane.INTERACTIVE)
        make_overdue(services)
        assert resend_lost(services) == 1
        assert services.queue.oldest(Lane.INTERACTIVE) == other.id
        assert services.lanes.waiting_since(Lane.INTERACTIVE, newer.id) is not None

    def test_may_have_committed(self, services: Services, newer: Job) -> None:
        assert services.attempts.has_committed(newer)


def test_a_record_of_the_first_releases_has_no_version_and_gets_one_with_its_next_change(services: Services) -> None:
    job = submit(services)
    record = f"sakuga:job:{job.id}"
    assert services.redis.hget(record, "version") == str(RECORD_VERSION)
    services.redis.hdel(record, "version")
    assert services.jobs.get(job.id) == job
    assert services.attempts.claim(job.id) is not None
    assert services.redis.hget(record, "version") == str(RECORD_VERSION)


def test_a_retried_job_still_expires_by_itself(services: Services) -> None:
    job = claimed(services)
    services.attempts.fail(job.id, DamagedPhotoError("broken"))
    services.jobs.retry(job.id)
    for key in (f"sakuga:job:{job.id}", f"sakuga:job:{job.id}:events"):
        assert services.redis.expiretime(key) == int(job.expires_at) + 3600


@pytest.mark.parametrize("ahead_s", [10 * 86_400, -10 * 86_400])
def test_a_wrong_clock_expires_nothing_and_reports_correct_times(
    services: Services, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    began, wrong = services.clock.now(), time.time() + ahead_s
    monkeypatch.setattr(time, "time", lambda: wrong)
    job = claimed(services)
    expire_due(services)
    services.references.release_expired()
    done = services.attempts.succeed(job, RESULT, timings={}, notes=())
    assert services.store.head(job.photo_key) is not None
    times = [began, done.created_at, done.started_at or 0, done.finished_at or 0, services.clock.now()]
    assert times == sorted(times)
    assert began <= done.expires_at - services.settings.ttl_s <= times[-1]


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


def test_a_photo_whose_submitter_died_before_writing_the_record_expires(services: Services) -> None:
    job = submit(services)
    services.redis.delete(f"sakuga:job:{job.id}")  # leaves the photo and its reference, which existed before
    services.references.release_expired()
    assert services.store.head(job.photo_key) is not None
    make_overdue(services)
    services.references.release_expired()
    assert services.store.head(job.photo_key) is None
    assert services.redis.keys("sakuga:refer*") == []


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


def test_a_job_whose_submitter_died_before_queueing_it_is_queued_once(services: Services) -> None:
    class Killed(BaseException):
        pass

    class DyingQueue(Queue):
        def send(self, job_id: str, lane: Lane) -> None:  # noqa: ARG002
            raise Killed

    with pytest.raises(Killed):
        submit(replace(services, queue=DyingQueue(celery_app(services.settings), services.redis)))
    assert services.redis.llen(Lane.INTERACTIVE) == 0
    assert resend_lost(services) == 0
    make_overdue(services)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: resend_lost(services), range(8))) == 1
    assert services.redis.llen(Lane.INTERACTIVE) == 1


def test_a_photo_whose_message_the_broker_rejects_is_sent_again_soon(services: Services) -> None:
    away = celery_app(services.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"}))
    submit(replace(services, queue=Queue(away, services.redis)))
    assert services.redis.llen(Lane.INTERACTIVE) == 0
    assert resend_lost(services) == 1
    assert services.redis.llen(Lane.INTERACTIVE) == 1


@pytest.fixture
def _workers(services: Services) -> None:
    have_processes_for(services, 3)


@pytest.mark.usefixtures("_workers")
def test_a_broker_outage_strands_no_lost_job(services: Services) -> None:
    class Failing(Queue):
        def send(self, job_id: str, lane: Lane) -> None:  # noqa: ARG002
            raise UnavailableError("The queue does not answer.")

    for seed in range(3):
        submit(services, seed)
    services.redis.delete(Lane.INTERACTIVE)
    make_overdue(services)
    assert resend_lost(replace(services, queue=Failing(celery_app(services.settings), services.redis))) == 0
    assert resend_lost(services) == 3
    assert services.redis.llen(Lane.INTERACTIVE) == 3


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


def test_the_end_of_a_killed_process_leaves_a_newer_attempt_alone(services: Services) -> None:
    job = claimed(services)
    services.attempts.fail(job.id, DamagedPhotoError("late"), running_for_s=60)
    assert services.jobs.get(job.id).state is State.RUNNING
    services.attempts.fail(job.id, DamagedPhotoError("late"), running_for_s=0)
    assert services.jobs.get(job.id).state is State.FAILED


@pytest.mark.usefixtures("_workers")
def test_a_job_that_merely_waits_long_is_not_resent(services: Services) -> None:
    for seed in range(3):
        submit(services, seed)
    make_overdue(services)
    assert resend_lost(services) == 0
    assert services.redis.llen(Lane.INTERACTIVE) == 3


@pytest.mark.usefixtures("_workers")
def test_a_job_whose_message_is_lost_behind_others_is_resent(services: Services) -> None:
    lost = submit(services)
    services.redis.rpop(Lane.INTERACTIVE)
    make_overdue(services)
    submit(services, seed=1)
    assert resend_lost(services) == 1
    assert services.redis.llen(Lane.INTERACTIVE) == 2
    assert services.attempts.claim(lost.id) is not None


def test_a_resent_message_that_came_too_early_is_resent_once_more(services: Services) -> None:
    job = claimed(services)
    services.redis.delete(Lane.INTERACTIVE)
    make_overdue(services)
    assert resend_lost(services) == 1
    services.redis.zadd(LEASES, {job.id: time.time()})  # as if a worker still had it
    assert claim(services, job.id) is None
    services.redis.delete(Lane.INTERACTIVE)
    make_overdue(services)
    assert resend_lost(services) == 1
    assert services.attempts.claim(job.id) is not None


def test_an_attempt_lost_with_its_message_is_repeated(services: Services) -> None:
    job = claimed(services)
    services.redis.delete(Lane.INTERACTIVE)
    assert resend_lost(services) == 0
    make_overdue(services)
    assert resend_lost(services) == 1
    again = services.attempts.claim(job.id)
    assert again is not None
    assert again.attempts == 2


def test_a_duplicated_message_starts_its_job_once(services: Services) -> None:
    job = claimed(services)
    assert services.attempts.claim(job.id) is None
    assert services.jobs.get(job.id).attempts == 1


def test_a_job_whose_worker_falls_silent_can_be_claimed_by_another(services: Services) -> None:
    job = claimed(services)
    make_overdue(services)
    services.leases.renew([job.id])
    assert services.attempts.claim(job.id) is None, "it was silent for long, but it lives"
    make_overdue(services)
    again = services.attempts.claim(job.id)
    assert again is not None
    assert again.attempts == 2


def test_a_lease_has_expired_when_its_message_is_redelivered(services: Services) -> None:
    timeout_s = services.settings.visibility_timeout_s
    job = claimed(services)
    age_lease(services, job, ago_s=timeout_s / 2)
    assert services.attempts.claim(job.id) is None
    age_lease(services, job, ago_s=timeout_s)
    assert services.leases.abandoned(10) == [], "the queue may still have its message"
    assert services.attempts.claim(job.id) is not None
    age_lease(services, job, ago_s=2 * timeout_s)
    assert services.leases.abandoned(10) == [job.id]


def test_no_heartbeat_revives_an_ended_job(services: Services) -> None:
    job = claimed(services)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    services.leases.renew([job.id])
    make_overdue(services)
    assert services.leases.abandoned(10) == []


def test_a_message_that_is_still_unacked_is_not_taken_for_lost(services: Services) -> None:
    job = claimed(services)
    message = {"headers": {"id": job.id}}
    services.redis.hset("unacked", "tag", json.dumps([message, "", "interactive"]))
    services.redis.zadd("unacked_index", {"tag": time.time()})
    make_overdue(services)
    assert resend_lost(services) == 0
    services.redis.zadd("unacked_index", {"tag": time.time() + 3600})  # from a node whose clock was wrong when it died
    assert resend_lost(services) == 1


def test_an_attempt_ended_by_the_shutdown_of_its_node_does_not_count(services: Services) -> None:
    job = submit(services)
    for _ in range(services.settings.max_attempts):
        assert services.attempts.claim(job.id, "here/1")
        services.attempts.release(job.id, "here/1", counts=False)
    for _ in range(services.settings.max_attempts):
        assert services.attempts.claim(job.id, "here/1")
        services.attempts.release(job.id, "here/1", counts=True)
    assert services.attempts.claim(job.id, "here/1") is None
    assert services.jobs.get(job.id).state is State.FAILED


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


def test_a_released_job_waits_behind_the_others(services: Services) -> None:
    job = services.attempts.claim(submit(services).id, "here/1")
    assert job is not None
    for seed in (1, 2):
        submit(services, seed)
    assert services.lanes.next_job(Lane.INTERACTIVE, 2), "both are sent"
    services.workers.heartbeat("here/2")
    services.attempts.release(job.id, "there/1", counts=True)
    assert services.jobs.get(job.id).state is State.RUNNING, "it is none of theirs"
    services.attempts.release(job.id, "here/1", counts=True)
    waiting = services.jobs.get(job.id)
    estimate = services.estimates.estimate(waiting)
    assert (waiting.state, estimate.position) == (State.QUEUED, 3)
    assert estimate.eta_s == pytest.approx(3 * waiting.work_ms / 1000)
    assert services.leases.abandoned(10) == []
    again = services.attempts.claim(job.id, "there/1")
    assert again is not None
    assert again.attempts == 2


def exhausted(services: Services) -> Job:
    """A job that has run out of attempts."""
    job = submit(services)
    for _ in range(services.settings.max_attempts + 1):
        services.attempts.claim(job.id)
        expire_lease(services, job)
    return services.jobs.get(job.id)


class TestQuarantine:
    @pytest.fixture
    def poison(self, services: Services) -> Job:
        return exhausted(services)

    def test_its_photo_is_kept_for_the_operator(
        self, services: Services, poison: Job, advance_clock: Callable[[float], None]
    ) -> None:
        assert [job.id for job in services.quarantine.jobs()] == [poison.id]
        advance_clock(services.settings.ttl_s + 60)
        sweep(services)
        assert services.store.head(poison.photo_key) is not None
        assert services.jobs.get(poison.id).state is State.FAILED

    def test_redis_keeps_its_record_as_long_as_the_quarantine(self, services: Services, poison: Job) -> None:
        assert poison.expires_at > poison.created_at + services.settings.ttl_s
        assert services.redis.expiretime(f"sakuga:job:{poison.id}") == int(poison.expires_at) + RECORD_GRACE_S

    def test_a_short_quarantine_ends_no_job_before_its_time(self, services: Services) -> None:
        short = connect(services.settings.model_copy(update={"quarantine_ttl_s": 60}))
        job = exhausted(short)
        assert job.is_quarantined
        assert job.expires_at == job.created_at + services.settings.ttl_s
        short.redis.close()

    def test_its_photo_is_deleted_when_the_quarantine_ends(
        self, services: Services, poison: Job, advance_clock: Callable[[float], None]
    ) -> None:
        advance_clock(services.settings.quarantine_ttl_s + 60)
        sweep(services)
        assert services.quarantine.jobs() == []
        assert services.store.head(poison.photo_key) is None
        assert services.jobs.get(poison.id).state is State.EXPIRED

    def test_it_can_be_retried(self, services: Services, poison: Job) -> None:
        services.jobs.retry(poison.id)
        assert services.quarantine.jobs() == []
        again = services.attempts.claim(poison.id)
        assert again is not None

    def test_it_is_deleted_with_the_job(self, services: Services, poison: Job) -> None:
        erase(services, poison.id)
        assert services.quarantine.jobs() == []
        assert services.store.head(poison.photo_key) is None


def test_the_record_of_an_ended_job_expires(services: Services) -> None:
    job = claimed(services)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    record = f"sakuga:job:{job.id}"
    assert services.redis.expiretime(record) == int(job.expires_at) + RECORD_GRACE_S
    assert services.redis.expiretime(f"sakuga:result:{job.result_key}") == int(job.expires_at)
    assert STREAM_GRACE_S / 2 < services.redis.ttl(f"{record}:events") <= STREAM_GRACE_S


def test_a_retried_job_does_not_expire_before_it_ends(services: Services) -> None:
    job = claimed(services)
    keys = [f"sakuga:job:{job.id}", f"sakuga:job:{job.id}:events"]
    services.attempts.fail(job.id, DamagedPhotoError("broken"))
    assert all(services.redis.ttl(key) > 0 for key in keys)
    services.jobs.retry(job.id)
    assert all(services.redis.ttl(key) > services.settings.ttl_s for key in keys)


def test_a_retried_job_may_wait_out_another_whole_outage(
    services: Services, advance_clock: Callable[[float], None]
) -> None:
    job = claimed(services)
    advance_clock(OUTAGE_RETRY_S + 1)
    assert services.attempts.requeue(job, outage=True)
    late = services.attempts.claim(job.id)
    assert late is not None
    assert services.attempts.requeue(late, outage=True) is None
    services.attempts.fail(job.id, UnavailableError("The store is not responding."))
    services.jobs.retry(job.id)
    anew = services.attempts.claim(job.id)
    assert anew is not None
    assert services.attempts.requeue(anew, outage=True)


def test_expired_jobs_are_trimmed_from_the_list_of_their_caller(
    services: Services, advance_clock: Callable[[float], None]
) -> None:
    first = submit(services, 0)
    advance_clock(services.settings.ttl_s)
    second = submit(services, 1)
    assert services.redis.zrange("sakuga:jobs:public", 0, -1) == [first.id, second.id]
    advance_clock(RECORD_GRACE_S + 60)
    third = submit(services, 2)
    assert services.redis.zrange("sakuga:jobs:public", 0, -1) == [second.id, third.id]


def test_a_paging_cursor_outlives_its_job(services: Services) -> None:
    ids = [submit(services, seed).id for seed in range(4)]
    first = services.jobs.page("public", cursor=None, count=2)
    erase(services, first.jobs[-1].id)
    second = services.jobs.page("public", cursor=first.next_cursor, count=2)
    assert [job.id for job in second.jobs] == ids[1::-1]
    with pytest.raises(InvalidValueError):
        services.jobs.page("public", cursor="zzz", count=2)


def test_a_job_that_expires_while_waiting_leaves_no_trace_in_the_totals(services: Services) -> None:
    job = submit(services)
    make_overdue(services)
    assert services.redis.expiretime(f"sakuga:job:{job.id}") > job.expires_at + 3000, "its record outlives it"
    expire_due(services)
    assert services.lanes.stats(Lane.INTERACTIVE).jobs == 0
    assert services.lanes.stats(Lane.INTERACTIVE).megapixels == 0


def test_jobs_are_listed_newest_first_a_page_at_a_time(services: Services) -> None:
    ids = [submit(services, seed).id for seed in range(5)]
    first = services.jobs.page("public", cursor=None, count=2)
    second = services.jobs.page("public", cursor=first.next_cursor, count=2)
    third = services.jobs.page("public", cursor=second.next_cursor, count=2)
    listed = [job.id for page in (first, second, third) for job in page.jobs]
    assert listed == ids[::-1]
    assert third.next_cursor is None


def test_callers_see_only_their_own_jobs(services: Services) -> None:
    submit(services)
    assert services.jobs.page("someone-else", cursor=None, count=10).jobs == []


def test_every_change_is_an_event_in_order(services: Services) -> None:
    job = claimed(services)
    services.attempts.advance(job, Stage.GENERATE, 0.1)
    services.attempts.succeed(job, RESULT, timings={}, notes=())
    events = list(services.events.read(job.id, after="0", wait_s=1))
    assert [event.kind for event in events] == ["state", "state", "progress", "done"]
    later = list(services.events.read(job.id, after=events[1].id, wait_s=1))
    assert [event.kind for event in later] == ["progress", "done"]


def test_waiting_ends_when_the_job_does(services: Services) -> None:
    job = claimed(services)
    timer = threading.Timer(0.3, services.attempts.fail, (job.id, DamagedPhotoError("broken")))
    timer.start()
    ended = services.events.wait_for_end(job.id, 20)
    timer.join()
    assert ended.state is State.FAILED
    assert ended.error == error_info(DamagedPhotoError("broken"))


def test_waiting_ends_at_its_timeout(services: Services) -> None:
    job = submit(services)
    looks = iter((True, True, False))
    assert services.events.wait_for_end(job.id, 600, keep_waiting=lambda: next(looks)).state is State.QUEUED
    assert list(looks) == []


def test_the_totals_are_zero_after_every_kind_of_end(services: Services) -> None:
    succeeded, failed, canceled, erased = (claimed(services, seed) for seed in range(4))
    waiting_canceled, waiting_erased = submit(services, 4), submit(services, 5)
    services.attempts.succeed(succeeded, RESULT, timings={"decode_s": 0.5}, notes=())
    services.attempts.fail(failed.id, DamagedPhotoError("broken"))
    services.jobs.cancel(canceled.id)
    services.attempts.stop(canceled)
    erase(services, erased.id)
    services.jobs.cancel(waiting_canceled.id)
    erase(services, waiting_erased.id)
    totals = services.redis.hgetall("sakuga:lane:interactive:totals")
    assert totals["submitted_ms"] == totals["finished_ms"]
    assert totals["pixels"] == "0"
    assert services.lanes.stats(Lane.INTERACTIVE).jobs == 0
    assert services.totals.read()["seconds_decode"] == 0.5


def test_the_place_in_the_queue_and_the_time_left_follow_the_work_ahead(services: Services) -> None:
    first, second, third = (submit(services, seed) for seed in range(3))
    services.workers.heartbeat("host/1")
    estimates = [services.estimates.estimate(job) for job in (first, second, third)]
    assert [estimate.position for estimate in estimates] == [1, 2, 3]
    times = [estimate.eta_s or 0.0 for estimate in estimates]
    assert times == pytest.approx([first.work_ms / 1000 * jobs for jobs in (1, 2, 3)])
    services.workers.heartbeat("host/2")
    assert services.estimates.estimate(third).eta_s == pytest.approx(times[0] * 2)


def test_without_workers_there_is_no_estimate(services: Services) -> None:
    assert services.estimates.estimate(submit(services)).eta_s is None


def test_the_pace_is_learnt_from_what_workers_measure(services: Services) -> None:
    style = services.styles["hinata-light"]
    before = services.estimates.estimate_ms([style], 1.0)
    services.estimates.record_pace(style.name, 100.0)
    services.estimates.record_pace(style.name, 200.0)
    assert services.estimates.estimate_ms([style], 1.0) == 60 + 120
    assert before != 180


def test_a_full_queue_refuses_with_a_time_to_retry(services: Services) -> None:
    tight = with_queue_limit(services, 0.005)
    submit(tight, 0)
    with pytest.raises(QueueFullError) as refused:
        submit(tight, 1)
    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s >= 1


def test_a_nearly_full_redis_accepts_no_more_and_keeps_working(
    services: Services, request: pytest.FixtureRequest
) -> None:
    job = submit(services)
    nearly_full_redis: Services = request.getfixturevalue("nearly_full_redis")
    with pytest.raises(QueueFullError, match="memory is nearly full") as refused:
        submit(nearly_full_redis, 1)
    assert refused.value.retry_after_s == 60
    taken = nearly_full_redis.attempts.claim(job.id)
    assert taken is not None
    nearly_full_redis.attempts.succeed(taken, RESULT, timings={}, notes=())
    erase(nearly_full_redis, job.id)
    nearly_full_redis.redis.config_set("maxmemory", 0)  # no limit, no share of it
    assert submit(connect(services.settings), 2).state is State.QUEUED


def test_the_memory_of_redis_is_not_checked_for_every_photo(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "READ_AGAIN_S", 60)
    look = Mock(wraps=services.redis.info)
    monkeypatch.setattr(services.redis, "info", look)
    for seed in range(3):
        submit(services, seed)
    assert look.call_count == 1
    monkeypatch.setattr(services.admission, "_memory", admission.Memory(services.redis))
    monkeypatch.setattr(admission, "READ_AGAIN_S", 0)
    for seed in range(3):
        submit(services, seed)
    assert look.call_count == 4


def test_a_worker_that_falls_silent_is_no_longer_counted(services: Services) -> None:
    services.workers.heartbeat("host/1")
    services.redis.zadd("sakuga:workers", {"host/2": time.time() - 60})
    assert services.workers.count() == 1
    assert services.workers.alive_on("host") == ["host/1"]
