"""Hosts that are this machine, and the ways to write their addresses."""

import socket

import pytest

from shared.errors import SettingsError
from shared.hosts import bind_address, bound_socket, is_loopback, local_url
from shared.settings import Settings, load_settings


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"]
)
def test_this_machine_has_many_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "fd00::1", "localhost.example.com", "", "host"])  # noqa: S104
def test_what_others_reach_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104
        ("::1", "http://[::1]:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::1", "http://[fd00::1]:8000"),
        ("photos.example.com", "http://photos.example.com:8000"),
    ],
)
def test_a_server_has_a_url_on_its_own_machine(host: str, url: str) -> None:
    assert local_url(host, 8000) == url


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_port_is_taken_on_an_address_of_either_kind(host: str) -> None:
    with bound_socket(host, 0) as taken:
        assert taken.family == (socket.AF_INET6 if ":" in host else socket.AF_INET)
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            bound_socket(host, taken.getsockname()[1])


def test_a_name_that_cannot_be_resolved_is_a_setting_to_correct() -> None:
    for host in ("no.such.host.invalid", "", "x" * 80):
        with pytest.raises(SettingsError, match="SAKUGA_HOST"):
            bind_address(host)


def test_an_ipv6_address_may_be_written_as_in_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_HOST", "[::1]")
    monkeypatch.setenv("SAKUGA_PUBLISHED_AT", "[::1]")
    settings = load_settings()
    assert (settings.host, settings.published_at) == ("::1", "::1")
    assert settings.local_url == "http://[::1]:8000"


@pytest.mark.parametrize("host", ["::1", "[::1]", "127.0.0.2", "localhost"])
def test_on_loopback_of_either_kind_only_known_names_are_served(host: str) -> None:
    assert "::1" in (Settings(host=host).host_names or [])
