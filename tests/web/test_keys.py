"""Callers over HTTP: authentication, isolation from each other, rate limits."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from cli.keys import create_caller, revoke_keys, rotate_key
from shared.callers.api_keys import Scope, new_key
from shared.services import Services
from shared.settings import load_settings
from tests.answers import ALBUMS, JOBS, body, problem
from tests.callers import BOTH, HOUR, send, showing
from tests.conftest import ROOT, photo_bytes
from web.app import create_app
from web.rates import ALBUMS_PER_MINUTE


def statuses(client: FlaskClient, paths: Iterable[str]) -> dict[str, int]:
    found = {}
    for path in paths:
        with client.get(path) as answer:  # closes the files
            found[path] = answer.status_code
    return found


# With and without keys


def test_containers_are_told_where_they_are_published_and_never_to_serve_anyone() -> None:
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    assert "- ${PUBLISH_ADDRESS:-127.0.0.1}:${SAKUGA_PORT" in compose
    assert "SAKUGA_PUBLISHED_AT: ${PUBLISH_ADDRESS:-127.0.0.1}\n" in compose
    assert "SAKUGA_ALLOW_ANYONE:\n" in compose
    assert "SAKUGA_TRUSTED_HOSTS:\n" in compose
    assert "hostname: web " in compose  # the address used from inside


def test_of_the_containers_only_nginx_and_the_workers_can_reach_out() -> None:
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    services, networks = compose.partition("\nservices:\n")[2].split("\nnetworks:\n")
    assert "\n  inside:\n    internal: true" in networks
    assert networks.count("internal:") == 1
    parts = re.split(r"^  (\w+):\n", services, flags=re.MULTILINE)[1:]
    named = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {name: re.findall(r"^    networks: \[(.*?)\]", part, re.MULTILINE) for name, part in named.items()} == {
        "nginx": ["edge, inside"],
        "web": [],  # those of `x-sakuga`
        "worker": ["inside, outgoing"],
        "valkey": ["inside"],
        "seaweedfs": ["inside"],
    }
    assert "\n  networks: [inside]\n" in compose.partition("\nservices:\n")[0]
    assert "    SAKUGA_WEBHOOK_HOSTS:" in compose


@pytest.mark.parametrize("command", [["cli.main", "up"], ["web"]])
def test_a_service_for_strangers_does_not_start_by_accident(tmp_path: Path, command: list[str]) -> None:
    environment = {"SAKUGA_HOST": "0.0.0.0", "SAKUGA_DATA_DIR": str(tmp_path / "data")}  # noqa: S104
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"sakuga keys create" in done.stderr
    assert not (tmp_path / "data").exists()


def test_without_keys_everybody_is_one_caller_whatever_the_header_says(services: Services) -> None:
    client = create_app(services).test_client()
    link = body(send(client, {"Authorization": "Basic Zm9vOmJhcg=="}))["links"]["self"]
    assert client.get(link, headers={"Authorization": "Bearer nonsense"}).status_code == 200
    assert client.get("/metrics").status_code == 200


def test_the_key_of_a_client_is_not_an_unknown_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_API_KEY", "sakuga_" + "x" * 43)
    assert load_settings().api_keys is None


OPEN = ("/", "/docs", "/openapi.json", "/livez", "/static/sakuga.css")
CLOSED = (JOBS, f"{JOBS}/x", f"{JOBS}/x/result", f"{JOBS}/x/events", ALBUMS + "/x", "/api/v1/styles", "/api/v1/limits",
    "/api/v1/stats", "/metrics", "/api/v1/styles/hinata-light/preview")  # fmt: skip


def test_without_a_key_there_is_the_page_its_health_and_nothing_else(guarded: Services, key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    client = create_app(guarded).test_client()
    assert statuses(client, OPEN) == dict.fromkeys(OPEN, 200)
    assert client.get("/readyz").status_code == 503
    assert statuses(client, CLOSED) == dict.fromkeys(CLOSED, 401)
    refused = send(client)
    assert problem(refused) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="sakuga"'


def test_every_view_asks_for_a_key_unless_it_is_marked_as_open(guarded: Services, key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    app = create_app(guarded)
    client, answered = app.test_client(), {}
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            answered[method, rule.rule] = client.open(path, method=method).status_code
    assert {path for (_, path), status in answered.items() if status != 401} == {
        "/", "/docs", "/openapi.json", "/livez", "/readyz", "/static/<path:filename>", "/sign-out",
    }  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer sakuga_" + "x" * 43,
        "Bearer \udcff\udcfe",
        "bearer a b c",
        "Token x",
        "x" * 5000,
        "",
    ],
)
def test_a_malformed_key_grants_no_access(guarded: Services, key_file: Path, header: str) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    answer = create_app(guarded).test_client().get(JOBS, headers={"Authorization": header})
    assert problem(answer) == (401, "unauthorized")


def test_an_unknown_key_is_reported_as_such(guarded: Services, key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    refused = showing(guarded, new_key(datetime.now(UTC))[0]).get(JOBS)
    assert problem(refused) == (401, "unauthorized")
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


def test_a_revoked_key_grants_no_access_from_then_on(caller: Callable[..., FlaskClient], key_file: Path) -> None:
    alice = caller("alice")
    assert alice.get(JOBS).status_code == 200
    revoke_keys(key_file, "alice", None)
    assert alice.get(JOBS).status_code == 401


def test_a_missing_scope_is_named(caller: Callable[..., FlaskClient]) -> None:
    reader, sender, operator = (caller(scope, scope) for scope in (Scope.READ, Scope.SUBMIT, Scope.OPERATE))
    for client, path, lacking in (
        (sender, JOBS, "read"),
        (operator, f"{JOBS}/x", "read"),
        (sender, "/metrics", "operate"),
        (reader, "/api/v1/stats", "operate"),
    ):
        refused = client.get(path)
        assert problem(refused) == (403, "forbidden")
        assert f"`{lacking}`" in body(refused)["detail"]
    assert problem(send(reader)) == (403, "forbidden")
    assert problem(reader.delete(f"{JOBS}/x")) == (403, "forbidden")
    assert send(sender).status_code == 202
    assert operator.get("/metrics").status_code == operator.get("/api/v1/stats").status_code == 200
    assert {client.get("/api/v1/limits").status_code for client in (reader, sender, operator)} == {200}


# Isolation


def attempts(job: str, album: str) -> list[tuple[str, str]]:
    """Every request for a job or an album."""
    return [
        *[("GET", f"{JOBS}/{job}{end}") for end in ("", "/result", "/events")],
        ("POST", f"{JOBS}/{job}/cancel"),
        ("DELETE", f"{JOBS}/{job}"),
        *[("GET", f"{ALBUMS}/{album}{end}") for end in ("", "/photos", "/events", "/archive")],
        *[("POST", f"{ALBUMS}/{album}/{what}") for what in ("check", "retry", "cancel", "photos")],
        ("PUT", f"{ALBUMS}/{album}/photos/a.png"),
        ("DELETE", f"{ALBUMS}/{album}"),
    ]


def ask(client: FlaskClient, method: str, path: str) -> TestResponse:
    json_body: dict[str, list[str]] | None = {"sha256": []} if path.endswith("check") else None
    data = photo_bytes() if method == "PUT" else None
    return client.open(path, method=method, json=json_body, data=data)


def test_resources_of_other_callers_answer_exactly_like_unknown_ones(
    guarded: Services, caller: Callable[..., FlaskClient]
) -> None:
    alice, bob = caller("alice"), caller("bob")
    job = body(send(alice))["id"]
    album = body(alice.post(ALBUMS, json={}))["id"]
    alice.put(f"{ALBUMS}/{album}/photos/a.png", data=photo_bytes(seed=1))
    never = "0" * 40
    for (method, path), (_, path_of_nothing) in zip(attempts(job, album), attempts(never, never), strict=True):
        theirs, nothing = ask(bob, method, path), ask(bob, method, path_of_nothing)
        assert theirs.status_code == 404, path
        same = body(nothing) | {"instance": path}
        assert body(theirs) == same
        assert set(theirs.headers.keys()) == set(nothing.headers.keys())
    assert body(alice.get(f"{JOBS}/{job}"))["state"] == "queued"
    assert body(alice.get(f"{ALBUMS}/{album}"))["counts"]["queued"] == 1
    assert guarded.albums.exists(album)


def test_callers_list_only_their_own_jobs(
    caller: Callable[..., FlaskClient], key_file: Path, guarded: Services
) -> None:
    alice, bob = caller("alice"), caller("bob")
    own = {client: body(send(client))["id"] for client in (alice, bob)}
    for client, job in own.items():
        assert [one["id"] for one in body(client.get(JOBS))["jobs"]] == [job]
    rotated = showing(guarded, rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)[0])
    assert [one["id"] for one in body(rotated.get(JOBS))["jobs"]] == [own[alice]]


def test_the_same_photo_and_idempotency_key_of_another_are_another_job(
    guarded: Services, caller: Callable[..., FlaskClient]
) -> None:
    jobs = [body(send(caller(name), {"Idempotency-Key": "k"}))["id"] for name in ("alice", "bob")]
    first, second = (guarded.jobs.get(job) for job in jobs)
    assert first.id != second.id
    assert first.photo.sha256 == second.photo.sha256
    assert {first.photo_key, first.result_key}.isdisjoint({second.photo_key, second.result_key})
    assert first.photo_key.startswith(f"{first.caller}/")


def test_photos_of_an_album_are_jobs_of_its_caller(caller: Callable[..., FlaskClient]) -> None:
    alice, bob = caller("alice"), caller("bob")
    album = body(alice.post(ALBUMS, json={}))["id"]
    link = body(alice.put(f"{ALBUMS}/{album}/photos/a.png", data=photo_bytes()))["links"]["self"]
    assert alice.get(link).status_code == 200
    assert problem(bob.get(link)) == (404, "unknown_job")


# Rates


def left(answer: TestResponse) -> tuple[int, int]:
    """Return how many requests are left, and for how many seconds, according to a response."""
    found = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found
    return int(found[1]), int(found[2])


def test_the_rate_limit_of_a_caller_is_reported_and_enforced(caller: Callable[..., FlaskClient]) -> None:
    alice, bob = caller("alice", requests_per_minute=3), caller("bob", requests_per_minute=3)
    answers = [alice.get(JOBS) for _ in range(3)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"default";q=3;w=60'}
    assert [left(answer)[0] for answer in answers] == [2, 1, 0]
    refused = alice.get(JOBS)
    assert problem(refused) == (429, "too_many_requests")
    assert left(refused) == (0, int(refused.headers["Retry-After"]))
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert bob.get(JOBS).status_code == 200
    assert set(statuses(alice, ("/livez", "/static/sakura.svg", "/", "/docs", "/openapi.json")).values()) == {200}


def test_requests_are_accepted_again_after_retry_after(caller: Callable[..., FlaskClient], guarded: Services) -> None:
    alice = caller("alice", requests_per_minute=2)
    for _ in range(2):
        alice.get(JOBS)
    wait_s = int(alice.get(JOBS).headers["Retry-After"])
    (key,) = guarded.redis.keys("sakuga:rate*")
    times = [float(time) for time in guarded.redis.lrange(key, 0, -1)]
    guarded.redis.delete(key)
    guarded.redis.rpush(key, *[time - wait_s for time in times])
    assert alice.get(JOBS).status_code == 200


def test_a_caller_may_create_only_so_many_albums_a_minute(
    caller: Callable[..., FlaskClient], guarded: Services
) -> None:
    alice, bob = caller("alice"), caller("bob")
    for _ in range(ALBUMS_PER_MINUTE):
        assert alice.post(ALBUMS, json={}).status_code == 201
    count = len(guarded.redis.keys("sakuga:album:*"))
    refused = alice.post(ALBUMS, json={})
    assert problem(refused) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert len(guarded.redis.keys("sakuga:album:*")) == count
    assert alice.get(JOBS).status_code == bob.get(JOBS).status_code == 200
    assert bob.post(ALBUMS, json={}).status_code == 201


def test_every_kind_of_poll_counts_and_refused_requests_do_not(caller: Callable[..., FlaskClient]) -> None:
    alice = caller("alice", requests_per_minute=3)
    link = body(send(alice))["links"]["self"]
    alice.get(f"{link}/events", buffered=False).close()
    assert left(alice.get(link))[0] == 0
    for _ in range(5):
        assert alice.get(link).status_code == 429
        assert alice.get(f"{link}/result").status_code == 429


def test_without_keys_the_rate_limit_is_per_address(services: Services) -> None:
    settings = services.settings.model_copy(update={"requests_per_minute": 1})
    client = create_app(replace(services, settings=settings)).test_client()
    senders = {"192.0.2.1": 200, "192.0.2.2": 200, "2001:db8:0:1::1": 200, "2001:db8:0:1:ffff::2": 429}
    answers = {one: client.get(JOBS, environ_base={"REMOTE_ADDR": one}).status_code for one in senders}
    assert answers == senders
    mapped = {"::ffff:192.0.2.1": 429, "::ffff:192.0.2.3": 200, "::ffff:192.0.2.4": 200}  # with SAKUGA_HOST=::
    assert {one: client.get(JOBS, environ_base={"REMOTE_ADDR": one}).status_code for one in mapped} == mapped
    spoofed = client.get(JOBS, environ_base={"REMOTE_ADDR": "192.0.2.1"}, headers={"X-Forwarded-For": "192.0.2.9"})
    assert spoofed.status_code == 429


def test_behind_a_proxy_the_address_is_the_forwarded_one(services: Services) -> None:
    settings = services.settings.model_copy(update={"requests_per_minute": 1, "trusted_proxies": 1})
    client = create_app(replace(services, settings=settings)).test_client()
    for forwarded, status in (("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.7, 192.0.2.2", 429)):
        assert client.get(JOBS, headers={"X-Forwarded-For": forwarded}).status_code == status


def test_there_is_no_rate_limit_unless_one_is_set(services: Services) -> None:
    answer = create_app(services).test_client().get(JOBS)
    assert "RateLimit" not in answer.headers
    assert services.redis.keys("sakuga:rate*") == []


def test_requests_without_a_key_have_the_rate_limit_of_an_address(
    guarded: Services, caller: Callable[..., FlaskClient]
) -> None:
    caller("alice")
    settings = guarded.settings.model_copy(update={"requests_per_minute": 2})
    client = create_app(replace(guarded, settings=settings)).test_client()
    assert [client.get(JOBS).status_code for _ in range(3)] == [401, 401, 429]


def test_while_redis_is_down_no_request_is_rate_limited(caller: Callable[..., FlaskClient], guarded: Services) -> None:
    alice = caller("alice", requests_per_minute=1)
    key = alice.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    away = replace(guarded, redis=Redis.from_url("redis://127.0.0.1:1", decode_responses=True))
    answers = [showing(away, key).get("/api/v1/limits") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert not [answer for answer in answers if "RateLimit" in answer.headers]


# Responses


def test_the_api_document_says_which_scope_each_operation_needs(guarded: Services, key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    document = body(create_app(guarded).test_client().get("/openapi.json"))
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    paths = document["paths"]
    assert {"key": ["submit"]} in paths[JOBS]["post"]["security"]
    assert {"key": ["read"]} in paths[JOBS]["get"]["security"]
    assert {"key": ["operate"]} in paths["/metrics"]["get"]["security"]
    assert paths["/livez"]["get"]["security"] == []
    assert {"401", "403", "429"} <= set(paths[JOBS]["post"]["responses"])
    assert not {"401", "403", "429"} & set(paths["/readyz"]["get"]["responses"])


def test_no_other_website_is_allowed_to_read_anything(caller: Callable[..., FlaskClient]) -> None:
    alice = caller("alice")
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    calls = [("GET", path) for path in (*OPEN, *CLOSED)] + [("OPTIONS", JOBS), ("POST", JOBS), ("DELETE", f"{JOBS}/x")]
    for method, path in calls:
        with alice.open(path, method=method, headers=asked) as answer:
            assert not [name for name, _ in answer.headers if name.startswith("Access-Control")], path


def test_no_key_is_logged(
    caller: Callable[..., FlaskClient], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    alice = caller("alice")
    key = alice.environ_base["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    with caplog.at_level(logging.DEBUG):
        send(alice)
        alice.get(f"{JOBS}/x")
    captured = capsys.readouterr()
    assert key not in captured.out + captured.err + caplog.text
