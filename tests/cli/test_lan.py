"""`sakuga up --lan`: the address in the local network, the key, the link and its QR code, and a phone that uses it."""

import os
import pty
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import httpx
import numpy as np
import psutil
import pytest
from playwright.sync_api import Browser, expect
from rich.console import Console
from rich.text import Text

from cli import lan
from cli.keys import Allowance, create_caller, revoke_keys, rotate_key
from cli.lan import COLOURS, Invitation, invite, lan_address, qr_code
from shared.callers.api_keys import ApiKeys, Scope, read_keys, require_guarded
from shared.errors import SettingsError
from shared.settings import Settings
from tests.browsing import PHONE, WAIT_MS, Visit, choose, payload, scene
from tests.callers import HOUR
from tests.conftest import RunningService, skip_or_fail
from tests.web.test_page import expect_picture

HOME = "192.168.1.20"
KEY = "sakuga_" + "aZ-_0" * 8 + "xyz"
LINK = f"http://{HOME}:8000/#key={KEY}"
NOTHING = Allowance(())


def interface(address: str, *, is_up: bool = True, ptp: str | None = None) -> SimpleNamespace:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return SimpleNamespace(isup=is_up, address=address, family=family, ptp=ptp)


def give_addresses(monkeypatch: pytest.MonkeyPatch, *interfaces: SimpleNamespace, outgoing: str = "") -> None:
    """Let this machine have these network interfaces, the first beside loopback."""
    named = {f"net{number}": one for number, one in enumerate([interface("127.0.0.1"), *interfaces])}
    monkeypatch.setattr(psutil, "net_if_stats", lambda: named)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {name: [one] for name, one in named.items()})
    monkeypatch.setattr(lan, "_outgoing_address", lambda: outgoing)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    give_addresses(monkeypatch, interface(HOME))


# The address


def test_of_several_addresses_the_one_that_leads_out_of_the_network_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge, home = interface("172.17.0.1"), interface(HOME)
    give_addresses(monkeypatch, bridge, home, outgoing=HOME)
    assert lan_address() == HOME
    give_addresses(monkeypatch, home, interface("10.8.0.2", ptp="10.8.0.1"), outgoing="10.8.0.2")  # through a VPN
    assert lan_address() == HOME
    give_addresses(monkeypatch, home)  # a network that leads nowhere
    assert lan_address() == HOME


