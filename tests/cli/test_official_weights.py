"""`sakuga weights get`, with a server of our own that misbehaves, and files made here in place of the real ones."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
import torch
from click.testing import Result

from cli import download
from cli.catalogue import CATALOGUE, git_blob, is_published
from cli.weights import Metadata
from shared.styles import Size, Style, installed_styles
from tests.cli.test_cli import data_dir, sakuga  # noqa: F401  a fixture
from worker.generator import AnimeGanV2
from worker.weights import load_generator

NAME = "face-paint"
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Server:
    """A server's files, its behaviour, and the requests that it received."""

    content: bytes
    url: str = ""
    asked: list[str] = field(default_factory=list)  # the ranges
    status: int = 200
    knows_ranges: bool = True
    cut_after: list[int] = field(default_factory=list)  # bytes of one answer after the other
    hangs: Event | None = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        start = int(wanted[len("bytes=") : -1]) if wanted and self.knows_ranges else 0
        if start >= len(self.content) and start:
            request.send_error(416)
            return
        rest = self.content[start:]
        request.send_response(206 if start and self.status == 200 else self.status)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        sent = self.cut_after.pop(0) if self.cut_after else len(rest)
        with suppress(ConnectionError):  # nobody listens any more
            request.wfile.write(rest[:sent])
        if self.hangs:
            self.hangs.wait(60)


@pytest.fixture
def server(published: Path) -> Iterator[Server]:
    serving = Server(published.read_bytes())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serving.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever).start()
        serving.url = f"http://127.0.0.1:{listening.server_address[1]}/weights.pt"
        yield serving
        if serving.hangs:
            serving.hangs.set()
        listening.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(11)
    file = tmp_path_factory.mktemp("weights") / "face_paint_512_v2.pt"
    torch.save(AnimeGanV2().state_dict(), file)
    return file


