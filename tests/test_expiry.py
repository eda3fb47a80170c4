"""No key stays in Redis forever: each has a time to live, an index that removes it, or a reason to stay."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest
from flask.testing import FlaskClient
from redis import Redis

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope
from shared.drawing import ProgressCallback, Tensor
from shared.jobs.record import Lane
from shared.redis_keys import (
    ALBUMS_ENDED,
    ETA_ERROR,
    EXPIRY,
    FLOWS,
    LEASES,
    OUTSTANDING,
    PACE,
    QUARANTINE,
    REFERENCES,
    RESERVATIONS,
    SINGLES,
    SLOWDOWN,
    TOTALS,
    WALKS,
    WEBHOOKS_DUE,
    WORKERS,
    lane_sent,
    lane_totals,
)
from shared.scheduling.fair_queue import FLOWS_OF
from shared.services import Services, connect
from shared.storage.disk import DiskStore
from shared.storage.references import References
from shared.usecases import maintenance, walks
from shared.usecases.albums import notify_finished
from shared.usecases.dispatch import dispatch
from shared.usecases.jobs import erase, retry
from shared.usecases.maintenance import Reconciliation, expire_due
from shared.usecases.recovery import resend_lost
from shared.usecases.walking import Walking
from tests.albums import body, put, upload
from tests.answers import ALBUMS
from tests.conftest import ROOT, ToyEngine, expire_lease, photo_bytes
from tests.shared.webhooks.test_webhooks import Receiver, receiver  # noqa: F401  a fixture
from web.app import create_app
from worker import tasks

JOBS = "/api/v1/jobs"
NOBODY = "http://localhost:9/"  # a webhook without a receiver
MOST = Allowance((Scope.SUBMIT, Scope.READ), requests_per_minute=10_000, megapixels_per_day=1000)

# Nothing removes these keys; the reasons why none of them grows.
STAY = {
    TOTALS: "counters since the beginning, under a few names",
    PACE: "one number for each style",
    ETA_ERROR: "one number",
    SLOWDOWN: "one number",
    WORKERS: "processes; a node that starts drops those that were silent for an hour",
    lane_totals(Lane.INTERACTIVE): "four counters",
    lane_totals(Lane.BULK): "four counters",
}
# These become empty, and so disappear, once everything they name has ended; the code that removes an entry.
INDEXES = {
    EXPIRY: "the job expires or is erased",
    QUARANTINE: "the job expires, is erased or retried",
    LEASES: "the attempt ends",
    REFERENCES: "the object is let go of",
    lane_sent(Lane.INTERACTIVE): "the job begins or ends",
    lane_sent(Lane.BULK): "the job begins or ends",
    **{keys.parties: "it has no jobs when its turn comes" for keys in FLOWS_OF.values()},
    **{keys.pixels: "its last job begins or ends" for keys in FLOWS_OF.values()},
    **{keys.outstanding: "its last job ends" for keys in FLOWS_OF.values()},
    ALBUMS_ENDED: "somebody has looked whether it has ended",
    WALKS: "every photo of the album has been looked at, or the opposite is asked for",
    WEBHOOKS_DUE: "the message was delivered, or is given up",
    RESERVATIONS: "the photo is admitted or refused, or a reconciliation ends it",
}


def is_named(redis: Redis, key: str) -> bool:
    """Return whether an index names the owner of a key without a time to live."""
    match key.split(":", 2)[1:]:
        case ["job", rest]:
            return redis.zscore(EXPIRY, rest.removesuffix(":events")) is not None
        case ["referrers", stored]:
            referrers = map(str, redis.smembers(key))
            return all(redis.zscore(REFERENCES, f"{referrer} {stored}") is not None for referrer in referrers)
        case ["flow", flow]:
            return any(redis.zscore(key, flow) is not None for key in redis.scan_iter(f"{FLOWS}*", _type="zset"))
        case ["flows" | "outstanding" as kind, party]:
            return redis.zscore(FLOWS, party) is not None if kind == "flows" else redis.hexists(OUTSTANDING, party)
        case ["single", caller]:
            return redis.zscore(SINGLES, caller) is not None
    return False


def lasting(redis: Redis) -> set[str]:
    """Return the keys without a time to live."""
    return {str(key) for key in redis.scan_iter("sakuga:*") if redis.ttl(key) == -1}


@dataclass
class Watch:
    """The keys seen in Redis, and those of them that nothing would have removed."""

    redis: Redis
    seen: set[str] = field(default_factory=set)
    stray: set[str] = field(default_factory=set)

    def look(self) -> None:
        self.seen |= {str(key) for key in self.redis.scan_iter("sakuga:*")}
        suspects = lasting(self.redis) - STAY.keys() - INDEXES.keys()
        self.stray |= {key for key in suspects if not is_named(self.redis, key)}


@dataclass
class Place:
    """A service with a caller, whose Redis is inspected after every step, and in the middle of long ones."""

    services: Services
    client: FlaskClient
    watch: Watch

    def __post_init__(self) -> None:
        """Let it be a node's."""
        self.reconciliation = Reconciliation(self.services)

    def send(self, seed: int, key: str | None = None) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        return self.post(JOBS, photo_bytes(seed=seed), headers)

    def post(self, path: str, photo: bytes, headers: dict[str, str] | None = None) -> str:
        return str(body(self.client.post(path, data={"photo": (BytesIO(photo), "a.png")}, headers=headers))["id"])

    def start_album(self, webhook: str | None = None) -> str:
        return str(self.client.post(ALBUMS, json={"webhook": webhook} if webhook else {}).headers["Location"])

    def claim(self, job_id: str) -> None:
        assert self.services.attempts.claim(job_id, "host/1") is not None

    def work(self) -> None:
        """Convert all waiting jobs, as a worker does."""
        self.services.workers.heartbeat("host/1")
        while message := next((found for lane in Lane if (found := self.services.redis.rpop(lane))), None):
            tasks.convert(json.loads(str(message))["headers"]["id"], self.services, lambda _: self._engine())

    def sweep(self) -> None:
        """Run the periodic housekeeping of a worker node."""
        services = self.services
        for step in (resend_lost, dispatch, notify_finished, expire_due):
            step(services)
        self.reconciliation.advance()
        while self.reconciliation.is_under_way:
            self.watch.look()
            self.reconciliation.advance()
        Walking(services).advance()
        services.references.release_expired()
        services.webhooks.send_due()

    def _engine(self) -> ToyEngine:
        watch = self.watch

        class Watched(ToyEngine):
            def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
                watch.look()
                return super().generate(photo, report)

        return Watched()


