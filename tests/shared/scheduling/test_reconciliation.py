"""Reconciliation: lists and totals that drifted from the records agree with them again."""

import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from structlog.testing import capture_logs

from shared.albums import reconciliation
from shared.albums.reconciliation import recount, unsettled
from shared.albums.record import Album
from shared.callers.api_keys import PUBLIC_ID
from shared.conversion import Options
from shared.errors import DamagedPhotoError
from shared.jobs.record import Job, Lane, State
from shared.photos.formats import Format
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import (
    EXPIRY,
    FLOW_PIXELS,
    FLOW_PREFIX,
    FLOWS,
    LEASES,
    OUTSTANDING,
    RECONCILED,
    RECOUNT,
    SINGLE_PREFIX,
    SINGLES,
    album_counts,
    lane_sent,
    lane_totals,
)
from shared.scheduling import reconciliation as lanes
from shared.scheduling.fair_queue import FLOWS_OF
from shared.services import Services
from shared.usecases.albums import start_album
from shared.usecases.dispatch import dispatch
from shared.usecases.jobs import erase
from shared.usecases.maintenance import RECONCILE_S, Reconciliation
from shared.usecases.recovery import resend_lost
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from shared.usecases.uploads import Numbering, add_photo
from tests.conftest import expire_lease, photo_bytes

ALICE = "f" * 32
LISTS = (lane_sent(Lane.INTERACTIVE), lane_sent(Lane.BULK), LEASES)
HASHES = (
    *(lane_totals(lane) for lane in Lane),
    *(key for keys in FLOWS_OF.values() for key in (keys.pixels, keys.outstanding)),
    f"{OUTSTANDING}:{ALICE}",
)


