"""Sessions, the sign-in page, and the command line of a service that requires keys."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from http.cookies import Morsel, SimpleCookie
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page, expect
from werkzeug.test import TestResponse

from cli.album_sync import AT_ONCE
from cli.keys import Allowance, create_caller, revoke_keys, rotate_key
from shared.callers.api_keys import Scope
from shared.services import Services
from tests.answers import JOBS
from tests.browsing import DESKTOP, PHONE, TELL_CSP_VIOLATIONS, WAIT_MS, Visit, choose, payload, scene
from tests.callers import BOTH, HOUR
from tests.cli.test_cli import photo_at, sakuga
from tests.conftest import RunningService
from tests.web.test_page import expect_picture
from web.app import create_app
from web.sessions import COOKIE, SESSION_S, SESSIONS

THRIFTY = Allowance((Scope.SUBMIT, Scope.READ), megapixels_per_day=0.1)  # two small photos
OPERATOR = Allowance((Scope.OPERATE,))


@pytest.fixture
def key(key_file: Path) -> str:
    return create_caller(key_file, "alice", BOTH, expires_in=None)[0]


@pytest.fixture
def client(guarded: Services, key: str) -> FlaskClient:  # noqa: ARG001
    return create_app(guarded).test_client()


def sign_in(client: FlaskClient, key: str, **environment: str) -> TestResponse:
    return client.post("/", data={"key": key}, environ_overrides=environment)


def cookie_of(answer: TestResponse) -> Morsel[str]:
    return SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]


def test_the_sign_in_page_is_shown_without_a_session_and_the_page_with_one(client: FlaskClient, key: str) -> None:
    assert 'name="key"' in client.get("/").text
    answer = sign_in(client, f" {key} ")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    page = client.get("/").text
    assert "dropzone" in page
    assert 'action="/sign-out"' in page
    assert client.get(JOBS).status_code == 200


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites_and_is_not_the_key(
    client: FlaskClient,
    key: str,
    guarded: Services,
) -> None:
    cookie = cookie_of(sign_in(client, key))
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert cookie["max-age"] == str(SESSION_S)
    assert not cookie["secure"]
    assert cookie.value not in key
    (record,) = guarded.redis.keys("sakuga:session:*")
    assert cookie.value not in record
    assert key not in str(guarded.redis.get(record))
    assert 0 < guarded.redis.ttl(record) <= SESSION_S


def test_over_https_the_cookie_is_for_https_alone(guarded: Services, key: str) -> None:
    settings = guarded.settings.model_copy(update={"trusted_proxies": 1})
    client = create_app(replace(guarded, settings=settings)).test_client()
    answer = client.post("/", data={"key": key}, headers={"X-Forwarded-Proto": "https"})
    assert cookie_of(answer)["secure"]


@pytest.mark.parametrize("wrong", ["", "hunter2", f"sakuga_{'x' * 43}", "é\x00" * 300])
def test_a_wrong_key_is_refused_and_begins_no_session(
    client: FlaskClient,
    guarded: Services,
    wrong: str,
) -> None:
    answer = sign_in(client, wrong)
    assert answer.status_code == 303
    assert "Set-Cookie" not in answer.headers
    assert "valid here, or was revoked" in client.get(answer.headers["Location"]).text
    assert guarded.redis.keys("sakuga:session:*") == []


def test_signing_out_ends_the_session_whatever_the_browser_keeps(client: FlaskClient, key: str) -> None:
    cookie = cookie_of(sign_in(client, key))
    answer = client.post("/sign-out")
    assert answer.status_code == 303
    assert answer.headers["Clear-Site-Data"] == '"storage"'
    assert client.get(JOBS).status_code == 401
    client.set_cookie(COOKIE, cookie.value)
    assert client.get(JOBS).status_code == 401
    assert client.post("/sign-out").status_code == 303


def test_a_session_ends_with_the_key_that_began_it(client: FlaskClient, key: str, key_file: Path) -> None:
    sign_in(client, key)
    rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    assert client.get(JOBS).status_code == 200
    revoke_keys(key_file, "alice", None)
    assert client.get(JOBS).status_code == 401
    assert 'name="key"' in client.get("/").text
    assert "valid here, or was revoked" in client.get("/").text


def test_one_session_too_many_of_a_key_ends_the_oldest(client: FlaskClient, key: str, guarded: Services) -> None:
    sessions = [cookie_of(sign_in(client, key)).value for _ in range(SESSIONS + 2)]
    client.post("/sign-out")  # after the last one
    opened = []
    for session in sessions:
        client.set_cookie(COOKIE, session)
        opened.append(client.get(JOBS).status_code)
    assert opened == [401, 401] + [200] * (SESSIONS - 1) + [401]
    assert len(guarded.redis.keys("sakuga:session:*")) == SESSIONS - 1
    (begun,) = guarded.redis.keys("sakuga:sessions:*")
    assert guarded.redis.zcard(begun) == SESSIONS - 1
    assert 0 < guarded.redis.ttl(begun) <= SESSION_S


def test_a_forged_session_grants_no_access(client: FlaskClient) -> None:
    client.set_cookie(COOKIE, "x" * 43)
    assert client.get(JOBS).status_code == 401


@pytest.mark.parametrize("path", ["/", "/sign-out"])
def test_no_other_site_signs_anybody_in_or_out(client: FlaskClient, key: str, path: str) -> None:
    answer = client.post(path, data={"key": key}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


def test_where_no_keys_are_required_there_is_no_sign_in_page(services: Services) -> None:
    client = create_app(services).test_client()
    page = client.get("/").text
    assert 'name="key"' not in page
    assert "/sign-out" not in page
    assert "Set-Cookie" not in sign_in(client, "x").headers


# A real browser, and the commands, against a service that requires keys


@pytest.fixture(scope="module")
def guarded_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("guarded")
    create_caller(folder / "keys.toml", "nobody", BOTH, expires_in=None)
    running = RunningService(folder, environment={"SAKUGA_API_KEYS": str(folder / "keys.toml")})
    running.start()
    yield running
    running.stop()


@pytest.fixture
def own_key(guarded_service: RunningService, request: pytest.FixtureRequest) -> str:
    """The key of a caller of this test's own, created while the service runs."""
    return create_caller(guarded_service.data_dir / "keys.toml", request.node.name, BOTH, expires_in=None)[0]


