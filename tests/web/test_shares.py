"""The share of each caller: one that takes much is charged for it, and others notice nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Barrier

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope, read_keys
from shared.scheduling import admission
from shared.scheduling.admission import MAX_MEMORY
from shared.scheduling.room import ALBUM_BYTES, HOUR_S, JOB_BYTES, refusal_size
from shared.services import Services
from shared.settings import WEB_THREADS
from tests.answers import ALBUMS, JOBS, body, problem
from tests.conftest import photo_bytes, wait_until
from web.app import create_app
from web.held_requests import SlotPool

EVERYTHING = Allowance((Scope.SUBMIT, Scope.READ))


@dataclass
class Callers:
    """Two callers of one web server."""

    app: Flask
    mallory: FlaskClient
    alice: FlaskClient

    @property
    def clients(self) -> dict[str, FlaskClient]:
        return {"mallory": self.mallory, "alice": self.alice}


@pytest.fixture
def callers(guarded: Services, key_file: Path) -> Callers:
    keys = [create_caller(key_file, name, EVERYTHING, expires_in=None)[0] for name in ("mallory", "alice")]
    app = create_app(guarded)
    clients = [app.test_client() for _ in keys]
    for client, key in zip(clients, keys, strict=True):
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return Callers(app, *clients)


def test_each_holder_may_have_as_many_slots_as_are_left() -> None:
    pool = SlotPool(32)

    def taken(holder: str | None) -> int:
        return next(count for count in range(100) if not pool.acquire(holder))

    assert [taken(holder) for holder in ("mallory", "eve", "alice", "bob")] == [16, 8, 4, 2]
    assert taken("mallory") == 0
    pool.release("eve")
    assert taken("carol") == 2
    assert taken(None) == 1


def test_streams_of_one_caller_leave_seats_for_others(callers: Callers, key_file: Path) -> None:
    streams = {name: body(client.post(ALBUMS))["links"]["events"] for name, client in callers.clients.items()}
    pool, mallory = callers.app.extensions["sakuga-slots"], read_keys(key_file).callers[0].id
    held = next(count for count in range(WEB_THREADS) if not pool.acquire(mallory))
    assert held == WEB_THREADS // 4
    assert problem(callers.mallory.get(streams["mallory"])) == (503, "unavailable")
    with callers.alice.get(streams["alice"]) as response:
        assert response.status_code == 200
    pool.release(mallory)
    with callers.mallory.get(streams["mallory"]) as response:
        assert response.status_code == 200


def test_requests_of_one_caller_leave_threads_for_others(callers: Callers) -> None:
    together = Barrier(WEB_THREADS // 2)
    callers.app.get("/slow")(lambda: str(together.wait(30)))
    with ThreadPoolExecutor(WEB_THREADS // 2) as pool:
        slow = [pool.submit(callers.mallory.get, "/slow") for _ in range(WEB_THREADS // 2 - 1)]
        while together.n_waiting < len(slow):
            pass
        last = pool.submit(callers.mallory.get, "/slow")
        assert callers.alice.get(JOBS).status_code == 200
        assert {request.result().status_code for request in [*slow, last]} == {200}
    assert callers.mallory.get(JOBS).status_code == 200


def test_a_caller_with_too_many_requests_at_a_time_is_refused(callers: Callers) -> None:
    inside: list[tuple[int, str]] = []

    def nested() -> str:
        with callers.app.test_client() as client:
            client.environ_base["HTTP_AUTHORIZATION"] = callers.mallory.environ_base["HTTP_AUTHORIZATION"]
            response = client.get("/nested")
        if response.status_code != 200 and not inside:
            inside.append(problem(response))
        return ""

    callers.app.get("/nested")(nested)
    callers.mallory.get("/nested")
    assert inside == [(429, "too_many_requests")]
    assert callers.mallory.get(JOBS).status_code == 200


@pytest.fixture
def _little_memory(guarded: Services, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave Redis room for some hundred jobs."""
    monkeypatch.setattr(admission, "READ_AGAIN_S", 0)
    before = str(guarded.redis.config_get("maxmemory")["maxmemory"])
    used = int(guarded.redis.info("memory")["used_memory"])
    guarded.redis.config_set("maxmemory", int((used + (800 << 10)) / MAX_MEMORY))
    yield
    guarded.redis.config_set("maxmemory", before)


def refused_photos(client: FlaskClient, album: str, count: int) -> TestResponse:
    """Send photos that are not accepted, under long names."""
    folder = "/".join(["x" * 230] * 7)
    files = [(BytesIO(b"no photo"), f"{folder}/{number}.png") for number in range(count)]
    return client.post(f"{album}/photos", data={"photos": files})


@pytest.mark.usefixtures("_little_memory")
def test_refused_photos_of_one_caller_leave_memory_for_others(callers: Callers) -> None:
    album = body(callers.mallory.post(ALBUMS))["links"]["self"]
    refused: list[str] = []
    while "Your jobs and albums" not in "".join(refused):
        sent = body(refused_photos(callers.mallory, album, 10))
        refused = [one["error"]["detail"] for one in sent["rejected"]]
    assert problem(send(callers.mallory)) == (503, "queue_full")
    assert send(callers.alice).status_code == 202
    assert callers.mallory.delete(album).status_code == 204
    wait_until(lambda: send(callers.mallory).status_code == 202, "what was deleted has made room")


def test_what_a_caller_takes_is_counted_until_it_is_erased_or_has_expired(
    callers: Callers, guarded: Services, key_file: Path, advance_clock: Callable[[float], None]
) -> None:
    mallory = read_keys(key_file).callers[0].id
    album = body(callers.mallory.post(ALBUMS))["links"]["self"]
    job = body(send(callers.mallory))["links"]["self"]
    assert guarded.room.taken(mallory) == ALBUM_BYTES + len("NoneNone") + JOB_BYTES
    callers.mallory.delete(album)
    callers.mallory.delete(job)
    assert guarded.room.taken(mallory) == 0
    refused_photos(callers.mallory, body(callers.mallory.post(ALBUMS))["links"]["self"], 1)
    assert guarded.room.taken(mallory) > 6000
    advance_clock(guarded.settings.ttl_s + 2 * HOUR_S)
    assert guarded.room.taken(mallory) == 0


def test_a_refused_photo_is_counted_once_and_no_longer_once_another_has_its_name(
    callers: Callers, guarded: Services, key_file: Path
) -> None:
    mallory = read_keys(key_file).callers[0].id
    album = body(callers.mallory.post(ALBUMS))["links"]["self"]
    photo = f"{album}/photos/a.png"
    empty = guarded.room.taken(mallory)
    taken = []
    for bad in (b"no photo", b"no photo", b"none either"):
        assert callers.mallory.put(photo, data=bad, content_type="image/png").status_code == 415
        taken.append(guarded.room.taken(mallory) - empty)
    assert taken == 3 * [refusal_size("a.png")]
    assert callers.mallory.put(photo, data=photo_bytes(), content_type="image/png").status_code == 202
    assert guarded.room.taken(mallory) - empty < JOB_BYTES + refusal_size("a.png")
    callers.mallory.delete(album)
    assert guarded.room.taken(mallory) == 0


def send(client: FlaskClient) -> TestResponse:
    return client.post(JOBS, data=photo_bytes(), content_type="image/png")