def submit(
    services: Services, seed: int, lane: Lane = Lane.INTERACTIVE, album: str | None = None, caller: str = PUBLIC_ID
) -> Job:
    order = Order("hinata-light", Options(512, Format.JPEG), caller, lane=lane, album=album, name=f"{seed}.png")
    return submit_photo(services, BytesIO(photo_bytes((300 + 20 * seed, 300), seed=seed)), order)


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step sees so few jobs that the tests take many."""
    monkeypatch.setattr(lanes, "PAGE", 2)


def reconcile(services: Services) -> int:
    """Reconcile the lanes; returns how many entries were wrong."""
    return sum(lanes.reconcile(services.redis))


def reconcile_all(services: Services) -> None:
    """Let a node do all the steps of a reconciliation."""
    node = Reconciliation(services)
    node.advance()
    while node.is_under_way:
        node.advance()


def bookkeeping(services: Services) -> dict[str, object]:
    """Return all lists and totals of unfinished jobs; of the two totals of work only the difference matters."""
    kept: dict[str, object] = {key: set(services.redis.zrange(key, 0, -1)) for key in LISTS}
    for key in HASHES:
        totals = {str(name): int(value) for name, value in services.redis.hgetall(key).items()}
        totals["left"] = totals.pop("submitted_ms", 0) - totals.pop("finished_ms", 0)
        kept[key] = totals
    for key in (FLOWS, f"{FLOWS}:{ALICE}"):
        for flow in map(str, services.redis.zrange(key, 0, -1)):
            if waiting := set(services.redis.lrange(f"{FLOW_PREFIX}{flow}", 0, -1)):
                kept[f"{key} {flow}"] = waiting
    for flow in map(str, services.redis.zrange(SINGLES, 0, -1)):  # whether they are sent or about to be
        kept[LISTS[0]] |= set(services.redis.lrange(f"{SINGLE_PREFIX}{flow}", 0, -1))  # type: ignore[operator]
    return kept


def jobs_in_every_state(services: Services) -> dict[str, Job]:
    """Jobs in every state: in both lanes, two albums and one of another caller, in a flow, queued, running, ended."""
    jobs = {
        "waiting": submit(services, 0),
        "running": submit(services, 1),
        "canceled": submit(services, 2),
        "sent": submit(services, 3, Lane.BULK, "a" * 40),
        "sent too": submit(services, 4, Lane.BULK, "b" * 40),
        "working": submit(services, 5, Lane.BULK, "b" * 40),
        "in a flow": submit(services, 6, Lane.BULK, "a" * 40),
        "behind it": submit(services, 7, Lane.BULK, "a" * 40),
        "of nobody": submit(services, 8, Lane.BULK),
        "of another": submit(services, 9, Lane.BULK, "d" * 40, ALICE),
    }
    services.attempts.claim(jobs["running"].id)
    services.attempts.claim(jobs["working"].id)
    services.jobs.cancel(jobs["canceled"].id)
    return jobs


@pytest.fixture
def jobs(services: Services) -> dict[str, Job]:
    return jobs_in_every_state(services)


DRIFT: dict[str, Callable[[Services], object]] = {
    "a lane's jobs": lambda services: services.redis.hincrby(lane_totals(Lane.INTERACTIVE), "jobs", 7),
    "a lane's pixels": lambda services: services.redis.hincrby(lane_totals(Lane.BULK), "pixels", -(10**6)),
    "a lane's work": lambda services: services.redis.hincrby(lane_totals(Lane.BULK), "submitted_ms", 12345),
    "no number": lambda services: services.redis.hset(lane_totals(Lane.BULK), "pixels", "many"),
    "the totals of a lane": lambda services: services.redis.delete(lane_totals(Lane.BULK)),
    "the pixels of an album": lambda services: services.redis.hincrby(FLOW_PIXELS, "a" * 40, 10**6),
    "the work of an album": lambda services: services.redis.hdel(OUTSTANDING, "b" * 40),
    "the work of a caller's album": lambda services: services.redis.hincrby(f"{OUTSTANDING}:{ALICE}", "d" * 40, 9),
    "a caller's album that is gone": lambda services: services.redis.hset(f"{OUTSTANDING}:{ALICE}", "c" * 40, 500),
    "nobody takes turns": lambda services: services.redis.delete(FLOWS),
    "a caller has no albums": lambda services: services.redis.delete(f"{FLOWS}:{ALICE}"),
    "an album that is gone": lambda services: services.redis.hset(OUTSTANDING, "c" * 40, 500),
    "nobody runs": lambda services: services.redis.delete(LEASES),
    "nobody waits": lambda services: services.redis.delete(lane_sent(Lane.INTERACTIVE)),
    "a ghost waits": lambda services: services.redis.zadd(lane_sent(Lane.BULK), {"0" * 40: 1}),
    "a ghost runs": lambda services: services.redis.zadd(LEASES, {"0" * 40: 1}),
}


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("drift", DRIFT)
def test_drift_is_corrected(services: Services, drift: str) -> None:
    right = bookkeeping(services)
    DRIFT[drift](services)
    assert reconcile(services) > 0
    assert bookkeeping(services) == right
    assert reconcile(services) == 0


@pytest.mark.parametrize("loss", ["nothing", "damaged", "no hash"])
@pytest.mark.parametrize("lost", ["waiting", "running", "sent", "working", "in a flow", "of nobody", "of another"])
def test_a_job_without_a_record_counts_nowhere(services: Services, jobs: dict[str, Job], lost: str, loss: str) -> None:
    record = f"sakuga:job:{jobs[lost].id}"
    if loss == "damaged":
        services.redis.hset(record, "pixels", "{")
    else:
        services.redis.delete(record)
    if loss == "no hash":
        services.redis.set(record, "x")
    assert reconcile(services) > 0
    del jobs[lost]
    left = services.jobs.get_many([job.id for job in jobs.values()]).values()
    for lane in Lane:
        waiting = [job for job in left if job.lane is lane and job.state is State.QUEUED]
        stats = services.lanes.stats(lane)
        assert (stats.jobs, stats.megapixels) == (len(waiting), sum(job.pixels for job in waiting) / 1e6)
        totals = services.redis.hgetall(lane_totals(lane))
        under_way = [job for job in left if job.lane is lane and not job.ended]
        assert int(totals["submitted_ms"]) - int(totals.get("finished_ms", 0)) == sum(job.work_ms for job in under_way)
    ended = {job.id for job in left if job.ended}
    listed = set().union(*(services.redis.zrange(key, 0, -1) for key in LISTS))
    assert listed.isdisjoint(ended | {record.rsplit(":", maxsplit=1)[-1]})


def test_a_job_that_is_listed_twice_counts_once(services: Services, jobs: dict[str, Job]) -> None:
    twice = jobs["sent"]
    services.redis.rpush(f"{FLOW_PREFIX}{twice.flow}", twice.id)
    assert reconcile(services) == 0
    assert services.lanes.stats(Lane.BULK).jobs == 6


def test_records_of_a_newer_release_count_as_they_are(services: Services, jobs: dict[str, Job]) -> None:
    for job in jobs.values():
        newer = ["version", str(RECORD_VERSION + 1), "mood", "happy", "photo", "elsewhere"]
        services.redis.hset(f"sakuga:job:{job.id}", items=newer)
    right = bookkeeping(services)
    assert reconcile(services) == 0
    services.redis.delete(*HASHES)
    services.redis.hset(lane_totals(Lane.BULK), "jobs", 99)
    assert reconcile(services) > 0
    assert bookkeeping(services) == right
    assert services.lanes.stats(Lane.BULK).jobs == 6


@pytest.mark.usefixtures("jobs")
def test_jobs_missing_from_every_list_are_queued_again(services: Services) -> None:
    flows = [FLOWS, f"{FLOWS}:{ALICE}", *services.redis.keys(f"{FLOW_PREFIX}*")]
    services.redis.delete(*LISTS, SINGLES, *flows, *Lane)
    assert reconcile(services) == 9
    services.workers.heartbeat("host/1")
    dispatch(services)
    resend_lost(services)
    messages = [message for lane in Lane for message in services.redis.lrange(lane, 0, -1)]
    sent = {json.loads(str(message))["headers"]["id"] for message in messages}
    assert len(sent) == 5, "what waits alone, what ran, and two of bulk"
    assert services.lanes.stats(Lane.BULK).jobs == 6


def test_a_busy_queue_is_not_mistaken_for_drift(services: Services) -> None:
    def live(seed: int) -> None:
        job = submit(services, seed, list(Lane)[seed % 2], f"{seed % 3}" * 40)
        if seed % 5:
            claimed = services.attempts.claim(job.id)
            assert claimed is not None
            services.attempts.fail(job.id, DamagedPhotoError("broken"))
            services.jobs.retry(job.id)
        if seed % 4 == 0:
            erase(services, job.id)

    with ThreadPoolExecutor(6) as pool:
        lives = [pool.submit(live, seed) for seed in range(60)]
        found = []
        while not all(one.done() for one in lives):
            found.append(reconcile(services))
    for one in lives:
        one.result()
    assert set(found) == {0}
    assert reconcile(services) == 0


class Life:
    """Whatever can happen to jobs, in an order that a seed decides."""

    def __init__(self, services: Services, seed: int) -> None:
        self._services = services
        self._chance = random.Random(seed)
        self._seeds = iter(range(1000))
        self._jobs: list[str] = []

    def go_on(self) -> None:
        """Let something happen to some job."""
        happening = (self._submit, self._submit, self._claim, self._claim, self._fail, self._exhaust, self._end)
        self._chance.choice(happening)()

    def _submit(self) -> None:
        lane, album = self._chance.choice(list(Lane)), self._chance.choice(["a" * 40, "b" * 40])
        self._jobs.append(submit(self._services, next(self._seeds), lane, album).id)

    def _claim(self) -> None:
        if self._jobs:
            self._services.attempts.claim(self._chance.choice(self._jobs))

    def _fail(self) -> None:
        if self._jobs:
            self._services.attempts.fail(self._chance.choice(self._jobs), DamagedPhotoError("broken"))

    def _exhaust(self) -> None:
        """Let a worker die with a job again and again: one that is in quarantine expires later than before."""
        if self._jobs:
            job_id = self._chance.choice(self._jobs)
            for _ in range(self._services.settings.max_attempts + 1):
                self._services.attempts.claim(job_id)
                expire_lease(self._services, self._services.jobs.get(job_id))

    def _end(self) -> None:
        if self._jobs:
            job_id = self._chance.choice(self._jobs)
            end = self._chance.choice((self._services.jobs.cancel, self._services.jobs.retry, self._erase))
            end(job_id)

    def _erase(self, job_id: str) -> None:
        self._jobs.remove(job_id)
        erase(self._services, job_id)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_between_two_steps_is_counted(services: Services, seed: int) -> None:
    life = Life(services, seed)
    for _ in range(20):
        life.go_on()
    for wrong in lanes.reconcile(services.redis):
        assert wrong == 0
        life.go_on()
    services.redis.delete(*HASHES)
    services.redis.hset(lane_totals(Lane.BULK), "jobs", 99)
    found = 0
    for wrong in lanes.reconcile(services.redis):
        found += wrong
        life.go_on()
    assert found > 0
    assert reconcile(services) == 0


def test_a_step_reads_a_few_records_however_many_there_are(services: Services) -> None:
    for seed in range(12):
        submit(services, seed, list(Lane)[seed % 2], f"{seed % 3}" * 40)
    services.redis.config_resetstat()
    read = []
    for _ in lanes.reconcile(services.redis):
        counted = services.redis.info("commandstats").get("cmdstat_hmget", {"calls": 0})
        read.append(int(counted["calls"]))
        services.redis.config_resetstat()
    assert max(read) == lanes.PAGE
    assert sum(read) == 24, "each job on its list, and to be counted"


@pytest.mark.usefixtures("jobs")
def test_a_node_that_wakes_after_another_has_taken_over_changes_nothing(services: Services) -> None:
    right = bookkeeping(services)
    sleeper = lanes.reconcile(services.redis)
    while not services.redis.exists(RECOUNT):
        next(sleeper)
    assert next(sleeper) == 0, "it has counted some"
    other = lanes.reconcile(services.redis)
    while services.redis.hget(RECOUNT, "counted_until") != "1e+300":
        next(other)
    assert sum(sleeper) == 0
    assert sum(other) == 0
    assert bookkeeping(services) == right


def test_jobs_whose_expiry_is_not_known_any_more_expire_and_count(services: Services, jobs: dict[str, Job]) -> None:
    right = bookkeeping(services)
    services.redis.delete(EXPIRY)
    assert reconcile(services) == 9
    assert bookkeeping(services) == right
    for job in jobs.values():
        until = None if job.id == jobs["canceled"].id else job.expires_at  # nothing names one that has ended
        assert services.redis.zscore(EXPIRY, job.id) == until


def waiting_photo(services: Services, album: Album, seed: int) -> Job:
    photo = BytesIO(photo_bytes(seed=seed))
    return add_photo(services, album, f"{seed}.png", photo, Numbering()).require_job()


class TestAlbums:
    @pytest.fixture
    def album(self, services: Services) -> str:
        """An album of five waiting photos; the records of all but one are missing or damaged."""
        style = services.styles["hinata-light"]
        album = start_album(services, "public", "Summer", style, Options(512, Format.JPEG))
        jobs = [waiting_photo(services, album, seed) for seed in range(5)]
        _, gone, damaged, no_text, no_hash = (f"sakuga:job:{job.id}" for job in jobs)
        services.redis.delete(gone)
        services.redis.hset(damaged, "state", "{")
        services.redis.hset(no_text, "state", b"\xff")
        services.redis.set(no_hash, "x")
        return album.id

    def test_is_recounted_while_nothing_happens_in_it(
        self, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reconcile_all(services)
        assert services.albums.counts(album)[State.QUEUED] == 5, "something has just happened"
        monkeypatch.setattr(reconciliation, "STILL_S", -1)
        services.redis.delete(RECONCILED)
        reconcile_all(services)
        counts = services.albums.counts(album)
        assert (counts[State.QUEUED], counts[State.EXPIRED], sum(counts.values())) == (1, 4, 5)
        assert services.albums.unnotified(10) == [album]
        assert not recount(services.redis, services.clock, services.jobs, album)

    def test_of_a_newer_release_count_as_they_are(
        self, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconciliation, "STILL_S", -1)
        (there,) = (entry.job for entry in services.albums.entries(album) if entry.job)
        services.redis.hset(f"sakuga:job:{there.id}", items=["version", str(RECORD_VERSION + 1), "mood", "happy"])
        assert recount(services.redis, services.clock, services.jobs, album)
        assert services.albums.counts(album)[State.QUEUED] == 1

    def test_that_are_as_counted_are_left_alone(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconciliation, "STILL_S", -1)
        style = services.styles["hinata-light"]
        album = start_album(services, "public", None, style, Options(512, Format.JPEG))
        assert list(unsettled(services.redis, [album_counts(album.id)])) == []
        jobs = [waiting_photo(services, album, seed) for seed in (1, 2)]
        services.attempts.claim(jobs[0].id)
        assert list(unsettled(services.redis, [album_counts(album.id)])) == [album.id]
        assert not recount(services.redis, services.clock, services.jobs, album.id)
        assert services.albums.counts(album.id)[State.RUNNING] == 1
        for job in jobs:
            services.jobs.cancel(job.id)


@pytest.mark.usefixtures("jobs")
def test_one_node_reconciles_now_and_then_and_logs_what_it_found(services: Services) -> None:
    services.redis.hincrby(lane_totals(Lane.BULK), "jobs", 3)
    with capture_logs() as logs:
        reconcile_all(services)
    assert [entry["wrong"] for entry in logs if entry["log_level"] == "warning"] == [1]
    services.redis.hincrby(lane_totals(Lane.BULK), "jobs", 3)
    reconcile_all(services)
    assert services.lanes.stats(Lane.BULK).jobs == 9
    assert 0 < services.redis.ttl(RECONCILED) <= RECONCILE_S
    services.redis.delete(RECONCILED)
    reconcile_all(services)
    assert services.lanes.stats(Lane.BULK).jobs == 6
