"""The command line in any environment: proxies, folders with code of their own, IPv6, pipes and devices."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from cli.proxies import proxy_for
from cli.remote import Remote
from shared.errors import InvalidValueError
from tests.cli.test_cli import photo_at, pictures_in, sakuga
from tests.conftest import ROOT, RunningService, free_port, wait_until

NOWHERE = "http://127.0.0.1:9"
PROXIES = {"http_proxy": NOWHERE, "HTTP_PROXY": NOWHERE, "all_proxy": NOWHERE, "ALL_PROXY": "socks5://127.0.0.1:9"}
LAN = "http://192.168.1.5:8000"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "environment",
    [
        *({name: proxy} for name, proxy in PROXIES.items()),
        {"http_proxy": "nonsense"},
        {"no_proxy": "localhost,127.0.0.1,::1,[::1]"},
        {"NO_PROXY": "fd07:b51a:cc66:f0::/64,10.0.0.0/8"},
    ],
)
def test_no_proxy_comes_between_a_command_and_this_machine(
    service: RunningService, tmp_path: Path, environment: dict[str, str]
) -> None:
    photo = photo_at(tmp_path / "cat.jpg")
    done = sakuga("submit", photo, "--server", service.url, "-o", tmp_path / "out", env=environment)
    assert done.exit_code == 0, done.output
    health = sakuga("health", "web", env=environment | {"SAKUGA_PORT": str(service.port)})
    assert health.exit_code == 0, health.output


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, LAN, None),
        ({"http_proxy": "http://proxy:3128"}, LAN, "http://proxy:3128"),
        ({"http_proxy": "proxy:3128"}, LAN, "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, "https://example.com", None),
        ({"all_proxy": "socks5://proxy:1080"}, "https://example.com", "socks5://proxy:1080"),
        ({"ALL_PROXY": "socks://proxy:1080/"}, LAN, "socks5://proxy:1080/"),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "192.168.0.0/16"}, LAN, None),
        (
            {"http_proxy": "http://proxy:3128", "no_proxy": "10.0.0.0/8, ::1,[::1], example.com"},
            LAN,
            "http://proxy:3128",
        ),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "example.com"}, "https://photos.example.com", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "fd07::/64"}, "http://[fd07::5]:8000", None),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "[fd07::5]"}, "http://[fd07::5]:8000", None),
        ({"http_proxy": "http://proxy:3128"}, "http://[fd07::5]:8000", "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "*"}, LAN, None),
    ],
)
def test_other_machines_are_reached_as_the_environment_has_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(httpx.URL(url)) == proxy


class Proxy(BaseHTTPRequestHandler):
    """Answers like any server, whichever is asked for."""

    def do_GET(self) -> None:
        body = b'{"max_upload_bytes": 7, "max_megapixels": 1, "max_album_photos": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_proxy_is_used_for_other_machines(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with Remote("http://photos.invalid") as remote:
        assert remote.limits().max_upload_bytes == 7


def test_an_unusable_proxy_is_reported_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("ftp://proxy:21", "http://proxy:port"):
        monkeypatch.setenv("http_proxy", url)
        with Remote("http://photos.invalid") as remote, pytest.raises(InvalidValueError, match="no_proxy"):
            remote.limits()


def test_a_proxy_that_does_not_answer_is_blamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    done = sakuga("submit", photo_at(tmp_path / "cat.jpg"), "--server", "http://photos.invalid", "-o", tmp_path / "out")
    assert "cannot be reached through the proxy in the environment" in done.stderr
    assert done.stderr.count("\n") == 1


def module_names() -> set[str]:
    """Return names that a module in the current folder could take from us or from what we use."""
    ours = {path.stem for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier()}
    theirs = {"celery", "celeryconfig", "flask", "gunicorn", "numpy", "redis", "torch"}
    return ours | theirs | set(sys.stdlib_module_names)


@pytest.fixture
def foreign_folder(tmp_path: Path) -> Path:
    """A folder with code of its own, which notes when it is run."""
    folder = tmp_path / "project"
    folder.mkdir()
    note = f"open({str(tmp_path / 'ran')!r}, 'a').write(__name__)\nraise SystemExit(9)\n"
    for name in module_names():
        (folder / f"{name}.py").write_text(note)
    return folder


def sakuga_in(folder: Path, *arguments: object, **environment: str) -> subprocess.Popen[bytes]:
    """Run the command in a folder, as its entry point in `bin` does: with the folder not on its own path."""
    command = [sys.executable, "-P", "-m", "cli.main", *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment)


def test_a_service_runs_no_code_of_the_folder_it_is_started_in(foreign_folder: Path, tmp_path: Path) -> None:
    port = free_port()
    environment = {"SAKUGA_PORT": str(port), "SAKUGA_DATA_DIR": str(tmp_path / "data"), "SAKUGA_PROCESSES": "1"}
    with sakuga_in(foreign_folder, "up", **environment) as process:
        try:
            wait_until(lambda: process.poll() is not None or is_ready(f"http://127.0.0.1:{port}"), "it is ready", 300)
        finally:
            process.terminate()
    assert not (tmp_path / "ran").exists()
    assert process.returncode == 0


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_photos_are_converted_in_several_processes_without_code_of_the_current_folder(
    foreign_folder: Path, tmp_path: Path
) -> None:
    for seed in range(16):
        photo_at(tmp_path / "in" / f"{seed}.jpg", (32, 32), seed)
    settings = {"SAKUGA_DATA_DIR": str(tmp_path / "data"), "SAKUGA_PROCESSES": "2"}
    with sakuga_in(foreign_folder, "convert", tmp_path / "in", "-o", tmp_path / "out", **settings) as process:
        assert process.wait(300) == 0
    assert not (tmp_path / "ran").exists()
    assert len(pictures_in(tmp_path / "out")) == 16


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_a_service_listens_on_ipv6(tmp_path: Path, host: str) -> None:
    port = free_port()
    environment = {"SAKUGA_HOST": host, "SAKUGA_ALLOW_ANYONE": "true", "SAKUGA_PORT": str(port)}
    environment |= {"SAKUGA_DATA_DIR": str(tmp_path), "SAKUGA_PROCESSES": "1"}
    with sakuga_in(tmp_path, "up", **environment) as process:
        try:
            wait_until(lambda: process.poll() is not None or is_ready(f"http://[::1]:{port}"), "it is ready", 300)
            assert process.poll() is None
            assert sakuga("health", "web", env=environment).exit_code == 0
            assert f"Sakuga is running at http://[::1]:{port}" in sakuga("doctor", env=environment).output
            assert is_ready(f"http://127.0.0.1:{port}") == (host == "::")
        finally:
            process.terminate()


@pytest.mark.usefixtures("service")
def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    for command in (["convert"], ["submit", "--server", NOWHERE]):
        done = sakuga(*command, pipe, "/dev/zero", "-o", tmp_path / "out")
        assert done.exit_code == 1
        assert f"{pipe}: is neither a file nor a folder" in done.stderr
        assert "0 of 2 converted" in done.stderr


def test_only_its_owner_reads_the_queue(service: RunningService) -> None:
    folder = service.data_dir / "queue"
    files = [folder, *folder.rglob("*")]
    assert len(files) > 3
    assert [path for path in files if path.stat().st_mode & 0o077] == []


def test_commands_find_the_server_that_runs_with_the_data_folder(service: RunningService, tmp_path: Path) -> None:
    photo, here = photo_at(tmp_path / "cat.jpg"), {"SAKUGA_DATA_DIR": str(service.data_dir)}
    done = sakuga("submit", photo, "-o", tmp_path / "out", env=here)
    assert done.exit_code == 0, done.output
    elsewhere = {"SAKUGA_DATA_DIR": str(tmp_path), "SAKUGA_PORT": "1"}
    missed = sakuga("submit", photo, "-o", tmp_path / "out", env=elsewhere)
    assert "http://127.0.0.1:1 cannot be reached" in missed.stderr


def test_the_doctor_says_where_sakuga_runs_and_what_has_its_port(service: RunningService, tmp_path: Path) -> None:
    port = {"SAKUGA_PORT": str(service.port)}
    found = sakuga("doctor", env=port | {"SAKUGA_DATA_DIR": str(service.data_dir)})
    assert found.exit_code == 0, found.output
    assert f"ok   port: Sakuga is running at {service.url}" in found.output
    taken = sakuga("doctor", env=port | {"SAKUGA_DATA_DIR": str(tmp_path)})
    assert taken.exit_code == 1
    assert f"fail port: 127.0.0.1:{service.port} is not available" in taken.output
