"""Large albums are canceled, erased and retried by workers: soon, observably, and nobody waits for those of others."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from cli.keys import Allowance, create_caller
from shared.albums.walks import CLAIM_S, PUT_OFF_S, Action
from shared.callers.api_keys import Scope
from shared.jobs.record import Job, State
from shared.jobs.store import Condition, Jobs
from shared.redis_keys import EXPIRY, WALKS
from shared.services import Services
from shared.usecases import walks
from shared.usecases.walking import Walking
from tests.albums import body, put
from tests.answers import ALBUMS, problem
from tests.conftest import as_subclass, photo_bytes, with_queue_limit
from web.app import create_app

PHOTOS = 5  # more than a page


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "PAGE", 2)


@pytest.fixture
def album(client: FlaskClient) -> str:
    return filled(client)


def filled(client: FlaskClient, photos: int = PHOTOS) -> str:
    album = str(client.post(ALBUMS, json={}).headers["Location"])
    for seed in range(photos):
        put(client, album, f"{seed}.png", seed)
    return album


def fail_all(services: Services) -> None:
    for job_id in services.redis.zrange(EXPIRY, 0, -1):
        services.jobs.change(str(job_id), lambda job: job.model_copy(update={"state": State.FAILED}))


def test_a_large_album_is_canceled_by_a_worker(client: FlaskClient, services: Services, album: str) -> None:
    asked = client.post(f"{album}/cancel")
    assert (asked.status_code, body(asked)["pending"]) == (202, ["cancel"])
    assert body(asked)["counts"]["canceled"] == 0
    assert client.post(f"{album}/cancel").status_code == 202
    Walking(services).advance()
    found = body(client.get(album))
    assert (found["pending"], found["counts"]["canceled"]) == ([], PHOTOS)
    assert services.redis.exists(WALKS) == 0


def test_a_large_album_is_erased_by_a_worker_and_closed_until_then(
    client: FlaskClient, services: Services, album: str
) -> None:
    asked = client.delete(album)
    assert (asked.status_code, body(asked)["pending"]) == (202, ["erase"])
    assert body(client.get(album))["pending"] == ["erase"]
    late = client.put(f"{album}/photos/late.png", data=photo_bytes(), content_type="image/png")
    assert problem(late) == (404, "unknown_album")
    Walking(services).advance()
    assert problem(client.get(album)) == (404, "unknown_album")
    assert services.redis.keys("sakuga:job:*") + services.redis.keys("sakuga:album:*") == []


def test_a_large_album_is_retried_by_a_worker_and_its_events_go_on(
    client: FlaskClient, services: Services, album: str
) -> None:
    fail_all(services)
    assert body(client.post(f"{album}/retry"))["pending"] == ["retry"]
    last = services.albums.last_event(album.rsplit("/", 1)[1])
    with client.get(f"{album}/events", headers={"Last-Event-ID": last}) as events:
        assert events.status_code == 200
        assert '"pending":["retry"]' in next(events.iter_encoded()).decode()
        Walking(services).advance()
    assert body(client.get(album))["counts"]["queued"] == PHOTOS


def test_what_was_asked_last_counts(client: FlaskClient, services: Services, album: str) -> None:
    fail_all(services)
    client.post(f"{album}/retry")
    assert body(client.post(f"{album}/cancel"))["pending"] == ["cancel"]
    assert body(client.post(f"{album}/retry"))["pending"] == ["retry"]


def test_a_walk_that_is_not_wanted_any_more_stops(
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.usecases.walking.TURN_S", 0)
    fail_all(services)
    client.post(f"{album}/retry")
    walking = Walking(services)
    walking.advance()
    client.post(f"{album}/cancel")
    for _ in range(9):
        walking.advance()
    assert body(client.get(album))["counts"]["queued"] == 0


@pytest.mark.parametrize("is_large", [True, False])
def test_a_cancel_that_is_under_way_when_a_retry_is_asked_for_undoes_nothing_of_it(
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch, *, is_large: bool
) -> None:
    if not is_large:
        monkeypatch.setattr(walks, "PAGE", PHOTOS)

    class Overtaken(Jobs):
        canceled = 0

        def cancel(self, job_id: str, *, condition: Condition | None = None) -> Job:
            Overtaken.canceled += 1
            if Overtaken.canceled == PHOTOS // 2:
                client.post(f"{album}/retry")
                Walking(services).advance()
            return super().cancel(job_id, condition=condition)

    slow = replace(services, jobs=as_subclass(services.jobs, Overtaken))
    create_app(slow).test_client().post(f"{album}/cancel")
    Walking(slow).advance()
    found = body(client.get(album))
    assert (found["pending"], found["counts"]["queued"]) == ([], PHOTOS)


def test_a_cancel_is_not_wanted_any_more_when_a_request_retries_at_once(
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post(f"{album}/cancel")
    monkeypatch.setattr(walks, "PAGE", PHOTOS)  # as if some had been deleted meanwhile
    assert body(client.post(f"{album}/retry"))["pending"] == []
    Walking(services).advance()
    assert body(client.get(album))["counts"]["queued"] == PHOTOS


def test_a_walk_that_is_asked_for_again_after_its_opposite_begins_anew(
    client: FlaskClient, services: Services, album: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.usecases.walking.TURN_S", 0)
    client.post(f"{album}/cancel")
    walking = Walking(services)
    walking.advance()  # a page
    client.post(f"{album}/retry")
    Walking(services).advance()
    client.post(f"{album}/cancel")
    for _ in range(9):
        walking.advance()
    found = body(client.get(album))
    assert (found["pending"], found["counts"]["canceled"]) == ([], PHOTOS)


def test_photos_that_are_still_to_stop_are_retried_too(client: FlaskClient, services: Services, album: str) -> None:
    running = services.attempts.claim(str(services.redis.zrange(EXPIRY, 0, 0)[0]))
    assert running is not None
    for asked in ("cancel", "retry"):
        client.post(f"{album}/{asked}")
        Walking(services).advance()
    services.attempts.stop(running)
    assert services.jobs.get(running.id).state is State.QUEUED


@pytest.fixture
def two_clients(guarded: Services, key_file: Path) -> tuple[FlaskClient, FlaskClient]:
    """The clients of two callers."""
    allowance = Allowance((Scope.SUBMIT, Scope.READ))
    keys = [create_caller(key_file, name, allowance, expires_in=None)[0] for name in ("mallory", "alice")]
    clients = create_app(guarded).test_client(), create_app(guarded).test_client()
    for client, key in zip(clients, keys, strict=True):
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return clients


def three_walks_and_one(mallory: FlaskClient, alice: FlaskClient) -> tuple[list[str], str]:
    """Have one caller delete three albums, and then another caller one."""
    many, one = [filled(mallory) for _ in range(3)], filled(alice, 3)
    for album in many:
        mallory.delete(album)
    alice.delete(one)
    return many, one


def test_callers_take_turns(
    guarded: Services, two_clients: tuple[FlaskClient, FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.usecases.walking.TURN_S", 0)  # a round at a time
    mallory, alice = two_clients
    many, one = three_walks_and_one(mallory, alice)
    walking = Walking(guarded)
    for _ in range(3):
        walking.advance()
    assert alice.get(one).status_code == 404
    assert [mallory.get(album).status_code for album in many] == [200] * 3
    for _ in range(20):
        walking.advance()
    assert [mallory.get(album).status_code for album in many] == [404] * 3


def test_a_caller_with_many_walks_leaves_room_for_those_of_others(
    guarded: Services,
    two_clients: tuple[FlaskClient, FlaskClient],
    monkeypatch: pytest.MonkeyPatch,
    advance_clock: Callable[[float], None],
) -> None:
    monkeypatch.setattr("shared.usecases.walking.TURN_S", 0)
    monkeypatch.setattr("shared.usecases.walking.CLAIMED", 2)
    monkeypatch.setattr("shared.usecases.walking.CLAIMED_PER_CALLER", 1)
    mallory, alice = two_clients
    many, one = three_walks_and_one(mallory, alice)
    walking = Walking(guarded)
    for _ in range(5):
        walking.advance()
    assert alice.get(one).status_code == 404
    assert [mallory.get(album).status_code for album in many[1:]] == [200] * 2
    for _ in range(20):
        advance_clock(PUT_OFF_S)
        walking.advance()
    assert [mallory.get(album).status_code for album in many] == [404] * 3


def test_the_walk_of_a_node_that_dies_is_begun_anew(
    client: FlaskClient, services: Services, album: str, advance_clock: Callable[[float], None]
) -> None:
    client.delete(album)
    assert [walk.action for walk in services.walks.claim(9)] == [Action.ERASE]
    Walking(services).advance()
    assert client.get(album).status_code == 200, "another node is at it"
    advance_clock(CLAIM_S + 1)
    Walking(services).advance()
    assert client.get(album).status_code == 404


def test_photos_that_the_queue_has_no_room_for_are_retried_later(
    client: FlaskClient, services: Services, album: str, advance_clock: Callable[[float], None]
) -> None:
    fail_all(services)
    client.post(f"{album}/retry")
    Walking(with_queue_limit(services, 0.02)).advance()
    assert 0 < body(client.get(album))["counts"]["queued"] < PHOTOS
    assert body(client.get(album))["pending"] == ["retry"]
    advance_clock(CLAIM_S + 1)
    Walking(services).advance()
    assert body(client.get(album))["counts"]["queued"] == PHOTOS
