"""Reconciliation: lists and totals that drifted from the records agree with them again."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from structlog.testing import capture_logs

from shared.albums import reconciliation
from shared.albums.reconciliation import recount, unsettled
from shared.albums.record import Album
from shared.conversion import Options
from shared.errors import DamagedPhotoError
from shared.jobs.record import Job, Lane, State
from shared.photos.formats import Format
from shared.record_codec import RECORD_VERSION
from shared.redis_keys import FLOW_PIXELS, FLOW_PREFIX, FLOWS, LEASES, OUTSTANDING, RECONCILED, lane_sent, lane_totals
from shared.scheduling.reconciliation import reconcile
from shared.services import Services
from shared.usecases import maintenance
from shared.usecases.albums import start_album
from shared.usecases.dispatch import dispatch
from shared.usecases.jobs import erase
from shared.usecases.maintenance import RECONCILE_S
from shared.usecases.recovery import resend_lost
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from shared.usecases.uploads import Numbering, add_photo
from tests.conftest import photo_bytes

LISTS = (lane_sent(Lane.INTERACTIVE), lane_sent(Lane.BULK), LEASES)
HASHES = (lane_totals(Lane.INTERACTIVE), lane_totals(Lane.BULK), FLOW_PIXELS, OUTSTANDING)


def submit(services: Services, seed: int, lane: Lane = Lane.INTERACTIVE, album: str | None = None) -> Job:
    order = Order("hinata-light", Options(512, Format.JPEG), lane=lane, album=album, name=f"{seed}.png")
    return submit_photo(services, BytesIO(photo_bytes((300 + 20 * seed, 300), seed=seed)), order)


def bookkeeping(services: Services) -> dict[str, object]:
    """Return all lists and totals of unfinished jobs; of the two totals of work only the difference matters."""
    kept: dict[str, object] = {key: set(services.redis.zrange(key, 0, -1)) for key in LISTS}
    for key in HASHES:
        totals = {str(name): int(value) for name, value in services.redis.hgetall(key).items()}
        totals["left"] = totals.pop("submitted_ms", 0) - totals.pop("finished_ms", 0)
        kept[key] = totals
    for flow in map(str, services.redis.zrange(FLOWS, 0, -1)):
        kept[flow] = set(services.redis.lrange(f"{FLOW_PREFIX}{flow}", 0, -1))
    return kept


def jobs_in_every_state(services: Services) -> dict[str, Job]:
    """Jobs in every state: in both lanes and two albums, in the backlog, queued, running, ended."""
    jobs = {
        "waiting": submit(services, 0),
        "running": submit(services, 1),
        "canceled": submit(services, 2),
        "sent": submit(services, 3, Lane.BULK, "a" * 40),
        "sent too": submit(services, 4, Lane.BULK, "b" * 40),
        "working": submit(services, 5, Lane.BULK, "b" * 40),
        "in the backlog": submit(services, 6, Lane.BULK, "a" * 40),
        "behind it": submit(services, 7, Lane.BULK, "a" * 40),
        "of nobody": submit(services, 8, Lane.BULK),
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
    assert reconcile(services.redis) == 0
    DRIFT[drift](services)
    assert reconcile(services.redis) > 0
    assert bookkeeping(services) == right
    assert reconcile(services.redis) == 0


@pytest.mark.parametrize("loss", ["nothing", "damaged", "no hash"])
@pytest.mark.parametrize("lost", ["waiting", "running", "sent", "working", "in the backlog", "of nobody"])
def test_a_job_without_a_record_counts_nowhere(services: Services, jobs: dict[str, Job], lost: str, loss: str) -> None:
    record = f"sakuga:job:{jobs[lost].id}"
    if loss == "damaged":
        services.redis.hset(record, "pixels", "{")
    else:
        services.redis.delete(record)
    if loss == "no hash":
        services.redis.set(record, "x")
    assert reconcile(services.redis) > 0
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
    assert reconcile(services.redis) == 0
    assert services.lanes.stats(Lane.BULK).jobs == 5


def test_records_of_a_newer_release_count_as_they_are(services: Services, jobs: dict[str, Job]) -> None:
    for job in jobs.values():
        newer = ["version", str(RECORD_VERSION + 1), "mood", "happy", "photo", "elsewhere"]
        services.redis.hset(f"sakuga:job:{job.id}", items=newer)
    right = bookkeeping(services)
    assert reconcile(services.redis) == 0
    services.redis.delete(*HASHES)
    services.redis.hset(lane_totals(Lane.BULK), "jobs", 99)
    assert reconcile(services.redis) > 0
    assert bookkeeping(services) == right
    assert services.lanes.stats(Lane.BULK).jobs == 5


@pytest.mark.usefixtures("jobs")
def test_jobs_missing_from_every_list_are_queued_again(services: Services) -> None:
    services.redis.delete(*LISTS, *services.redis.keys("sakuga:backlog*"), *Lane)
    assert reconcile(services.redis) == 8
    services.workers.heartbeat("host/1")
    dispatch(services)
    resend_lost(services)
    messages = [message for lane in Lane for message in services.redis.lrange(lane, 0, -1)]
    sent = {json.loads(str(message))["headers"]["id"] for message in messages}
    assert len(sent) == 5, "what waits alone, what ran, and two of bulk"
    assert services.lanes.stats(Lane.BULK).jobs == 5


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
            found.append(reconcile(services.redis))
    for one in lives:
        one.result()
    assert set(found) == {0}
    assert reconcile(services.redis) == 0


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
        maintenance.reconcile(services)
        assert services.albums.counts(album)[State.QUEUED] == 5, "something has just happened"
        monkeypatch.setattr(reconciliation, "STILL_S", -1)
        services.redis.delete(RECONCILED)
        maintenance.reconcile(services)
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
        assert list(unsettled(services.redis)) == []
        jobs = [waiting_photo(services, album, seed) for seed in (1, 2)]
        services.attempts.claim(jobs[0].id)
        assert list(unsettled(services.redis)) == [album.id]
        assert not recount(services.redis, services.clock, services.jobs, album.id)
        assert services.albums.counts(album.id)[State.RUNNING] == 1
        for job in jobs:
            services.jobs.cancel(job.id)


@pytest.mark.usefixtures("jobs")
def test_one_node_reconciles_now_and_then_and_logs_what_it_found(services: Services) -> None:
    services.redis.hincrby(lane_totals(Lane.BULK), "jobs", 3)
    with capture_logs() as logs:
        maintenance.reconcile(services)
    assert [entry["wrong"] for entry in logs if entry["log_level"] == "warning"] == [1]
    services.redis.hincrby(lane_totals(Lane.BULK), "jobs", 3)
    maintenance.reconcile(services)
    assert services.lanes.stats(Lane.BULK).jobs == 8
    assert 0 < services.redis.ttl(RECONCILED) <= RECONCILE_S
    services.redis.delete(RECONCILED)
    maintenance.reconcile(services)
    assert services.lanes.stats(Lane.BULK).jobs == 5
