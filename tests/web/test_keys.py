"""API keys: authentication, isolation of callers, rate limits, quotas."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from redis import Redis
from redis.exceptions import RedisError
from werkzeug.test import TestResponse

from cli.keys import Allowance, create_caller, revoke_keys, rotate_key
from cli.main import main
from shared.callers import quotas
from shared.callers.api_keys import ApiKeys, Scope, digest_of, new_key, read_keys, require_guarded
from shared.errors import InvalidValueError, SettingsError
from shared.redis_clock import Clock
from shared.redis_keys import RESERVATIONS
from shared.services import Services
from shared.settings import Settings, load_settings
from tests.conftest import ROOT, photo_bytes
from tests.web.test_web import JOBS, body, problem
from web.app import create_app
from web.rates import ALBUMS_PER_MINUTE

ALBUMS = "/api/v1/albums"
BOTH = Allowance((Scope.SUBMIT, Scope.READ))
HOUR = timedelta(hours=1)


@pytest.fixture
def caller(guarded: Services, key_file: Path) -> Callable[..., FlaskClient]:
    """Create callers, and clients that send their keys."""

    def make(name: str, *scopes: Scope, **limits: float) -> FlaskClient:
        allowance = Allowance(scopes or BOTH.scopes, **limits)  # type: ignore[arg-type]
        key, _ = create_caller(key_file, name, allowance, expires_in=None)
        return showing(guarded, key)

    return make


def showing(services: Services, key: str) -> FlaskClient:
    client = create_app(services).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def send(client: FlaskClient, headers: dict[str, str] | None = None, *, seed: int = 0) -> TestResponse:
    return client.post(JOBS, data={"photo": (BytesIO(photo_bytes(seed=seed)), "a.png")}, headers=headers)


def statuses(client: FlaskClient, paths: Iterable[str]) -> dict[str, int]:
    found = {}
    for path in paths:
        with client.get(path) as answer:  # closes the files
            found[path] = answer.status_code
    return found


def sakuga_keys(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


# Storage


def test_only_digests_are_stored_and_only_the_owner_may_read_them(key_file: Path) -> None:
    key, _ = create_caller(key_file, "alice", BOTH, expires_in=None)
    text = key_file.read_text()
    assert key.startswith("sakuga_")
    assert key.removeprefix("sakuga_")[:8] not in text
    assert digest_of(key) in text
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


def test_keys_and_ids_cannot_be_guessed(key_file: Path) -> None:
    keys = {new_key(datetime.now(UTC))[0] for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"sakuga_[A-Za-z0-9_-]{43}", key) for key in keys)
    create_caller(key_file, "alice", BOTH, expires_in=None)
    assert re.fullmatch(r"[0-9a-f]{32}", read_keys(key_file).callers[0].id)


def test_a_rotated_key_is_the_same_caller_and_the_old_one_works_for_a_while(key_file: Path) -> None:
    old, _ = create_caller(key_file, "alice", BOTH, expires_in=None)
    keys = ApiKeys(key_file)
    before = keys.find(old)
    new, _ = rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    assert before
    assert {found[0].id for key in (old, new) if (found := keys.find(key))} == {before[0].id}
    newest, _ = rotate_key(key_file, "alice", old_expire_in=timedelta(), expires_in=None)
    assert [keys.find(key) is not None for key in (old, new, newest)] == [False, False, True]


def test_rotation_does_not_extend_a_key_that_expires_soon(key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=HOUR)
    before = read_keys(key_file).callers[0].keys[0].expires_at
    rotate_key(key_file, "alice", old_expire_in=24 * HOUR, expires_in=None)
    assert read_keys(key_file).callers[0].keys[0].expires_at == before


def test_an_expired_key_grants_no_access_and_is_removed_at_the_next_rotation(key_file: Path) -> None:
    key, kept = create_caller(key_file, "alice", BOTH, expires_in=-HOUR)
    assert ApiKeys(key_file).find(key) is None
    rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    assert kept not in read_keys(key_file).callers[0].keys


def test_one_key_of_a_caller_or_all_are_revoked(key_file: Path) -> None:
    first, kept = create_caller(key_file, "alice", BOTH, expires_in=None)
    second, _ = rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    keys = ApiKeys(key_file)
    assert revoke_keys(key_file, "alice", kept.fingerprint) == 1
    assert [keys.find(key) is not None for key in (first, second)] == [False, True]
    with pytest.raises(InvalidValueError, match="0 keys"):
        revoke_keys(key_file, "alice", kept.fingerprint)
    assert revoke_keys(key_file, "alice", None) == 1
    assert keys.find(second) is None
    assert keys.caller(read_keys(key_file).callers[0].id)


def test_a_change_that_fails_leaves_the_file_as_it_was(key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    before = key_file.read_bytes()
    with pytest.raises(InvalidValueError, match="already"):
        create_caller(key_file, "alice", BOTH, expires_in=None)
    with pytest.raises(InvalidValueError, match="alice"):
        rotate_key(key_file, "bob", old_expire_in=HOUR, expires_in=None)
    assert key_file.read_bytes() == before
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


def test_a_symbolic_link_to_the_file_is_kept(key_file: Path, tmp_path: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    link = tmp_path / "link.toml"
    link.symlink_to(key_file)
    create_caller(link, "bob", BOTH, expires_in=None)
    assert link.is_symlink()
    assert [caller.name for caller in read_keys(key_file).callers] == ["alice", "bob"]


WRONG = {
    "no TOML": "callers = [",
    "another field": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = []\nadmin = true",
    "an id that can be guessed": "[[callers]]\nname = 'a'\nid = 'a'\nscopes = []",
    "an unknown scope": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = ['all']",
    "one id for two": "".join(f"[[callers]]\nname = '{name}'\nid = 'public'\nscopes = []\n" for name in "ab"),
    "a key, not its digest": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = []\n"
    f"keys = [{{sha256 = 'sakuga_{'x' * 43}', created_at = 2026-01-01T00:00:00Z}}]",
    "a time of no zone": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = []\n"
    f"keys = [{{sha256 = '{'0' * 64}', created_at = 2026-01-01T00:00:00}}]",
}


@pytest.mark.parametrize("case", WRONG)
def test_an_invalid_file_prevents_the_start_and_its_secrets_are_not_shown(
    services: Services, key_file: Path, case: str
) -> None:
    key_file.write_text(WRONG[case])
    with pytest.raises(SettingsError, match=r"keys\.toml") as raised:
        create_app(replace(services, api_keys=ApiKeys(key_file)))
    assert "xxxx" not in raised.value.detail


def test_a_missing_file_prevents_the_start_and_says_how_to_create_it(key_file: Path) -> None:
    with pytest.raises(SettingsError, match="sakuga keys create"):
        require_guarded(Settings(api_keys=key_file))


def test_the_last_valid_file_stays_in_force_and_errors_are_logged_once(
    key_file: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = create_caller(key_file, "alice", BOTH, expires_in=None)
    keys = ApiKeys(key_file)
    assert keys.find(key)
    key_file.write_text("callers = [")
    assert keys.find(key)
    assert keys.find(key)
    assert (capsys.readouterr().out + caplog.text).count("last valid version") == 1  # wherever logs go at this point
    key_file.unlink()
    assert keys.find(key)
    create_caller(key_file, "bob", BOTH, expires_in=None)
    assert keys.find(key) is None


# The commands


def test_a_key_is_made_rotated_listed_and_revoked_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_DATA_DIR", str(tmp_path))
    made = sakuga_keys("create", "alice", "--requests-per-minute", "60", "--megapixels-per-day", "5")
    first = made.stdout.strip()
    assert re.fullmatch(r"sakuga_[A-Za-z0-9_-]{43}", first)
    assert f"SAKUGA_API_KEYS={tmp_path / 'keys.toml'}" in made.stderr
    second = sakuga_keys("rotate", "alice").stdout.strip()
    listed = sakuga_keys("list").stdout
    for part in ("alice", "submit and read", "60 requests a minute", "5 megapixels a day", "does not expire"):
        assert part in listed
    assert all(key not in listed and digest_of(key)[:12] in listed for key in (first, second))
    assert sakuga_keys("revoke", "alice", "--key", digest_of(first)[:6]).exit_code == 0
    assert ApiKeys(tmp_path / "keys.toml").find(first) is None
    assert ApiKeys(tmp_path / "keys.toml").find(second)


def test_an_unknown_caller_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_API_KEYS", str(tmp_path / "mine.toml"))
    assert sakuga_keys("create", "alice").exit_code == 0
    refused = sakuga_keys("revoke", "bob")
    assert refused.exit_code == 1
    assert "Unknown caller bob; known: alice." in refused.stderr


@pytest.mark.parametrize(
    "asked",
    [[""], ["two\nlines"], ["a" * 101], ["a", "--megapixels-per-day", "inf"], ["a", "--megapixels-per-day", "nan"]],
)
def test_an_invalid_caller_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setenv("SAKUGA_API_KEYS", str(tmp_path / "mine.toml"))
    refused = sakuga_keys("create", *asked)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: Invalid caller: ")
    assert not (tmp_path / "mine.toml").exists()


# With and without keys


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "photos.example"])  # noqa: S104
def test_without_keys_only_this_machine_is_served_unless_asked_for(host: str, key_file: Path) -> None:
    with pytest.raises(SettingsError, match="sakuga keys create") as refused:
        require_guarded(Settings(host=host))
    assert "SAKUGA_ALLOW_ANYONE=true" in refused.value.detail
    require_guarded(Settings(host=host, allow_anyone=True))
    create_caller(key_file, "alice", BOTH, expires_in=None)
    require_guarded(Settings(host=host, api_keys=key_file))
    for own in ("127.0.0.1", "localhost", "::1"):
        require_guarded(Settings(host=own))


@pytest.mark.parametrize("published", ["0.0.0.0", "192.168.1.7", "[::]", "photos.example"])  # noqa: S104
def test_the_published_address_decides_who_is_served_without_keys(published: str) -> None:
    inside = Settings(host="0.0.0.0", published_at="127.0.0.1")  # noqa: S104  of a container
    require_guarded(inside)
    require_guarded(inside.model_copy(update={"published_at": "[::1]"}))
    with pytest.raises(SettingsError, match="SAKUGA_PUBLISHED_AT"):
        require_guarded(inside.model_copy(update={"published_at": published}))
    with pytest.raises(SettingsError, match="SAKUGA_PUBLISHED_AT"):
        require_guarded(Settings(published_at=published))


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


# Quotas


def test_a_megapixel_quota_applies_until_midnight(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(hour=22, minute=30, second=0, microsecond=0)
    monkeypatch.setattr(Clock, "now", lambda _: now.timestamp())
    alice = caller("alice", megapixels_per_day=0.1)  # a small photo counts for 0.05
    assert [send(alice, seed=seed).status_code for seed in range(2)] == [202, 202]
    refused = send(alice, seed=2)
    assert problem(refused) == (429, "quota_exceeded")
    assert refused.headers["Retry-After"] == str(90 * 60)
    limits = body(alice.get("/api/v1/limits"))
    assert (limits["megapixels_per_day"], limits["megapixels_left"]) == (0.1, 0)
    assert send(caller("bob"), seed=2).status_code == 202
    (key,) = guarded.redis.keys("sakuga:quota*")
    assert guarded.redis.expiretime(str(key)) == now.timestamp() + 90 * 60 + 24 * 3600


@pytest.mark.parametrize("ahead_s", [86_400, -86_400])
def test_a_wrong_clock_of_the_web_grants_no_second_quota(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)
    assert [send(alice, seed=seed).status_code for seed in range(2)] == [202, 202]

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=ahead_s)

    monkeypatch.setattr(quotas, "datetime", Wrong)
    refused = send(alice, seed=2)
    assert problem(refused) == (429, "quota_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == 0
    assert len(guarded.redis.keys("sakuga:quota*")) == 1


def test_refused_and_repeated_photos_do_not_count_toward_the_quota(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)
    with monkeypatch.context() as full:
        full.setattr(guarded.admission, "_max_pixels", -1)
        guarded.redis.hset("sakuga:lane:interactive:totals", "pixels", 1)
        assert problem(send(alice)) == (503, "queue_full")
        guarded.redis.delete("sakuga:lane:interactive:totals")
    assert problem(alice.post(JOBS, data=b"no photo", content_type="image/png")) == (415, "not_a_photo")
    first = send(alice, {"Idempotency-Key": "k"})
    again = send(alice, {"Idempotency-Key": "k"})
    assert body(first)["id"] == body(again)["id"]
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == 0.05


@pytest.mark.parametrize(("breaks", "left"), [("admit", 0.1), ("create", 0.05)])
def test_a_failed_request_is_refunded_unless_the_photo_may_have_been_admitted(
    caller: Callable[..., FlaskClient], guarded: Services, monkeypatch: pytest.MonkeyPatch, breaks: str, left: float
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)

    def lose_redis(*_: object, **__: object) -> None:
        raise RedisError("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(guarded.admission if breaks == "admit" else guarded.jobs, breaks, lose_redis)
        assert send(alice).status_code == 503
    assert body(alice.get("/api/v1/limits"))["megapixels_left"] == left


def megapixels_left(client: FlaskClient) -> float:
    return float(body(client.get("/api/v1/limits"))["megapixels_left"])


def test_a_reservation_without_a_job_is_refunded_once(
    caller: Callable[..., FlaskClient],
    guarded: Services,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    advance_clock: Callable[[float], None],
) -> None:
    alice = caller("alice", megapixels_per_day=0.2)
    alice_id = read_keys(key_file).callers[0].id
    create = guarded.jobs.create

    def lose_redis(*given: Any) -> None:  # noqa: ANN401  what create takes
        create(*given)
        raise RedisError("the answer was lost")

    with monkeypatch.context() as broken:
        broken.setattr(guarded.jobs, "create", lose_redis)
        assert send(alice).status_code == 503
    dying = guarded.quotas.reserve(alice_id, 50_000, "0" * 40)
    reservation = dying.__enter__()
    assert megapixels_left(alice) == 0.1
    assert list(guarded.quotas.reconcile()) == [], "it may still be on its way"
    advance_clock(quotas.RESERVED_S + 1)
    assert list(guarded.quotas.reconcile()) == [1]
    reservation.refund()
    (usage,) = guarded.redis.keys("sakuga:quota*")
    assert guarded.redis.get(usage) == "50000", "the one with a record"
    assert not guarded.redis.exists(RESERVATIONS)


def test_a_refund_does_not_recreate_a_deleted_quota(
    caller: Callable[..., FlaskClient], guarded: Services, key_file: Path
) -> None:
    caller("alice", megapixels_per_day=0.1)
    alice_id = read_keys(key_file).callers[0].id
    with guarded.quotas.reserve(alice_id, 50_000, "0" * 40) as reservation:
        guarded.redis.delete(*guarded.redis.keys("sakuga:quota*"))
        reservation.refund()
    assert guarded.redis.keys("sakuga:quota*") == []


def test_concurrent_requests_cannot_exceed_the_quota(caller: Callable[..., FlaskClient]) -> None:
    alice = caller("alice", megapixels_per_day=0.2)
    with ThreadPoolExecutor(8) as pool:
        clients = [alice.application.test_client() for _ in range(12)]
        for client in clients:
            client.environ_base.update(alice.environ_base)
        answers = list(pool.map(lambda numbered: send(numbered[1], seed=numbered[0]).status_code, enumerate(clients)))
    assert sorted(answers) == [202] * 4 + [429] * 8


def test_a_photo_larger_than_the_daily_quota_is_too_large(caller: Callable[..., FlaskClient]) -> None:
    refused = send(caller("alice", megapixels_per_day=0.01))
    assert problem(refused) == (413, "photo_too_large")
    assert "Retry-After" not in refused.headers
    assert "0.01 a day" in body(refused)["detail"]


def test_photos_of_an_album_above_the_quota_are_rejected_and_can_be_sent_again(
    caller: Callable[..., FlaskClient], guarded: Services
) -> None:
    alice = caller("alice", megapixels_per_day=0.1)
    link = body(alice.post(ALBUMS, json={}))["links"]["photos"]
    photos = [(BytesIO(photo_bytes(seed=seed)), f"{seed}.png") for seed in range(3)]
    upload = body(alice.post(link, data={"photos": photos}))
    assert [one["name"] for one in upload["accepted"]] == ["0.png", "1.png"]
    (rejected,) = upload["rejected"]
    assert (rejected["name"], rejected["error"]["code"]) == ("2.png", "quota_exceeded")
    assert rejected["retry_after_s"] > 0
    assert body(alice.get(link))["photos"][-1]["name"] == "1.png"
    guarded.redis.delete(*guarded.redis.keys("sakuga:quota*"))  # tomorrow
    assert alice.put(f"{link}/2.png", data=photo_bytes(seed=2)).status_code == 202


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