@pytest.fixture
def published(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the catalogue is made to know as the published one."""
    blob = git_blob(weights)
    monkeypatch.setitem(CATALOGUE, NAME, replace(CATALOGUE[NAME], blob=blob))
    return weights


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """The pauses between attempts, which are not waited for; and no proxies or downloads of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SAKUGA_CACHE_DIR", str(tmp_path / "cache"))
    pauses: list[float] = []
    monkeypatch.setattr(download, "sleep", pauses.append)
    return pauses


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were imported, of which nothing is read: most tests are about how they got here."""
    files: list[Path] = []

    def keep(file: Path, _: Path, metadata: Metadata, *, replace: bool) -> Style:  # noqa: ARG001
        assert git_blob(file) == CATALOGUE[NAME].blob
        files.append(file)
        return Style(name=metadata.name, title="", size=Size.FULL, file="x", sha256="0" * 64, licence=metadata.licence)

    monkeypatch.setattr("cli.weights.import_style", keep)
    return files


@pytest.fixture
def part(tmp_path: Path, published: Path) -> Path:  # noqa: ARG001  decides the id
    """The file in which a download is kept until it is complete."""
    path = tmp_path / "cache" / "downloads" / f"{CATALOGUE[NAME].blob}.part"
    path.parent.mkdir(parents=True)
    return path


def get(source: object, *options: str) -> Result:
    return sakuga("weights", "get", NAME, "--accept-licence", "--from", source, *options)


def test_the_ids_are_those_that_git_gives(tmp_path: Path) -> None:
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert not is_published(tmp_path / "hello", CATALOGUE[NAME])
    assert all(re.fullmatch(r"[0-9a-f]{40}", entry.blob) for entry in CATALOGUE.values())


@pytest.mark.usefixtures("data_dir")
def test_the_catalogue_says_what_there_is_and_under_which_terms() -> None:
    listed = sakuga("weights", "list").stdout
    for name in ("face-paint", "face-paint-v1", "celeba-distill", "paprika"):
        assert f"\n{name}: " in f"\n{listed}"
    _, _, of_paprika = listed.partition("\npaprika: ")
    assert "original AnimeGANv2, whose authors allow non-commercial use only" in of_paprika
    assert "MIT, Copyright (c) 2021 Bryan Lee" in listed


def test_every_file_is_asked_for_at_the_pinned_commit() -> None:
    assert CATALOGUE["paprika"].url == (
        "https://raw.githubusercontent.com/bryandlee/animegan2-pytorch/"
        "25d7b017267208dfaf34026aa3425e518372aa2f/weights/paprika.pt"
    )


def test_official_weights_become_a_style(server: Server, data_dir: Path, part: Path) -> None:  # noqa: F811
    done = get(server.url)
    assert done.exit_code == 0, done.output
    style = installed_styles(data_dir)[NAME]
    assert (style.title, style.upsample, style.licence) == ("Face paint", "align_corners", "MIT")
    assert "bryandlee/animegan2-pytorch, weights/face_paint_512_v2.pt at 25d7b01" in style.provenance
    load_generator(style)
    assert not part.exists()
    assert f"{NAME} (installed)" in sakuga("weights", "list").stdout


def test_weights_that_are_installed_are_not_downloaded_again(server: Server, data_dir: Path) -> None:  # noqa: F811
    get(server.url)
    again = get(server.url)
    assert (again.exit_code, len(server.asked)) == (0, 1)
    assert "installed already" in again.stdout
    assert get(server.url, "--replace").exit_code == 0
    assert len(server.asked) == 2
    assert NAME in installed_styles(data_dir)


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_is_downloaded_before_the_licence_is_accepted(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    data_dir: Path,  # noqa: F811
    answer: str,
) -> None:
    monkeypatch.setitem(CATALOGUE, "paprika", replace(CATALOGUE["paprika"], blob=CATALOGUE[NAME].blob))
    command = ("weights", "get", "paprika", "--from", server.url)
    refused = sakuga(*command, typed=answer)
    assert refused.exit_code == 1
    assert "--accept-licence" in refused.stderr
    assert "MIT, Copyright (c) 2021 Bryan Lee" in refused.stdout
    assert "non-commercial use only" in refused.stdout
    assert server.asked == []
    assert sakuga(*command, typed="y\n").exit_code == 0
    style = installed_styles(data_dir)["paprika"]
    assert (style.upsample, style.licence) == ("asymmetric", "MIT, derived from work for non-commercial use only")


@pytest.mark.usefixtures("data_dir", "imported")
def test_a_download_whose_connection_is_lost_goes_on_where_it_was(server: Server, pauses: list[float]) -> None:
    server.cut_after = [1_000_000, 0, 500_000]
    done = get(server.url)
    assert done.exit_code == 0, done.output
    assert server.asked == ["", "bytes=1000000-", "bytes=1000000-", "bytes=1500000-"]
    assert pauses == [1, 2, 1]


@pytest.mark.usefixtures("data_dir", "imported")
def test_a_download_is_given_up_when_nothing_more_arrives_and_the_next_run_continues(
    server: Server, part: Path, pauses: list[float]
) -> None:
    server.cut_after = [1_000_000, *[0] * len(download.DELAYS_S)]
    stopped = get(server.url)
    assert stopped.exit_code == 1
    assert "Run the same command again to continue" in stopped.stderr
    assert pauses == list(download.DELAYS_S)
    assert part.stat().st_size == 1_000_000
    assert get(server.url).exit_code == 0
    assert server.asked[-1] == "bytes=1000000-"


@pytest.mark.usefixtures("data_dir", "imported")
def test_a_server_that_sends_everything_again_is_understood(server: Server, part: Path) -> None:
    part.write_bytes(server.content[:1000])
    server.knows_ranges = False
    assert get(server.url).exit_code == 0
    assert server.asked == ["bytes=1000-"]


@pytest.mark.usefixtures("data_dir", "imported")
@pytest.mark.parametrize("size", [1000, 20_000_000])
def test_a_beginning_that_was_of_something_else_is_replaced(server: Server, part: Path, size: int) -> None:
    part.write_bytes(b"?" * size)
    assert get(server.url).exit_code == 0
    assert server.asked == [f"bytes={size}-", ""]


@pytest.mark.usefixtures("data_dir", "imported")
def test_a_download_that_was_complete_is_imported(server: Server, part: Path) -> None:
    part.write_bytes(server.content)
    assert get(server.url).exit_code == 0
    assert server.asked == [f"bytes={len(server.content)}-"]


def test_other_content_is_neither_parsed_nor_kept(
    server: Server,
    part: Path,
    data_dir: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cli.weights.read_tensors", lambda _: pytest.fail("it was parsed"))
    for content in (b"<html>Please sign in", server.content[:-1], server.content + b"?"):
        server.content = content
        refused = get(server.url)
        assert refused.exit_code == 1
        assert "is not the face_paint_512_v2.pt that bryandlee/animegan2-pytorch has published" in refused.stderr
        assert not part.exists()
    assert NAME not in installed_styles(data_dir)


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(("status", "said"), [(404, "404 Not Found"), (503, "503 Service Unavailable")])
def test_a_refusal_of_the_server_is_reported_at_once(
    server: Server, pauses: list[float], status: int, said: str
) -> None:
    server.status = status
    refused = get(server.url)
    assert refused.exit_code == 1
    assert f"127.0.0.1 answered {said}" in refused.stderr
    assert "pass the file with --from" in refused.stderr
    assert pauses == []


@pytest.mark.usefixtures("data_dir", "published")
@pytest.mark.parametrize("url", [f"{NOWHERE}/w.pt", "https://no-such-host.invalid/w.pt"])
def test_without_a_network_the_command_fails_at_once_and_says_what_to_do(url: str, pauses: list[float]) -> None:
    refused = get(url)
    assert refused.exit_code == 1
    assert f"{httpx.URL(url).host} cannot be reached" in refused.stderr
    assert f"download {url} elsewhere and pass the file with --from" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert pauses == []


@pytest.mark.usefixtures("data_dir")
def test_a_server_that_falls_silent_is_given_up(
    server: Server, part: Path, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", httpx.Timeout(0.5))
    server.hangs, server.cut_after = Event(), [1_000_000, *[0] * len(download.DELAYS_S)]
    stopped = get(server.url)
    assert stopped.exit_code == 1
    assert "127.0.0.1 is not responding" in stopped.stderr
    assert part.stat().st_size == 1_000_000
    assert pauses == list(download.DELAYS_S)


@pytest.mark.usefixtures("data_dir", "imported")
def test_a_proxy_is_asked_for_other_hosts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = server.url.removesuffix("/weights.pt")
    monkeypatch.setenv("http_proxy", proxy)
    assert get("http://weights.invalid/weights.pt").exit_code == 0
    assert len(server.asked) == 1
    monkeypatch.setenv("http_proxy", NOWHERE)
    assert "cannot be reached through the proxy" in get("http://weights.invalid/weights.pt", "--replace").stderr


@pytest.mark.usefixtures("data_dir")
def test_a_file_that_never_ends_is_not_stored(server: Server, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1 << 20)
    refused = get(server.url)
    assert "has more than 1 MB" in refused.stderr
    assert part.stat().st_size == 0


@pytest.mark.usefixtures("data_dir")
def test_two_processes_do_not_write_to_one_download(server: Server, part: Path) -> None:
    with part.open("ab") as file:
        download._lock(file)  # noqa: SLF001  as another process would
        refused = get(server.url)
    assert refused.exit_code == 1
    assert "Another process is downloading" in refused.stderr
    assert server.asked == []


@pytest.mark.usefixtures("data_dir", "published")
def test_ctrl_c_says_how_to_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.weights.download", stop)
    stopped = get("http://weights.invalid/weights.pt")
    assert stopped.exit_code == 130
    assert "again to continue the download" in stopped.stderr


@pytest.mark.usefixtures("data_dir")
def test_a_file_from_elsewhere_needs_no_network(published: Path, tmp_path: Path, imported: list[Path]) -> None:
    copy = tmp_path / "from a friend.pt"
    copy.write_bytes(published.read_bytes())
    assert get(copy).exit_code == 0
    assert imported == [copy]
    assert copy.exists()


@pytest.mark.usefixtures("published")
def test_a_file_that_is_not_the_published_one_is_refused(data_dir: Path, tmp_path: Path) -> None:  # noqa: F811
    torch.save(AnimeGanV2().state_dict(), tmp_path / "other.pt")
    refused = get(tmp_path / "other.pt")
    assert refused.exit_code == 1
    assert "other.pt is not the face_paint_512_v2.pt" in refused.stderr
    assert NAME not in installed_styles(data_dir)


@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize("source", ["nowhere.pt", "ftp://weights.invalid/w.pt"])
def test_a_place_that_is_neither_a_file_nor_a_url_is_refused(source: str) -> None:
    refused = get(source)
    assert refused.exit_code == 1
    assert "--from takes a file or an http:// or https:// URL" in refused.stderr


@pytest.mark.usefixtures("data_dir")
def test_a_name_that_is_not_in_the_catalogue_names_those_that_are() -> None:
    refused = sakuga("weights", "get", "hayao")
    assert refused.exit_code == 1
    assert "face-paint, face-paint-v1, celeba-distill, paprika" in refused.stderr