@pytest.fixture
def place(guarded: Services, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(maintenance, "STEPS_AT_ONCE", 1)
    monkeypatch.setattr(walks, "PAGE", 4)  # fewer photos than any album has
    settings = guarded.settings.model_copy(update={"webhook_hosts": "localhost"})
    services = connect(settings)
    watch = Watch(services.redis)

    class Watched(DiskStore):
        def put(self, key: str, data: bytes | BinaryIO, *, content_type: str) -> None:
            watch.look()
            super().put(key, data, content_type=content_type)

    store = Watched(settings.data_dir / "store")
    services = replace(services, store=store, references=References(services.redis, services.clock, store))
    key, _ = create_caller(key_file, "alice", MOST, expires_in=None)
    client = create_app(services).test_client()
    assert client.post("/", data={"key": key}).status_code == 303  # begins a session
    yield Place(services, client, watch)
    services.redis.close()


def broken_photo() -> bytes:
    """A damaged photo that passes inspection and fails in conversion."""
    data = bytearray(photo_bytes((200, 200)))
    data[60:-60] = bytes(len(data) - 120)
    return bytes(data)


def convert_photos(place: Place) -> None:
    place.send(1, "key")
    place.send(1)  # shares the picture
    place.post(JOBS, broken_photo())
    place.work()


def cancel_and_erase(place: Place) -> None:
    waiting, running, erased = (place.send(seed) for seed in (2, 3, 4))
    for job_id in (running, erased):
        place.claim(job_id)
    for job_id in (waiting, running):
        place.client.post(f"{JOBS}/{job_id}/cancel")
    place.services.attempts.stop(place.services.jobs.get(running))
    place.client.delete(f"{JOBS}/{erased}")


def try_again(place: Place) -> None:
    job_id = place.send(5)
    place.claim(job_id)
    place.services.attempts.requeue(place.services.jobs.get(job_id), outage=True)
    place.claim(job_id)
    place.services.attempts.release(job_id, "host/1", counts=False)
    place.client.post(f"{JOBS}/{job_id}/cancel")
    retry(place.services, job_id)
    place.watch.look()
    place.work()


def kill_workers(place: Place) -> None:
    """Exceed the attempts of three photos: one stays in quarantine, one is retried and waits, one is dropped."""
    kept, retried, dropped = (place.send(seed) for seed in (6, 7, 9))
    for job_id in (kept, retried, dropped):
        for _ in range(place.services.settings.max_attempts):
            place.claim(job_id)
            expire_lease(place.services, place.services.jobs.get(job_id))
        assert place.services.attempts.claim(job_id) is None
    place.watch.look()
    retry(place.services, retried)
    erase(place.services, dropped)
    assert [job.id for job in place.services.quarantine.jobs()] == [kept]


def lose_messages(place: Place) -> None:
    job_id = place.send(8)
    place.claim(job_id)
    expire_lease(place.services, place.services.jobs.get(job_id))
    place.services.redis.delete(Lane.INTERACTIVE)
    assert resend_lost(place.services)


def damage_a_record(place: Place) -> None:
    """Damage a record, which is set aside when a worker claims the job."""
    job_id = place.send(10)
    place.services.redis.hset(f"sakuga:job:{job_id}", "state", "{")
    assert place.services.attempts.claim(job_id) is None


def fill_albums(place: Place) -> None:
    album = place.start_album(NOBODY)
    photos = [(f"{seed}.png", photo_bytes(seed=seed)) for seed in range(20, 26)]
    upload(place.client, album, *photos, ("no.txt", b"hi"), ("broken.png", broken_photo()))
    put(place.client, album, "20.png", 30)
    place.watch.look()
    place.work()
    place.sweep()
    body(place.client.post(f"{album}/retry"))


def end_albums(place: Place) -> None:
    canceled, erased, _ = (place.start_album() for _ in range(3))
    for album in (canceled, erased):
        upload(place.client, album, *((f"{seed}.png", photo_bytes(seed=seed)) for seed in range(40, 46)))
    place.watch.look()
    body(place.client.post(f"{canceled}/cancel"))
    place.client.delete(erased)
    place.sweep()


def leave_undone(place: Place) -> None:
    """Leave photos waiting and running forever."""
    for seed in range(60, 70):  # more than are sent at a time
        place.send(seed)
    place.send(50)
    place.claim(place.send(51))
    album = place.start_album(NOBODY)
    upload(place.client, album, *((f"{seed}.png", photo_bytes(seed=seed)) for seed in range(52, 58)))


LIFE = (
    convert_photos,
    cancel_and_erase,
    try_again,
    kill_workers,
    lose_messages,
    damage_a_record,
    fill_albums,
    end_albums,
    leave_undone,
)


def live(place: Place, receiver: Receiver) -> None:  # noqa: F811
    put(place.client, place.start_album(receiver.url), "a.png")
    for step in (*LIFE, Place.sweep):
        step(place)
        place.watch.look()


def let_expire(place: Place, advance_clock: Callable[[float], None]) -> None:
    """Let everything expire, in the service and in Redis."""
    for _ in range(2):  # expiry may leave keys that expire in turn
        advance_clock(place.services.settings.quarantine_ttl_s + 60)
        place.sweep()
        place.watch.look()
        place.work()  # takes the messages of expired jobs
        if expiring := set(place.services.redis.scan_iter("sakuga:*")) - lasting(place.services.redis):
            place.services.redis.delete(*expiring)


def test_every_key_expires_or_is_removed(
    place: Place,
    receiver: Receiver,  # noqa: F811
    advance_clock: Callable[[float], None],
) -> None:
    live(place, receiver)
    assert receiver.received
    assert [
        start for start in key_prefixes_in_the_code() if not any(key.startswith(start) for key in place.watch.seen)
    ] == []
    let_expire(place, advance_clock)
    assert place.watch.stray == set()
    assert set(place.services.redis.scan_iter("sakuga:*")) - STAY.keys() == set()
    assert [path for path in (place.services.settings.data_dir / "store").rglob("*") if path.is_file()] == []


def key_prefixes_in_the_code() -> set[str]:
    """Return the prefixes of all keys named in the code: new ones must be covered here, too."""
    files = [path for part in ("shared", "web", "worker") for path in (ROOT / part).rglob("*.py")]
    return {start for path in files for start in re.findall(r'"(sakuga:[a-z:]+)', path.read_text("utf-8"))}