@pytest.fixture
def door(browser: Browser, guarded_service: RunningService, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The sign-in page of a service that requires keys; fail if the visit has errors."""
    size, locale = getattr(request, "param", (DESKTOP, "en-US"))
    visit = Visit(guarded_service.url)
    viewport = {"width": size[0], "height": size[1]}
    with browser.new_context(base_url=guarded_service.url, viewport=viewport, locale=locale) as context:  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(TELL_CSP_VIOLATIONS)
        page = context.new_page()
        visit.watch(page)
        page.goto("/")
        yield page
    assert visit.complaints == []


def show_key(page: Page, key: str, label: str = "Your key") -> None:
    page.get_by_label(label).fill(key)
    with page.expect_navigation():  # until the page's modules are loaded
        page.keyboard.press("Enter")


@pytest.mark.parametrize("door", [(DESKTOP, "en-US"), (PHONE, "en-US")], indirect=True, ids=["desktop", "phone"])
def test_a_visitor_signs_in_draws_a_photo_and_signs_out(door: Page, own_key: str) -> None:
    show_key(door, own_key)
    choose(door, payload(scene(seed=61)))
    expect_picture(door)
    picture = door.url
    door.reload()
    expect_picture(door)
    assert door.evaluate("document.cookie") == ""
    assert door.evaluate("document.documentElement.scrollWidth <= innerWidth")
    door.get_by_role("button", name="Sign out").click()
    expect(door.get_by_label("Your key")).to_be_focused()
    assert door.evaluate("localStorage.length") == 0
    door.goto(picture)
    show_key(door, own_key)
    expect_picture(door)
    assert door.url == picture


def test_a_wrong_key_is_explained(door: Page, own_key: str) -> None:
    show_key(door, "hunter2")
    expect(door.get_by_role("alert")).to_contain_text("valid here, or was revoked")
    assert "hunter2" not in door.url
    show_key(door, own_key)
    expect(door.get_by_text("Choose photos", exact=True).locator("visible=true")).to_be_visible()
    assert "refused" not in door.url


@pytest.mark.parametrize("door", [(PHONE, "zh-CN")], indirect=True)
def test_the_sign_in_page_is_shown_in_chinese_too(door: Page, own_key: str) -> None:
    show_key(door, own_key, label="您的密钥")
    door.get_by_role("button", name="退出").click()
    expect(door.get_by_role("button", name="登录")).to_be_visible()


def test_a_visitor_whose_key_was_revoked_is_told_to_sign_in_again(
    door: Page, own_key: str, guarded_service: RunningService, request: pytest.FixtureRequest
) -> None:
    show_key(door, own_key)
    expect(door.get_by_role("button", name="Sign out")).to_be_visible()
    revoke_keys(guarded_service.data_dir / "keys.toml", request.node.name, None)
    choose(door, payload(scene(seed=62)))
    expect(door.get_by_role("heading", name="You're no longer signed in")).to_be_visible()
    door.reload()
    expect(door.get_by_label("Your key")).to_be_visible()


def test_a_visitor_from_a_link_on_another_site_is_still_signed_in(
    browser: Browser, guarded_service: RunningService, own_key: str
) -> None:
    link = f'<a href="{guarded_service.url}/?lang=en#job=unknown">my picture</a>'
    with browser.new_context() as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.route("http://elsewhere.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
        page.goto("http://elsewhere.example/")
        page.get_by_role("link").click()
        page.wait_for_url(re.compile(r"[?&]again"))  # the sign-in page reloads once, and forgets what was typed before
        show_key(page, own_key)  # there is no session yet, so the sign-in page is shown
        page.goto("http://elsewhere.example/")
        page.get_by_role("link").click()
        expect(page.get_by_role("heading", name="Picture not found")).to_be_visible()
        assert page.url.endswith("#job=unknown")


def expect_signed_in(page: Page) -> None:
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def test_a_link_with_a_key_signs_in_and_the_key_leaves_the_address(door: Page, own_key: str) -> None:
    door.goto("about:blank")
    door.goto(f"/?lang=en#key={own_key}&job=unknown")
    expect(door.get_by_role("heading", name="Picture not found")).to_be_visible()
    assert door.url.endswith("#job=unknown")
    for _ in range(2):
        door.go_back()
        assert own_key not in door.url


def test_a_link_that_is_opened_on_the_sign_in_page_signs_in(door: Page, own_key: str) -> None:
    door.evaluate("link => { location.href = link }", f"#key={own_key}")
    expect_signed_in(door)
    assert "#" not in door.url


def test_of_somebody_signed_in_a_link_only_loses_its_key(door: Page, own_key: str) -> None:
    show_key(door, own_key)
    door.evaluate("location.hash = 'key=sakuga_other'")
    door.wait_for_url(lambda url: "#" not in url)
    door.goto("about:blank")
    door.goto("/#key=sakuga_other")
    expect_signed_in(door)
    door.wait_for_url(lambda url: "#" not in url)


def test_a_link_with_a_revoked_key_is_explained_once(door: Page) -> None:
    door.evaluate("location.hash = 'key=sakuga_revoked'")
    expect(door.get_by_role("alert")).to_contain_text("valid here, or was revoked")
    assert "sakuga_revoked" not in door.url


def test_a_link_on_another_site_does_not_decide_who_the_visitor_is(
    browser: Browser, guarded_service: RunningService, own_key: str
) -> None:
    link = f'<a href="{guarded_service.url}/?lang=en#key={own_key}">draw your photos here</a>'
    with browser.new_context() as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.route("http://elsewhere.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
        page.goto("http://elsewhere.example/")
        page.get_by_role("link").click()
        expect(page.get_by_label("Your key")).to_have_value(own_key)
        assert own_key not in page.url
        page.get_by_role("button", name="Sign in").click()
        expect_signed_in(page)


@pytest.mark.parametrize("command", ["submit", "album"])
def test_the_commands_send_a_key_from_the_environment_or_a_file(
    guarded_service: RunningService, own_key: str, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo_at(tmp_path / "photos" / "a.jpg", seed=5)
    arguments = [command, tmp_path / "photos", "--server", guarded_service.url, "-o"]
    refused = sakuga(*arguments, tmp_path / "none")
    assert refused.exit_code == 1
    assert "SAKUGA_API_KEY" in refused.stderr
    (tmp_path / "key").write_text(f"{own_key}\n")
    assert sakuga(*arguments, tmp_path / "one", "--key-file", tmp_path / "key").exit_code == 0
    monkeypatch.setenv("SAKUGA_API_KEY", own_key)
    assert sakuga(*arguments, tmp_path / "two").exit_code == 0
    assert (tmp_path / "one" / "a.jpg").read_bytes() == (tmp_path / "two" / "a.jpg").read_bytes()


def test_an_album_stops_sending_when_the_quota_is_used_up_and_says_why(
    guarded_service: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.remote.BUSY_RETRY_S", 0)  # shortly before midnight the command would wait
    key_file = guarded_service.data_dir / "keys.toml"
    (tmp_path / "key").write_text(create_caller(key_file, "thrifty", THRIFTY, expires_in=None)[0])
    for seed in range(12):
        photo_at(tmp_path / "photos" / f"{seed:02}.jpg", seed=seed)
    done = sakuga(
        "album", tmp_path / "photos", "-o", tmp_path / "out",
        "--server", guarded_service.url, "--key-file", tmp_path / "key",
    )  # fmt: skip
    failures = json.loads((tmp_path / "out" / "failures.json").read_text())
    assert done.exit_code == 1
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 2
    assert [error["code"] for error in failures.values()] == ["quota_exceeded"] * 10
    assert refused_for_quota(guarded_service) <= AT_ONCE


def refused_for_quota(service: RunningService) -> int:
    """Return how many photos were sent although the quota was used up."""
    operator = create_caller(service.data_dir / "keys.toml", "prometheus", OPERATOR, expires_in=None)[0]
    answer = httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {operator}"})
    found = re.search(r'method="PUT",route="[^"]+",status="429"} (\d+)', answer.raise_for_status().text)
    assert found
    return int(found[1])
