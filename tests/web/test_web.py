"""The HTTP API: Flask with the real services, and the task itself in place of a worker."""

import html
import json
import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image
from redis import Redis
from werkzeug.test import TestResponse

from shared.errors import UnavailableError, public_errors
from shared.jobs.events import READ_BLOCK_S
from shared.redis_clock import Clock
from shared.scheduling.lanes import Lanes
from shared.scheduling.workers import Workers
from shared.services import Services, connect
from shared.settings import Settings
from shared.styles import Size, Style, Styles, write_manifest
from shared.usecases.maintenance import expire_due
from tests.answers import ALBUMS, JOBS, body, problem, send
from tests.conftest import ROOT, photo_bytes, wait_until, with_queue_limit
from web import events, readiness
from web.app import create_app
from web.events import KEEP_ALIVE_S, QUEUE_LOOK_S, STILL_HERE
from web.readiness import Check


def send_raw(client: FlaskClient, photo: Path) -> TestResponse:
    return client.post(JOBS, data=photo.read_bytes(), content_type="application/octet-stream")


def test_an_accepted_photo_has_a_location(client: FlaskClient) -> None:
    response = send(client)
    job = body(response)
    assert response.status_code == 202
    assert response.headers["Location"] == job["links"]["self"] == f"{JOBS}/{job['id']}"
    assert int(response.headers["Retry-After"]) >= 1
    assert (job["state"], job["style"], job["max_side"], job["format"]) == ("queued", "hinata-light", 1024, "jpeg")
    assert job["photo"] == {"width": 64, "height": 48, "bytes": len(photo_bytes()), "sha256": job["photo"]["sha256"]}
    assert job["created_at"].endswith("Z")


def test_the_image_itself_may_be_the_body_with_options_in_the_query(client: FlaskClient) -> None:
    response = client.post(f"{JOBS}?max_side=32&format=webp", data=photo_bytes(), content_type="image/png")
    assert response.status_code == 202
    assert (body(response)["max_side"], body(response)["format"]) == (32, "webp")


def test_faces_are_drawn_like_the_rest_on_request(client: FlaskClient) -> None:
    automatic, off = body(send(client)), body(send(client, faces="off"))
    assert (automatic["faces"], off["faces"]) == ("auto", "off")
    assert body(client.get(off["links"]["self"]))["faces"] == "off"


@pytest.mark.parametrize("suffix", [":events", ":items", ":order", ":counts", "%0A", "0"])
def test_an_id_that_would_name_another_key_is_unknown(client: FlaskClient, suffix: str) -> None:
    job, album = body(send(client))["id"], body(client.post(ALBUMS))["id"]
    client.put(f"{ALBUMS}/{album}/photos/a.png", data=photo_bytes(), content_type="image/png")
    assert problem(client.get(f"{JOBS}/{job}{suffix}")) == (404, "unknown_job")
    assert problem(client.get(f"{ALBUMS}/{album}{suffix}")) == (404, "unknown_album")


@pytest.mark.usefixtures("work")
def test_prefer_wait_holds_the_answer_until_the_picture_is_there(client: FlaskClient) -> None:
    response = send(client, headers={"Prefer": "wait=20"})
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=20"
    assert body(response)["state"] == "succeeded"


