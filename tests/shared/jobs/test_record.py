"""The record of a job: unreadable ones, and those of newer and of the first releases."""

from collections.abc import Callable

import pytest
from redis import Redis
from structlog.testing import capture_logs

from shared.errors import NewerRecordError, UnknownJobError
from shared.jobs.record import Job, Lane, State, new_id
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import EXPIRY
from shared.services import Services
from shared.usecases.jobs import erase
from shared.usecases.maintenance import expire_due
from shared.usecases.recovery import resend_lost
from tests.submitting import have_processes_for, make_overdue, submit


def test_ids_cannot_be_guessed() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert len(bytes.fromhex(new_id())) * 8 >= 128


DAMAGE: dict[str, Callable[[Redis, str], object]] = {
    "no JSON": lambda redis, key: redis.hset(key, "created_at", "{"),
    "nothing that a job has": lambda redis, key: redis.hset(key, "state", '"bored"'),
    "half": lambda redis, key: redis.hdel(key, "caller", "pixels"),
    "no text": lambda redis, key: redis.hset(key, "style", b"\xff\xfe"),
    "too deep": lambda redis, key: redis.hset(key, "photo", "[" * 100_000),
    "no hash": lambda redis, key: redis.set(key, "x"),
}


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