@pytest.mark.parametrize(
    "unsuitable",
    [
        interface("169.254.7.7"),
        interface("8.8.8.8"),
        interface("fe80::1"),
        interface("10.0.0.7", is_up=False),
        interface("10.8.0.2", ptp="10.8.0.1"),
    ],
    ids=["no DHCP", "public", "IPv6", "unplugged", "VPN"],
)
def test_a_machine_without_a_local_network_is_told_what_to_do(
    unsuitable: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    give_addresses(monkeypatch, unsuitable, outgoing=unsuitable.address)
    with pytest.raises(SettingsError, match=r"no address in a local network.*SAKUGA_HOST"):
        invite(Settings(data_dir=tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_asking_for_the_address_of_this_very_machine_never_fails() -> None:
    try:
        assert lan_address().count(".") == 3
    except SettingsError as error:
        assert "local network" in error.detail  # noqa: PT017  either is right


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("host", "listens_on", "shown"),
    [
        ("127.0.0.1", "0.0.0.0", HOME),  # noqa: S104
        ("localhost", "0.0.0.0", HOME),  # noqa: S104
        ("0.0.0.0", "0.0.0.0", HOME),  # noqa: S104
        ("::", "::", HOME),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
        ("[fd00::7]", "fd00::7", "fd00::7"),
    ],
)
def test_a_host_that_others_can_reach_is_kept(host: str, listens_on: str, shown: str, tmp_path: Path) -> None:
    settings, invitation = invite(Settings(host=host, data_dir=tmp_path))
    assert (settings.host, invitation.host) == (listens_on, shown)


@pytest.mark.usefixtures("at_home")
def test_host_names_that_are_trusted_do_not_lock_out_the_local_network(tmp_path: Path) -> None:
    settings, _ = invite(Settings(trusted_hosts="a.example", published_at="127.0.0.1", data_dir=tmp_path))
    assert settings.host_names
    assert {"a.example", HOME} <= set(settings.host_names)
    assert invite(Settings(data_dir=tmp_path))[0].host_names is None


# The key


@pytest.mark.usefixtures("at_home")
def test_there_is_always_a_key_and_it_stays_the_same(tmp_path: Path) -> None:
    settings, first = invite(Settings(data_dir=tmp_path, allow_anyone=True))
    assert settings.api_keys
    require_guarded(settings)
    found = ApiKeys(settings.api_keys).find(first.key)
    assert found
    assert (found[0].name, set(found[0].scopes)) == ("lan", {Scope.SUBMIT, Scope.READ})
    assert first.key_file.read_text().strip() == first.key
    assert first.key_file.stat().st_mode & 0o777 == 0o600
    assert first.key not in settings.api_keys.read_text()
    assert invite(Settings(data_dir=tmp_path))[1] == first


@pytest.mark.usefixtures("at_home")
def test_the_key_joins_those_that_there_are(tmp_path: Path, key_file: Path) -> None:
    create_caller(key_file, "alice", NOTHING, expires_in=None)
    settings, invitation = invite(Settings(data_dir=tmp_path / "data", api_keys=key_file))
    assert settings.api_keys == key_file
    assert [caller.name for caller in read_keys(key_file).callers] == ["alice", "lan"]
    assert ApiKeys(key_file).find(invitation.key)


@pytest.mark.usefixtures("at_home")
def test_a_key_that_was_revoked_is_replaced_and_the_caller_stays(tmp_path: Path) -> None:
    settings, first = invite(Settings(data_dir=tmp_path))
    assert settings.api_keys
    before = ApiKeys(settings.api_keys).find(first.key)
    revoke_keys(settings.api_keys, "lan", None)
    _, second = invite(Settings(data_dir=tmp_path))
    after = ApiKeys(settings.api_keys).find(second.key)
    assert ApiKeys(settings.api_keys).find(first.key) is None
    assert before
    assert after
    assert before[0].id == after[0].id


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize("damage", [b"", b"sakuga_", b"\xff\xfe"])
def test_a_kept_key_that_is_damaged_is_replaced(tmp_path: Path, damage: bytes) -> None:
    settings, first = invite(Settings(data_dir=tmp_path))
    first.key_file.write_bytes(damage)
    _, second = invite(Settings(data_dir=tmp_path))
    assert ApiKeys(settings.api_keys).find(second.key)


@pytest.mark.usefixtures("at_home")
def test_the_operator_may_choose_the_key(tmp_path: Path) -> None:
    settings, first = invite(Settings(data_dir=tmp_path))
    assert settings.api_keys
    chosen, _ = rotate_key(settings.api_keys, "lan", old_expire_in=HOUR, expires_in=None)
    first.key_file.write_text(chosen)
    assert invite(Settings(data_dir=tmp_path))[1].key == chosen


# What the terminal shows


@contextmanager
def terminal(
    monkeypatch: pytest.MonkeyPatch, *, encoding: str = "utf-8", width: int = 80
) -> Iterator[tuple[Console, int]]:
    """Yield a console in a terminal, and the terminal's other end."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen, line = pty.openpty()
    with os.fdopen(line, "w", encoding=encoding) as file:
        yield Console(file=file, width=width, soft_wrap=True, highlight=False), screen
    os.close(screen)


def shown(console: Console, screen: int, host: str = HOME) -> Text:
    Invitation(host, KEY, Path("/data/lan.key")).show(8000, console)
    console.file.write("\0")
    console.file.flush()
    seen = b""
    while not seen.endswith(b"\0"):
        seen += os.read(screen, 1 << 16)
    return Text.from_ansi(seen.rstrip(b"\0").decode().replace("\r\n", "\n"))


def scanned(code: list[str]) -> str:
    """Read a QR code off the terminal as a camera would."""
    rows = [[block in full for block in line] for line in code for full in ("█▀", "█▄")]
    image = np.array(rows, np.uint8).repeat(8, axis=0).repeat(8, axis=1) * 255
    return str(cv2.QRCodeDetectorAruco().detectAndDecode(image)[0])


@pytest.mark.parametrize(
    "link", [LINK, f"http://[fd00:1:2:3:4:5:6:7]:65535/#key={KEY}", f"http://10.0.0.1:1/#key={KEY}"]
)
def test_a_scanner_reads_the_link_and_the_code_fits_a_small_terminal(link: str) -> None:
    code = qr_code(link)
    assert scanned(code) == link
    assert len(code) < 24
    assert {len(line) for line in code} <= set(range(80))


@pytest.mark.parametrize("host", [HOME, "fd00::7"])
def test_a_terminal_shows_the_link_and_its_code(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    with terminal(monkeypatch) as (console, screen):
        seen = shown(console, screen, host)
    link = LINK.replace(HOME, "[fd00::7]" if ":" in host else host)
    lines = seen.plain.splitlines()
    assert link in lines
    assert scanned([line for line in lines if set(line) <= set("█▀▄ ")]) == link
    assert "sakuga keys revoke lan" in seen.plain


def test_the_code_has_its_own_colours_in_light_and_dark_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as (console, screen):
        seen = shown(console, screen)
    styled = {str(span.style) for span in seen.spans if set(seen.plain[span.start : span.end]) <= set("█▀▄ \n")}
    assert styled == {COLOURS}


def test_where_there_is_no_room_for_the_code_there_is_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch, width=40) as (console, screen):
        narrow = shown(console, screen).plain
    with terminal(monkeypatch, encoding="latin-1") as (console, screen):
        old = shown(console, screen).plain
    for seen in (narrow, old):
        assert LINK in seen
        assert "scan" not in seen
        assert not set("█▀▄") & set(seen)


def test_a_log_gets_neither_the_key_nor_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "log").open("w+", encoding="utf-8") as file:
        Invitation(HOME, KEY, Path("/data/lan.key")).show(8000, Console(file=file, highlight=False, soft_wrap=True))
        file.seek(0)
        seen = file.read()
    assert "/data/lan.key" in seen
    assert KEY not in seen
    assert not set("█▀▄") & set(seen)


# A running service


@pytest.fixture(scope="module")
def lan_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """`sakuga up --lan`, in an environment with settings that stand in its way."""
    settings = {
        "SAKUGA_TRUSTED_HOSTS": "photos.example",
        "SAKUGA_PUBLISHED_AT": "127.0.0.1",
        "SAKUGA_HOST": "127.0.0.1",
    }
    running = RunningService(tmp_path_factory.mktemp("lan"), environment=settings, options=("--lan",))
    try:
        lan_address()
    except SettingsError as error:
        skip_or_fail(error.detail)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def address(lan_service: RunningService) -> str:
    """The address that `up` printed."""
    said = re.search(r"Sakuga is ready: (http://[\d.]+:\d+)$", lan_service.log.read_text(), re.MULTILINE)
    assert said
    return said[1]


def key_of(service: RunningService) -> str:
    return (service.data_dir / "lan.key").read_text().strip()


def test_others_in_the_network_are_served_with_the_key_alone(lan_service: RunningService, address: str) -> None:
    assert address == f"http://{lan_address()}:{lan_service.port}"
    for url in (address, lan_service.url):
        assert httpx.get(f"{url}/api/v1/jobs").status_code == 401
        shown = {"Authorization": f"Bearer {key_of(lan_service)}"}
        assert httpx.get(f"{url}/api/v1/jobs", headers=shown).status_code == 200


def test_a_phone_that_opens_the_link_is_signed_in_and_draws_a_photo(
    browser: Browser, lan_service: RunningService, address: str
) -> None:
    visit = Visit(address)
    width, height = PHONE
    with browser.new_context(viewport={"width": width, "height": height}, is_mobile=True, has_touch=True) as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        visit.watch(page)
        page.goto(f"{address}/#key={key_of(lan_service)}")
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        assert page.url == f"{address}/"
        choose(page, payload(scene(seed=71)))
        expect_picture(page)
    assert visit.complaints == []
    said = [lan_service.log, *(lan_service.data_dir / "logs").glob("*.log")]
    assert len(said) == 4
    assert [file.name for file in said if key_of(lan_service) in file.read_text()] == []