def test_prefer_wait_answers_with_the_waiting_job_when_the_time_is_over(client: FlaskClient) -> None:
    response = send(client, headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    assert body(response)["state"] == "queued"


@pytest.mark.usefixtures("work")
def test_the_result_is_the_picture_with_its_type_tag_and_ranges(client: FlaskClient) -> None:
    job = body(send(client, headers={"Prefer": "wait=20"}, format="png"))
    response = client.get(job["links"]["result"])
    assert response.content_type == "image/png"
    assert response.headers["Content-Disposition"].startswith('inline; filename="sakuga-')
    saved = client.get(f"{job['links']['result']}?download=true")
    assert saved.headers["Content-Disposition"].startswith('attachment; filename="sakuga-')
    assert response.headers["ETag"] == f'"{job["result"]["sha256"]}"'
    assert Image.open(BytesIO(response.data)).size == (64, 48)
    part = client.get(job["links"]["result"], headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.data) == (206, response.data[:8])
    known = client.get(job["links"]["result"], headers={"If-None-Match": response.headers["ETag"]})
    assert known.status_code == 304


def test_a_result_that_is_not_ready_says_when_to_retry(client: FlaskClient) -> None:
    response = client.get(body(send(client))["links"]["result"])
    assert problem(response) == (409, "not_ready")
    assert int(response.headers["Retry-After"]) >= 1


def test_an_unchanged_job_is_not_sent_again(client: FlaskClient) -> None:
    link = body(send(client))["links"]["self"]
    first = client.get(link)
    assert client.get(link, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    client.post(f"{link}/cancel")
    assert client.get(link, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


@pytest.mark.usefixtures("work")
def test_a_precondition_that_fails_is_explained(client: FlaskClient) -> None:
    links = body(send(client, headers={"Prefer": "wait=20"}))["links"]
    for link in (links["self"], links["result"]):
        assert problem(client.get(link, headers={"If-Match": '"another"'})) == (412, "precondition_failed")


def test_the_same_idempotency_key_gives_the_first_answer_again(client: FlaskClient) -> None:
    first = send(client, headers={"Idempotency-Key": '"abc"'})
    again = send(client, headers={"Idempotency-Key": "abc"})
    assert (again.status_code, body(again)["id"]) == (202, body(first)["id"])
    other = send(client, photo_bytes(seed=1), headers={"Idempotency-Key": "abc"})
    assert problem(other) == (422, "idempotency_key_reused")


def test_cancel_is_idempotent_and_ends_the_job(client: FlaskClient) -> None:
    links = body(send(client))["links"]
    for _ in range(2):
        response = client.post(links["cancel"])
        assert (response.status_code, body(response)["state"]) == (200, "canceled")
    assert problem(client.get(links["result"])) == (409, "no_result")


def test_a_deleted_job_is_gone_with_everything(client: FlaskClient, services: Services, settings: Settings) -> None:
    link = body(send(client))["links"]["self"]
    assert client.delete(link).status_code == 204
    assert problem(client.get(link)) == (404, "unknown_job")
    assert problem(client.delete(link)) == (404, "unknown_job")
    assert services.redis.keys("sakuga:job*") == []
    assert [path for path in (settings.data_dir / "store").rglob("*") if path.is_file()] == []


def test_an_expired_result_is_gone_for_good(client: FlaskClient, services: Services) -> None:
    job = body(send(client))
    services.redis.zadd("sakuga:expiry", {job["id"]: 1})
    expire_due(services)
    assert problem(client.get(job["links"]["result"])) == (410, "expired")


def test_jobs_are_listed_newest_first_in_pages(client: FlaskClient) -> None:
    ids = [body(send(client, photo_bytes(seed=seed)))["id"] for seed in range(3)]
    first = body(client.get(f"{JOBS}?limit=2"))
    second = body(client.get(f"{JOBS}?limit=2&cursor={first['next_cursor']}"))
    assert [job["id"] for page in (first, second) for job in page["jobs"]] == ids[::-1]


@pytest.mark.usefixtures("work")
def test_events_cover_the_whole_life_of_a_job_and_resume(client: FlaskClient) -> None:
    job = body(send(client, headers={"Prefer": "wait=20"}))
    stream = client.get(job["links"]["events"], headers={"Last-Event-ID": "0-0"})
    assert stream.content_type.startswith("text/event-stream")
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in stream.text.strip().split("\n\n")]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("state", "done")
    assert "progress" in kinds
    assert json.loads(events[-1]["data"])["state"] == "succeeded"
    rest = client.get(job["links"]["events"], headers={"Last-Event-ID": events[-2]["id"]})
    assert [line for line in rest.text.splitlines() if line.startswith("event")] == ["event: done"]
    assert client.get(job["links"]["events"], headers={"Last-Event-ID": events[-1]["id"]}).status_code == 204


def test_a_stream_from_now_begins_with_the_state(client: FlaskClient) -> None:
    job = body(send(client))
    stream = client.get(job["links"]["events"], buffered=False)
    text = next(stream.iter_encoded()).decode()
    stream.close()
    assert "event: state" in text
    assert '"position":1' in text


@pytest.mark.parametrize("kind", ["job", "album"])
def test_an_idle_stream_repeats_the_state(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for name in ("KEEP_ALIVE_S", "QUEUE_LOOK_S"):
        monkeypatch.setattr(events, name, 0)
    made = send(client) if kind == "job" else client.post(ALBUMS, json={})
    stream = client.get(f"{made.headers['Location']}/events", buffered=False)
    first, again = (event.decode() for event in islice(stream.iter_encoded(), 2))
    stream.close()
    assert again == STILL_HERE + first


def test_the_page_waits_for_longer_than_a_stream_may_be_silent() -> None:
    script = (ROOT / "web" / "static" / "js" / "stream.js").read_text("utf-8")
    (quiet_ms,) = re.findall(r"LONGEST_QUIET_MS = ([\d_]+);", script)
    assert max(KEEP_ALIVE_S, QUEUE_LOOK_S) + READ_BLOCK_S < int(quiet_ms) / 1000 / 2


def test_too_many_listeners_are_told_to_poll(services: Services) -> None:
    app = create_app(services)
    client = app.test_client()
    job = body(send(client))
    pool = app.extensions["sakuga-slots"]
    while pool.acquire(None):
        pass
    assert problem(client.get(job["links"]["events"])) == (503, "unavailable")
    poll = client.get(job["links"]["self"], headers={"Prefer": "wait=20"})
    assert body(poll)["state"] == "queued"
    assert "Preference-Applied" not in poll.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"])
def test_an_unrecognised_host_name_is_refused(client: FlaskClient, host: str) -> None:
    assert problem(client.get(JOBS, headers={"Host": host})) == (400, "bad_request")
    for own in ("127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:80"):
        assert client.get(JOBS, headers={"Host": own}).status_code == 200


@pytest.mark.parametrize("published", ["127.0.0.1", "[::1]"])
def test_a_container_published_on_loopback_serves_only_the_configured_host_names(
    services: Services, published: str
) -> None:
    plain = services.settings.model_copy(update={"host": "0.0.0.0", "published_at": published})  # noqa: S104
    named = {"store_public_url": "https://Photos.example:8443/", "trusted_hosts": "a.example, b.example"}
    inside = plain.model_copy(update=named)
    client = create_app(replace(services, settings=inside)).test_client()
    own = ["127.0.0.1:8000", "localhost", "[::1]", f"{socket.gethostname()}:8000", "photos.example"]
    for host in [*own, "a.example", "b.example:1"]:
        assert client.get(JOBS, headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "evil.example:8000", "0.0.0.0"):  # noqa: S104
        assert problem(client.get(JOBS, headers={"Host": host})) == (400, "bad_request")
    nameless = create_app(replace(services, settings=plain)).test_client()
    assert problem(nameless.get(JOBS, headers={"Host": "evil.example"})) == (400, "bad_request")
    assert nameless.get(JOBS, headers={"Host": "localhost"}).status_code == 200


def test_a_service_with_configured_host_names_answers_its_own_health_check(services: Services) -> None:
    named = services.settings.model_copy(update={"host": "0.0.0.0", "trusted_hosts": "a.example"})  # noqa: S104
    client = create_app(replace(services, settings=named)).test_client()
    assert client.get("/livez", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    assert problem(client.get("/livez", headers={"Host": "evil.example"})) == (400, "bad_request")


def test_any_host_name_is_served_where_the_operator_allows_it(services: Services) -> None:
    for changed in ({"trusted_hosts": "*"}, {"trusted_hosts": "a.example"}):
        settings = services.settings.model_copy(update=changed)
        client = create_app(replace(services, settings=settings)).test_client()
        assert client.get(JOBS, headers={"Host": "a.example"}).status_code == 200


def test_any_host_name_is_served_where_callers_have_keys(guarded: Services, key_file: Path) -> None:
    key_file.touch()
    settings = guarded.settings.model_copy(update={"host": "0.0.0.0"})  # noqa: S104
    client = create_app(replace(guarded, settings=settings)).test_client()
    assert client.get("/livez", headers={"Host": "a.example"}).status_code == 200


def test_a_service_open_to_anyone_in_a_network_has_no_name_that_a_foreign_page_could_have(services: Services) -> None:
    """A page of evil.example may let that name point at this machine (DNS rebinding)."""
    settings = services.settings.model_copy(update={"host": "0.0.0.0", "allow_anyone": True})  # noqa: S104
    client = create_app(replace(services, settings=settings)).test_client()
    for host in ("192.168.1.5:8000", "[fd00::1]:8000", "nas", "nas.local", "NAS.home.arpa:80", socket.gethostname()):
        assert client.get(JOBS, headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "192.168.1.5.evil.example", "local.evil.example:8000", "evil.example."):
        assert problem(client.get(JOBS, headers={"Host": host})) == (400, "bad_request"), host


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
def test_another_website_can_neither_send_nor_erase(client: FlaskClient, headers: dict[str, str]) -> None:
    link = body(send(client))["links"]["self"]
    assert problem(send(client, headers=headers)) == (403, "cross_site")
    assert problem(client.delete(link, headers=headers)) == (403, "cross_site")
    assert send(client, headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}).status_code == 202


def test_the_referrer_policy_lets_the_pages_own_forms_send_their_origin(client: FlaskClient) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert "referrer" not in answer.text


@pytest.mark.usefixtures("work")
def test_an_unsatisfiable_range_reports_the_length(client: FlaskClient) -> None:
    job = body(send(client, headers={"Prefer": "wait=20"}))
    answer = client.get(job["links"]["result"], headers={"Range": "bytes=9999999-"})
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{job['result']['bytes']}"


def test_a_running_job_that_was_canceled_reports_it(client: FlaskClient, services: Services) -> None:
    job = body(send(client))
    services.attempts.claim(job["id"])
    assert body(client.post(job["links"]["cancel"]))["cancel_requested"] is True


def _send_two(client: FlaskClient) -> TestResponse:
    photos = [(BytesIO(photo_bytes(seed=seed)), f"{seed}.png") for seed in range(2)]
    return client.post(JOBS, data={"photo": photos})


def _send_form(client: FlaskClient, **fields: str) -> TestResponse:
    return client.post(JOBS, data=fields, content_type=FORM)


Broken = tuple[Callable[[FlaskClient], TestResponse], int, str]
FORM = "multipart/form-data"
BROKEN: dict[str, Broken] = {
    "no photo": (lambda client: client.post(JOBS, data={"style": "x"}, content_type=FORM), 400, "bad_request"),
    "empty body": (lambda client: client.post(JOBS, data=b"", content_type="image/png"), 400, "bad_request"),
    "json": (lambda client: client.post(JOBS, json={"photo": "x"}), 415, "not_a_photo"),
    "text": (lambda client: send(client, b"hello, I am no image"), 415, "not_a_photo"),
    "cut short": (lambda client: send(client, photo_bytes((300, 300), "JPEG")[:1200]), 422, "damaged_photo"),
    "tiny": (lambda client: send(client, photo_bytes((8, 8))), 422, "unusable_photo"),
    "unknown style": (lambda client: send(client, style="nope"), 422, "unknown_style"),
    "side too long": (lambda client: send(client, max_side="8193"), 422, "invalid_value"),
    "side no number": (lambda client: send(client, max_side="big"), 422, "invalid_value"),
    "two photos": (_send_two, 400, "bad_request"),
    "a photo as text": (lambda client: _send_form(client, photo="cat.jpg"), 400, "bad_request"),
    "many fields": (lambda client: _send_form(client, **{f"f{n}": "x" for n in range(20)}), 400, "bad_request"),
    "a cursor of nowhere": (lambda client: client.get(f"{JOBS}?cursor=nan-x"), 422, "invalid_value"),
    "a cursor of nobody": (lambda client: client.get(f"{JOBS}?cursor=zzz"), 422, "invalid_value"),
    "an event of nobody": (
        lambda client: client.get(f"{JOBS}/x/events", headers={"Last-Event-ID": "99999999999999999999-0"}),
        404,
        "unknown_job",
    ),
    "unknown field": (lambda client: send(client, max_size="64"), 422, "unknown_field"),
    "an unknown query": (lambda client: client.get("/api/v1/styles?size=light"), 422, "unknown_field"),
    "a query beside JSON": (lambda client: client.post("/api/v1/albums?name=x", json={}), 422, "unknown_field"),
    "unknown and out of range": (lambda client: send(client, max_size="64", max_side="1"), 422, "invalid_value"),
    "unknown format": (lambda client: send(client, format="tiff"), 422, "invalid_value"),
    "unknown faces": (lambda client: send(client, faces="on"), 422, "invalid_value"),
    "long key": (lambda client: send(client, headers={"Idempotency-Key": "k" * 300}), 422, "invalid_value"),
    "no such job": (lambda client: client.get(f"{JOBS}/{'0' * 40}"), 404, "unknown_job"),
    "no such page": (lambda client: client.get("/api/v1/nothing"), 404, "not_found"),
    "wrong method": (lambda client: client.put(JOBS), 405, "method_not_allowed"),
    "an origin that is no address": (lambda client: send(client, headers={"Origin": "http://["}), 400, "bad_request"),
    "deep json": (lambda client: client.post(ALBUMS, data=b"[" * 100_000), 400, "bad_request"),
    "long json": (lambda client: client.post(ALBUMS, data=b" " * (2 << 20) + b"{}"), 400, "bad_request"),
    "limit": (lambda client: client.get(f"{JOBS}?limit=0"), 422, "invalid_value"),
    "no such style": (lambda client: client.get("/api/v1/styles/nope/preview"), 404, "unknown_preview"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_bad_input_gets_a_clear_problem(client: FlaskClient, services: Services, case: str) -> None:
    request, status, code = BROKEN[case]
    assert problem(request(client)) == (status, code)
    assert services.redis.keys("sakuga:job*") == []


def test_a_value_out_of_range_names_the_field_and_what_is_allowed(client: FlaskClient) -> None:
    for wrong in ("8193", "15", "big", "Original", "", "1e3"):
        detail = body(send(client, max_side=wrong))["detail"]
        assert detail == "max_side must be a whole number from 16 to 8192, or original."


def test_original_stands_for_the_largest_size(client: FlaskClient) -> None:
    assert body(send(client, max_side="original"))["max_side"] == 8192
    assert body(client.post(ALBUMS, json={"max_side": "original"}))["max_side"] == 8192


def test_the_details_of_an_invalid_request_are_short(client: FlaskClient) -> None:
    answer = client.post(ALBUMS, json={f"{n}{'x' * 10_000}": n for n in range(90)})
    assert problem(answer) == (422, "unknown_field")
    assert len(answer.data) < 2000


@pytest.mark.parametrize("as_form", [True, False])
def test_too_many_bytes_are_refused(services: Services, *, as_form: bool) -> None:
    small = replace(services, settings=services.settings.model_copy(update={"max_upload_bytes": 2000}))
    client = create_app(small).test_client()
    data = photo_bytes((600, 600)) + bytes(200_000)
    response = send(client, data) if as_form else client.post(JOBS, data=data, content_type="image/png")
    assert problem(response) == (413, "photo_too_large")


def test_a_full_queue_answers_at_once_with_a_time_to_retry(services: Services) -> None:
    client = create_app(with_queue_limit(services, 0.004)).test_client()
    assert send(client, photo_bytes(seed=1)).status_code == 202
    response = send(client, photo_bytes(seed=2))
    assert problem(response) == (503, "queue_full")
    assert int(response.headers["Retry-After"]) >= 1


def test_hostile_and_broken_photos_get_the_right_answer(client: FlaskClient, photos_dir: Path) -> None:
    expected = {"bad_corrupt_header.jpg": 422, "bad_truncated.jpg": 422}
    expected |= dict.fromkeys(("bomb_65536.png", "bomb_giant.jpg", "bomb_small.gif"), 413)
    answers = {name: send_raw(client, photos_dir / name).status_code for name in expected}
    assert answers == expected


def test_every_good_and_odd_photo_is_accepted(client: FlaskClient, photos_dir: Path) -> None:
    good = [path for path in photos_dir.iterdir() if path.name.split("_")[0] not in {"bad", "bomb", "MANIFEST.tsv"}]
    assert len(good) >= 15
    answers = {path.name: send_raw(client, path).status_code for path in good}
    assert answers == {path.name: 202 for path in good}


def test_without_redis_requests_answer_503_and_the_service_is_not_ready(services: Services) -> None:
    away = Redis.from_url("redis://127.0.0.1:1", decode_responses=True)
    dead = replace(services, lanes=Lanes(away, Clock(away)), workers=Workers(away, Clock(away)))
    client = create_app(dead).test_client()
    assert problem(client.get("/api/v1/stats")) == (503, "unavailable")
    ready = client.get("/readyz")
    assert (ready.status_code, body(ready)["redis"]) == (503, False)
    assert client.get("/livez").status_code == 200


def test_a_hanging_queue_is_tried_by_one_request_and_the_others_are_refused_at_once(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        hanging = connect(services.settings.model_copy(update={"redis_url": url}))
        client = create_app(hanging).test_client()
        assert [problem(client.get(path)) for path in ("/api/v1/styles", JOBS, ALBUMS)] == [(503, "unavailable")] * 3
        assert [client.get(path).status_code for path in ("/livez", "/", "/readyz")] == [200, 200, 503]
        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_ready_means_a_warm_worker_answers(client: FlaskClient, services: Services) -> None:
    assert client.get("/readyz").status_code == 503
    services.workers.heartbeat("host/1")
    assert body(client.get("/readyz")) == {"ready": True, "redis": True, "store": True, "workers": 1}


class Watched:
    """A store whose checks are counted, and block until released."""

    def __init__(self) -> None:
        self.looks = 0
        self.fails = False
        self.let_go = threading.Event()
        self.let_go.set()

    def check(self) -> None:
        self.looks += 1
        assert self.let_go.wait(20)
        if self.fails:
            raise UnavailableError("away")


def test_concurrent_readiness_probes_cost_the_store_one_check() -> None:
    store = Watched()
    check = Check(store.check)
    assert all(check.answers() for _ in range(50))
    assert store.looks == 1


def test_the_state_of_the_store_is_refreshed_without_making_requests_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "REMEMBERED_S", 0)
    store = Watched()
    check = Check(store.check)
    assert check.answers()
    store.fails = True
    store.let_go.clear()
    looking = threading.Thread(target=check.answers)
    looking.start()
    wait_until(lambda: store.looks == 2, "somebody looks")
    assert check.answers()  # the state seen before
    store.let_go.set()
    looking.join()
    assert not check.answers()


def test_a_style_that_takes_no_time_breaks_nothing(client: FlaskClient, services: Services) -> None:
    services.estimates.record_pace("hinata-light", 0.0)
    assert client.get("/api/v1/stats").status_code == client.get("/api/v1/styles").status_code == 200


def test_styles_limits_and_stats_say_what_the_service_offers(client: FlaskClient) -> None:
    styles = body(client.get("/api/v1/styles"))
    by_name = {style["name"]: style for style in styles["styles"]}
    assert styles["default"] in by_name
    assert by_name["hinata-light"]["gmac_per_megapixel"] == 25
    assert body(client.get("/api/v1/limits"))["max_side"] == {"min": 16, "max": 8192, "default": 1024}
    send(client)
    stats = body(client.get("/api/v1/stats"))
    assert stats["lanes"]["interactive"]["jobs"] == 1
    assert stats["lanes"]["interactive"]["megapixels"] == 0.05  # a small photo counts for this much


def test_the_page_offers_each_style_once_and_the_operators_choice_of_size(services: Services) -> None:
    for default, offered in (("hinata-light", "hinata-light"), ("hinata-full", "hinata-full"), ("yoi", "hinata-light")):
        settings = services.settings.model_copy(update={"style": default})
        page = create_app(replace(services, settings=settings)).test_client().get("/").text
        names = re.findall(r'name="style" value="([^"]+)"', page)
        assert sorted(names) == sorted([offered, "yoi-light", "sumi-light"])
        assert f'value="{services.styles.full_name(default)}"' in page.partition(" checked")[0].rpartition("<input")[2]


def test_a_style_without_its_size_is_its_light_one(services: Services) -> None:
    settings = services.settings.model_copy(update={"style": "yoi"})
    client = create_app(replace(services, settings=settings)).test_client()
    key = {"Idempotency-Key": "mine"}
    named = body(send(client, headers=key, style="sumi"))
    assert named["style"] == "sumi-light"
    assert body(send(client, headers=key, style="sumi-light"))["id"] == named["id"], "it is the same request"
    assert body(send(client))["style"] == body(client.get("/api/v1/styles"))["default"] == "yoi-light"
    assert body(client.post(ALBUMS, json={"style": "sumi"}))["style"] == "sumi-light"
    assert body(client.post(ALBUMS))["style"] == "yoi-light"
    with client.get("/api/v1/styles/sumi/preview") as preview:
        assert preview.status_code == 200
    services.estimates.record_pace("yoi-light", 100)
    services.workers.heartbeat("host/1")
    assert body(client.get("/api/v1/stats"))["rate_megapixels_per_s"] == 10


def test_styles_that_happen_to_share_a_title_are_all_offered(services: Services, tmp_path: Path) -> None:
    mine = [
        Style(name=name, title="Mine", size=Size.FULL, file=f"{name}.pt", sha256="0" * 64, licence="MIT")
        for name in ("brush", "paint")
    ]
    write_manifest(tmp_path, mine)
    page = create_app(replace(services, styles=Styles(tmp_path))).test_client().get("/").text
    assert re.findall(r'name="style" value="([^"]+)"', page) == ["brush", "paint"]


@pytest.mark.usefixtures("work")
def test_metrics_count_jobs_and_requests(client: FlaskClient) -> None:
    send(client, headers={"Prefer": "wait=20"})
    text = client.get("/metrics").text
    assert "sakuga_jobs_submitted_total 1.0" in text
    assert 'sakuga_jobs_ended_total{state="succeeded"} 1.0' in text
    assert 'sakuga_http_requests_total{method="POST",route="/api/v1/jobs",status="200"} 1.0' in text
    assert 'sakuga_stage_seconds_total{stage="generate"}' in text


def test_the_api_document_describes_every_route(client: FlaskClient) -> None:
    document = body(client.get("/openapi.json"))
    assert document["openapi"] == "3.1.0"
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert {
        (JOBS, "post"),
        (JOBS, "get"),
        (f"{JOBS}/{{job_id}}", "get"),
        (f"{JOBS}/{{job_id}}", "delete"),
        (f"{JOBS}/{{job_id}}/result", "get"),
        (f"{JOBS}/{{job_id}}/events", "get"),
        (f"{JOBS}/{{job_id}}/cancel", "post"),
        ("/api/v1/styles", "get"),
        ("/readyz", "get"),
    } <= described
    form = document["paths"][JOBS]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert (form["max_side"]["minimum"], form["max_side"]["maximum"], form["max_side"]["default"]) == (16, 8192, 1024)
    assert {"type": "string", "const": "original"} in form["max_side"]["anyOf"]
    assert form["format"]["enum"] == ["jpeg", "png", "webp"]


def test_the_api_document_has_no_dangling_references(client: FlaskClient) -> None:
    document = body(client.get("/openapi.json"))
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]


def test_the_page_and_the_api_page_are_served_under_a_strict_policy(client: FlaskClient) -> None:
    for path in ("/", "/docs"):
        response = client.get(path)
        assert response.status_code == 200
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_unknown_paths_and_methods_answer_with_documented_problems(client: FlaskClient) -> None:
    for response in (client.get("/api/v1/nothing"), client.put(JOBS)):
        assert body(response)["type"] == f"/docs#{body(response)['code']}"
        assert f'id="{body(response)["code"]}"' in client.get("/docs").text
    assert client.put(JOBS).headers["Allow"].count("POST") == 1
    assert "use GET, HEAD, OPTIONS, POST" in body(client.put(JOBS))["detail"]


def test_the_error_for_an_unknown_field_names_the_known_ones(client: FlaskClient) -> None:
    refused = body(send(client, max_size="64"))
    assert refused["title"] == "Unknown field"
    assert refused["detail"] == "max_size: unknown field; allowed are style, max_side, format, faces."
    none = body(client.get("/api/v1/limits?verbose=1"))
    assert none["detail"] == "verbose: unknown field; no query parameters are allowed here."


def test_headers_are_described_where_they_are_sent(client: FlaskClient) -> None:
    document = body(client.get("/openapi.json"))
    promised = {
        (path, method, status): set(answer["headers"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        if "headers" in answer
    }
    assert promised == {
        (JOBS, "post", "200"): {"Location"},
        (JOBS, "post", "202"): {"Location", "Retry-After"},
        ("/api/v1/albums", "post", "201"): {"Location"},
        ("/api/v1/albums/{album_id}/redraw", "post", "201"): {"Location"},
        ("/api/v1/previews", "post", "200"): {"Location"},
        ("/api/v1/previews", "post", "202"): {"Location", "Retry-After"},
    }
    album = "/api/v1/albums/{album_id}"
    assert "Location" not in document["paths"][f"{album}/photos"]["post"]["responses"]["202"]["description"]
    checked = document["paths"][f"{album}/check"]["post"]
    started = document["paths"]["/api/v1/albums"]["post"]
    assert [one["requestBody"]["required"] for one in (checked, started)] == [True, False]


EXAMPLES = {
    "create_job": "-F photo=@photo.jpg -H 'Accept: image/*' -o picture.jpg http://localhost/api/v1/jobs",
    "delete_job": "-X DELETE http://localhost/api/v1/jobs/$job_id",
    "get_result": "-L -o picture.jpg http://localhost/api/v1/jobs/$job_id/result",
    "create_album": """-H 'Content-Type: application/json' -d '{"name": "Summer"}' http://localhost/api/v1/albums""",
    "rename_album": """-X PATCH -H 'Content-Type: application/json' -d '{"name": "Summer"}' """
    "http://localhost/api/v1/albums/$album_id",
    "put_photo": "-T photo.jpg http://localhost/api/v1/albums/$album_id/photos/$name",
    "add_photos": "-F photos=@photo.jpg http://localhost/api/v1/albums/$album_id/photos",
    "get_archive": "-o pictures.zip http://localhost/api/v1/albums/$album_id/archive",
}


def test_the_examples_of_the_api_page_are_as_short_as_one_would_type_them(client: FlaskClient) -> None:
    page = html.unescape(client.get("/docs").text)
    examples = dict(re.findall(r'id="(\w+)">\s*<h2>.*?<code>curl ([^<]*)</code></pre>', page, re.DOTALL))
    assert {name: examples[name] for name in EXAMPLES} == EXAMPLES
    assert next(iter(examples)) == "create_job", "what most readers look for comes first"
    (check,) = re.findall(r"-d '(.*)'", examples["check_album"])
    album = body(client.post("/api/v1/albums"))["links"]["check"]
    assert client.post(album, data=check).status_code == 200
    sections = page.split('<section class="operation"')
    (put,) = (section for section in sections if 'id="put_photo"' in section)
    assert "with options as query parameters" not in put


@pytest.mark.parametrize(
    ("ttl_s", "english", "chinese"),
    [
        (24 * 3600, "after 24 hours.", "图片保留 24 小时。"),
        (7 * 24 * 3600, "after 7 days.", "图片保留 7 天。"),
        (5400, "after 90 minutes.", "图片保留 90 分钟。"),
        (30, "after 30 seconds.", "图片保留 30 秒。"),
    ],
)
def test_the_page_says_how_long_photos_are_kept(services: Services, ttl_s: int, english: str, chinese: str) -> None:
    settings = services.settings.model_copy(update={"ttl_s": ttl_s})
    client = create_app(replace(services, settings=settings)).test_client()
    assert english in client.get("/?lang=en").text
    assert chinese in client.get("/?lang=zh").text


def test_every_error_code_is_explained_where_its_type_points(client: FlaskClient) -> None:
    page = client.get("/docs").text
    target = body(client.get(f"{JOBS}/none"))["type"]
    assert target == "/docs#unknown_job"
    for kind in public_errors():
        assert f'id="{kind.code}"' in page
