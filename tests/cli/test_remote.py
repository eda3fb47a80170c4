"""The commands that use a server: nothing is uploaded or downloaded twice, however a run ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from threading import Lock

import httpx
import pytest
from PIL import Image
from redis import Redis
from rich.console import Console

from cli.album_sync import upload_names
from cli.answers import RemoteJob
from cli.bars import Bars
from cli.ledger import NAME as LEDGER
from cli.remote import (
    BUSY_RETRY_S,
    DELAYS_S,
    MAX_WAIT_S,
    WALK_STALL_S,
    RefusedError,
    Remote,
    ServerUnreachableError,
    StalledError,
)
from shared.albums.walks import Action
from shared.jobs.record import State
from shared.redis_connection import redis_client
from shared.redis_keys import EXPIRY
from shared.settings import Settings
from tests.cli.test_cli import photo_at, pictures_in, sakuga
from tests.conftest import ROOT, RunningService, photo_bytes, wait_until

# Runs the command, and sends itself a signal after this many photos.
ENDED_AFTER = """
import os, sys, threading
from cli.main import main
from cli.remote import Remote

number, photos = int(sys.argv.pop(1)), int(sys.argv.pop(1))
put, lock, sent = Remote.put_photo, threading.Lock(), []

def put_photo(*args):
    with lock:
        sent.append(args)
        if len(sent) == photos + 1:
            os.kill(os.getpid(), number)
        put(*args)

Remote.put_photo = put_photo
main()
"""


class Traffic:
    """The requests of the commands in this process."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def sent(self) -> list[str]:
        """Digests of the photos that were uploaded to albums."""
        return [sha256(one.content).hexdigest() for one in self.requests if one.method == "PUT"]

    def albums(self) -> int:
        """The number of albums created."""
        return sum(one.method == "POST" and one.url.path.endswith("/albums") for one in self.requests)

    def fetched(self) -> int:
        """The number of pictures downloaded."""
        return sum(one.url.path.endswith("/result") for one in self.requests)


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    traffic, send = Traffic(), httpx.HTTPTransport.handle_request

    def tell(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        traffic.requests.append(request)
        return send(transport, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", tell)
    return traffic


@pytest.fixture
def holiday(tmp_path: Path) -> Path:
    """Twelve photos, two of them broken: one that is not an image, and one whose pixels cannot be decoded."""
    folder = tmp_path / "holiday"
    for seed in range(10):
        photo_at(folder / ("beach" if seed % 2 else ".") / f"{seed}.jpg", seed=seed)
    (folder / "none.jpg").write_text("no photo")
    (folder / "damaged.png").write_bytes(damaged())
    return folder


def damaged() -> bytes:
    photo = bytearray(photo_bytes(seed=77))
    photo[len(photo) // 2] ^= 0xFF
    return bytes(photo)


GOOD = sorted(f"{'beach/' if seed % 2 else ''}{seed}.jpg" for seed in range(10))


def digests(folder: Path) -> dict[str, str]:
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in pictures_in(folder)}


def pictures(folder: Path) -> list[str]:
    return [name for name in pictures_in(folder) if name not in {LEDGER, "failures.json"}]


def album_of(folder: Path) -> str:
    """Return the only album from which the pictures of a folder come."""
    (album,) = json.loads((folder / LEDGER).read_bytes())["albums"]
    return str(album)


def test_photos_are_submitted_as_jobs(service: RunningService, tmp_path: Path) -> None:
    photos = [photo_at(tmp_path / folder / "cat.jpg", seed=seed) for seed, folder in enumerate("ab")]
    (tmp_path / "bad.png").write_bytes(damaged())
    done = sakuga(
        "submit", *photos, tmp_path / "bad.png", "--server", service.url, "-o", tmp_path / "out", "--max-side", 32
    )
    assert done.exit_code == 1
    assert "bad.png: The photo's data is damaged" in done.stderr
    assert "2 of 3 converted" in done.stderr
    assert pictures_in(tmp_path / "out") == ["cat-2.jpg", "cat.jpg"]
    with Image.open(tmp_path / "out" / "cat.jpg") as picture:
        assert picture.size == (32, 24)


def test_ctrl_c_cancels_what_was_submitted_and_reports_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(12):
        photo_at(tmp_path / "in" / f"{seed}.jpg", seed=seed)
    server = NeverDone(interrupt_after=3)
    monkeypatch.setattr("cli.remote.Remote", lambda *_, **__: speaking_to(server.answer))
    stopped = sakuga("submit", tmp_path / "in", "-o", tmp_path / "out")
    assert stopped.exit_code == 130
    assert f"Stopped. 0 of 12 pictures in {tmp_path / 'out'}" in stopped.stderr
    assert len(server.started) >= 3
    assert server.canceled == server.started


class NeverDone:
    """A server whose jobs never finish; after a few of them the user presses Ctrl-C."""

    def __init__(self, *, interrupt_after: int) -> None:
        self.started: set[str] = set()
        self.canceled: set[str] = set()
        self._interrupt_after = interrupt_after
        self._lock = Lock()

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/limits"):
            return httpx.Response(200, json={"max_upload_bytes": 1 << 20, "max_megapixels": 1, "max_album_photos": 1})
        if path.endswith("/cancel"):
            self.canceled.add(path.split("/")[-2])
        if path == "/api/v1/jobs":
            self._start(request.headers["Idempotency-Key"])
        return httpx.Response(200, json=waiting_job(request.headers.get("Idempotency-Key", path.split("/")[-1])))

    def _start(self, job_id: str) -> None:
        with self._lock:
            self.started.add(job_id)
            if len(self.started) == self._interrupt_after:
                os.kill(os.getpid(), signal.SIGINT)


def waiting_job(job_id: str) -> dict[str, object]:
    links = {"self": f"/api/v1/jobs/{job_id}", "cancel": f"/api/v1/jobs/{job_id}/cancel"}
    return {"id": job_id, "state": "queued", "result": None, "error": None, "notes": [], "links": links}


def test_the_server_may_be_named_in_the_environment(holiday: Path, tmp_path: Path) -> None:
    for command in ("album", "submit"):
        done = sakuga(command, holiday, "-o", tmp_path / "out", env={"SAKUGA_SERVER": "http://127.0.0.1:1"})
        assert "http://127.0.0.1:1 cannot be reached" in done.stderr
        assert "SAKUGA_SERVER" in sakuga(command, "--help").stdout
    assert sakuga("styles", env={"SAKUGA_SERVER": "http://127.0.0.1:1"}).exit_code == 0


def test_a_style_that_the_server_lacks_is_reported(service: RunningService, holiday: Path, tmp_path: Path) -> None:
    for command in (["album", holiday], ["submit", holiday / "0.jpg"]):
        done = sakuga(*command, "--server", service.url, "-o", tmp_path / "out", "-s", "nope")
        assert done.exit_code == 1
        assert "hinata-light" in done.stderr


def test_a_folder_is_an_album(service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic) -> None:
    out = tmp_path / "out"
    done = sakuga("album", holiday, "--server", service.url, "-o", out, "--format", "png")
    assert done.exit_code == 1, done.stderr
    assert "10 of 12 pictures" in done.stderr
    assert pictures(out) == [name.replace(".jpg", ".png") for name in GOOD]
    failures = json.loads((out / "failures.json").read_bytes())
    assert {name: error["code"] for name, error in failures.items()} == {
        "none.jpg": "not_a_photo",
        "damaged.png": "damaged_photo",
    }
    assert all(error["detail"] in done.stderr for error in failures.values())
    assert len(traffic.sent()) == 11


def test_a_second_run_sends_and_fetches_nothing(
    service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic
) -> None:
    (holiday / "none.jpg").unlink()
    (holiday / "damaged.png").unlink()
    command = ("album", holiday, "--server", service.url, "-o", tmp_path / "out")
    assert sakuga(*command).exit_code == 0
    before = digests(tmp_path / "out")
    assert traffic.fetched() == 10
    traffic.requests.clear()
    again = sakuga(*command)
    assert (again.exit_code, traffic.sent(), traffic.fetched()) == (0, [], 0)
    assert "10 of 10 pictures" in again.stderr
    assert digests(tmp_path / "out") == before


def test_a_folder_of_more_than_an_album_takes_becomes_several(
    service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Remote(service.url) as remote:
        small = remote.limits().model_copy(update={"max_album_photos": 4})
    monkeypatch.setattr(Remote, "limits", lambda _: small)
    arguments = ("album", holiday, "--server", service.url, "-o", tmp_path / "out", "--max-side", 32)
    assert sakuga(*arguments).exit_code == 1
    assert len(traffic.sent()) == 11, "one of the twelve is no photo at all"
    assert traffic.albums() == 3
    assert len(pictures(tmp_path / "out")) == 10
    sakuga(*arguments)
    assert len(traffic.sent()) == 11
    assert traffic.albums() == 3


def test_a_picture_that_is_gone_is_fetched_again_and_a_new_photo_sent(
    service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic
) -> None:
    out = tmp_path / "out"
    command = ("album", holiday, "--server", service.url, "-o", out)
    sakuga(*command)
    before = digests(out)
    (out / "0.jpg").unlink()
    new = photo_at(holiday / "new.jpg", seed=50)
    traffic.requests.clear()
    assert sakuga(*command).exit_code == 1
    assert traffic.sent() == [sha256(new.read_bytes()).hexdigest()]
    assert traffic.fetched() == 2
    assert {name: digests(out)[name] for name in GOOD} == {name: before[name] for name in GOOD}
    assert (out / "new.jpg").exists()


def test_an_edited_picture_is_kept_and_ours_is_saved_beside_it(
    service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic
) -> None:
    out = tmp_path / "out"
    command = ("album", holiday, "--server", service.url, "-o", out)
    sakuga(*command)
    original = digests(out)
    for name in ("0.jpg", "2.jpg"):
        (out / name).write_bytes(b"retouched")
    done = sakuga(*command)
    assert "10 of 12 pictures" in done.stderr
    assert "2 numbered because the name was taken" in done.stderr
    assert [(out / name).read_bytes() for name in ("0.jpg", "2.jpg")] == [b"retouched"] * 2
    assert [digests(out)[f"{name}-2.jpg"] for name in (0, 2)] == [original[f"{name}.jpg"] for name in (0, 2)]
    after = digests(out)
    traffic.requests.clear()
    sakuga(*command)
    assert traffic.fetched() == 0
    assert digests(out) == after
    sakuga(*command, "--replace")
    assert digests(out) == after, "what has its number keeps it"


def test_the_picture_of_a_changed_photo_replaces_the_previous_one(service: RunningService, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("album", tmp_path / "in", "--server", service.url, "-o", out)
    before, after = (_picture_of(tmp_path / "in" / "a.jpg", seed, out / "a.jpg", *command) for seed in (61, 62))
    assert before != after
    assert pictures(out) == ["a.jpg"]


def _picture_of(photo: Path, seed: int, picture: Path, *command: object) -> bytes:
    photo_at(photo, seed=seed)
    assert sakuga(*command).exit_code == 0
    return picture.read_bytes()


def test_existing_pictures_are_shown_as_done(
    service: RunningService, holiday: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, int]] = []
    begin = Bars.__init__

    def note(bars: Bars, console: Console, **numbers: int) -> None:
        shown.append(numbers)
        begin(bars, console, **numbers)

    monkeypatch.setattr(Bars, "__init__", note)
    command = ("album", holiday, "--server", service.url, "-o", tmp_path / "out")
    sakuga(*command)
    (tmp_path / "out" / "0.jpg").unlink()
    sakuga(*command)
    assert shown == [{"total": 11, "done": 0}, {"total": 11, "done": 9}]


def test_identical_photos_are_sent_once_and_saved_under_each_name(
    service: RunningService, tmp_path: Path, traffic: Traffic
) -> None:
    for name in ("a.jpg", "copy of a.jpg", "sub/a.jpg", "sub/a.jpeg"):
        photo_at(tmp_path / "in" / name, seed=31)
    out = tmp_path / "out"
    assert sakuga("album", tmp_path / "in", "--server", service.url, "-o", out).exit_code == 0
    assert (len(traffic.sent()), traffic.fetched()) == (1, 1)
    assert pictures(out) == ["a.jpg", "copy of a.jpg", "sub/a-2.jpg", "sub/a.jpg"]
    assert len({digest for name, digest in digests(out).items() if name != LEDGER}) == 1


def ended_after(number: signal.Signals, photos: int, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", ENDED_AFTER, str(int(number)), str(photos), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_a_killed_run_is_resumed(service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic) -> None:
    out = tmp_path / "out"
    command = ("album", holiday, "--server", service.url, "-o", out)
    assert ended_after(signal.SIGKILL, 5, *command).returncode == -signal.SIGKILL
    album = album_of(out)
    listed = httpx.get(f"{service.url}/api/v1/albums/{album}/photos").json()["photos"]
    assert len(listed) == 5
    known = {one["sha256"] for one in listed}
    traffic.requests.clear()
    assert sakuga(*command).exit_code == 1
    assert album_of(out) == album
    assert set(traffic.sent()) == {digest for name, digest in digests(holiday).items() if name != "none.jpg"} - known
    assert len(traffic.sent()) == 6
    assert pictures(out) == GOOD


def test_ctrl_c_leaves_the_album_and_says_how_to_resume(service: RunningService, holiday: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("album", holiday, "--server", service.url, "-o", out)
    stopped = ended_after(signal.SIGINT, 3, *command)
    assert stopped.returncode == 130, stopped.stderr
    assert "Run the same command" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    album = httpx.get(f"{service.url}/api/v1/albums/{album_of(out)}").json()
    assert album["counts"]["canceled"] == 0
    assert sum(album["counts"].values()) >= 3
    assert sakuga(*command).exit_code == 1
    assert pictures(out) == GOOD


def test_an_expired_album_is_replaced_by_one_with_the_photos_that_have_no_picture(
    service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic
) -> None:
    out = tmp_path / "out"
    command = ("album", holiday, "--server", service.url, "-o", out)
    sakuga(*command)
    album = album_of(out)
    httpx.delete(f"{service.url}/api/v1/albums/{album}")
    (out / "0.jpg").unlink()
    traffic.requests.clear()
    sakuga(*command)
    assert album_of(out) != album
    assert set(traffic.sent()) == {digests(holiday)[name] for name in ("0.jpg", "damaged.png")}
    assert pictures(out) == GOOD


@pytest.fixture(scope="module")
def forgetful(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningService, Redis]]:
    """A service and its Redis, in which tests let pictures expire."""
    redis = redis_client(Settings(redis_url=redis_url))
    redis.flushall()
    running = RunningService(tmp_path_factory.mktemp("forgetful"), environment={"SAKUGA_REDIS_URL": redis_url})
    running.start()
    yield running, redis
    running.stop()
    redis.close()


@pytest.mark.parametrize("name", ["0.jpg", "renamed.jpg"])
def test_photos_whose_pictures_expired_before_they_were_fetched_are_sent_again(
    forgetful: tuple[RunningService, Redis], holiday: Path, tmp_path: Path, traffic: Traffic, name: str
) -> None:
    service, redis = forgetful
    out = tmp_path / "out"
    command = ("album", holiday, "--server", service.url, "-o", out)
    sakuga(*command)
    listed = httpx.get(f"{service.url}/api/v1/albums/{album_of(out)}/photos").json()["photos"]
    job = next(one for one in listed if one["name"] == "0.jpg")["job"]
    redis.zadd(EXPIRY, {job["id"]: 1})
    look = f"{service.url}{job['links']['self']}"
    wait_until(lambda: httpx.get(look).json()["state"] == "expired", "the picture has expired")
    (out / "0.jpg").unlink()
    (holiday / "0.jpg").rename(holiday / name)
    traffic.requests.clear()
    sakuga(*command)
    assert traffic.sent() == [digests(holiday)[name]]
    assert pictures(out) == sorted([*GOOD[1:], name])


def test_pictures_with_other_options_are_replaced_only_on_request(
    service: RunningService, tmp_path: Path, traffic: Traffic
) -> None:
    photo_at(tmp_path / "in" / "a.jpg", seed=41)
    out = tmp_path / "out"
    command = ("album", tmp_path / "in", "--server", service.url, "-o", out)
    sakuga(*command)
    first, before = album_of(out), digests(out)
    for options in (("--max-side", 32), ("--format", "png"), ("-s", "sumi-light")):
        refused = sakuga(*command, *options)
        assert refused.exit_code == 1
        assert "pictures made with other options (format jpeg, max_side 1024)" in refused.stderr
        assert "--replace" in refused.stderr
        assert digests(out) == before
    assert sakuga(*command, "--max-side", 32, "--replace").exit_code == 0
    assert album_of(out) != first
    assert len(traffic.sent()) == 2
    with Image.open(out / "a.jpg") as picture:
        assert picture.size == (32, 24)


def test_an_album_that_keeps_its_photos_is_drawn_in_another_style_without_sending_them(
    service: RunningService, holiday: Path, tmp_path: Path, traffic: Traffic
) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    sakuga("album", holiday, "--server", service.url, "-o", out, "--keep-photos", "--max-side", 32)
    before, sent = digests(out), len(traffic.sent())
    command = ("redraw", out, "-s", "sumi", "-o", again)
    for _ in range(2):
        done = sakuga(*command)
        assert done.exit_code == 1, "there are broken photos"
        assert "10 of 12 pictures" in done.stderr
        assert pictures(again) == GOOD
    with Image.open(again / GOOD[0]) as picture:
        assert picture.size == (32, 24)
    assert all(digests(again)[name] != before[name] for name in GOOD)
    assert digests(out) == before
    redrawn = httpx.get(f"{service.url}/api/v1/albums/{album_of(again)}").json()
    assert (redrawn["style"], redrawn["keep_photos"]) == ("sumi-light", True)
    assert (len(traffic.sent()), traffic.albums()) == (sent, 1)
    assert "other options" in sakuga("redraw", out, "-s", "yoi", "-o", out).stderr


def test_photos_that_a_redraw_does_not_find_on_the_server_are_sent_again(
    forgetful: tuple[RunningService, Redis], holiday: Path, tmp_path: Path, traffic: Traffic
) -> None:
    service, redis = forgetful
    out = tmp_path / "out"
    sakuga("album", holiday, "--server", service.url, "-o", out, "--keep-photos")
    listed = httpx.get(f"{service.url}/api/v1/albums/{album_of(out)}/photos").json()["photos"]
    job = next(one for one in listed if one["name"] == "0.jpg")["job"]
    redis.zadd(EXPIRY, {job["id"]: 1})
    look = f"{service.url}{job['links']['self']}"
    wait_until(lambda: httpx.get(look).json()["state"] == "expired", "the photo has expired")
    traffic.requests.clear()
    sakuga("redraw", out, "-s", "sumi", "-o", tmp_path / "sumi")
    assert traffic.sent() == [digests(holiday)["0.jpg"]]
    assert pictures(tmp_path / "sumi") == GOOD
    httpx.delete(f"{service.url}/api/v1/albums/{album_of(out)}")
    traffic.requests.clear()
    sakuga("redraw", out, "-s", "yoi", "-o", tmp_path / "yoi")
    assert (len(traffic.sent()), traffic.albums()) == (11, 1)
    assert pictures(tmp_path / "yoi") == GOOD


def test_photos_that_are_not_kept_cannot_be_drawn_again(service: RunningService, tmp_path: Path) -> None:
    photo_at(tmp_path / "in" / "a.jpg", seed=46)
    command = ("album", tmp_path / "in", "--server", service.url, "-o", tmp_path / "out")
    assert sakuga(*command).exit_code == 0
    for refused in (
        sakuga("redraw", tmp_path / "out", "-s", "sumi", "-o", tmp_path / "sumi"),
        sakuga(*command, "--keep-photos"),
    ):
        assert refused.exit_code == 1
        assert "were sent without --keep-photos" in refused.stderr
    no_album = sakuga("redraw", tmp_path / "in", "-s", "sumi", "-o", tmp_path / "sumi")
    assert (no_album.exit_code, "from `sakuga album`" in no_album.stderr) == (1, True)
    assert not (tmp_path / "sumi").exists()


def test_photos_that_the_server_would_refuse_are_reported_and_not_sent(
    service: RunningService, tmp_path: Path, traffic: Traffic
) -> None:
    photo_at(tmp_path / "in" / "good.jpg", seed=42)
    huge = photo_at(tmp_path / "in" / "huge.jpg")
    os.truncate(huge, (32 << 20) + 1)
    photo_at(tmp_path / "in" / "tiny.jpg", (8, 8))
    done = sakuga("album", tmp_path / "in", "--server", service.url, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "huge.jpg: A photo may be at most 32 MiB" in done.stderr
    assert "tiny.jpg: The photo is 8x8" in done.stderr
    assert len(traffic.sent()) == 1


def test_files_from_elsewhere_are_not_overwritten(service: RunningService, tmp_path: Path) -> None:
    photo_at(tmp_path / "in" / "a.jpg", seed=43)
    other = photo_at(tmp_path / "out" / "a.jpg", seed=44)
    before = other.read_bytes()
    command = ("album", tmp_path / "in", "--server", service.url, "-o", tmp_path / "out")
    for _ in range(2):
        done = sakuga(*command)
        assert done.exit_code == 0
        assert "1 numbered because the name was taken" in done.stderr
        assert pictures(tmp_path / "out") == ["a-2.jpg", "a.jpg"]
    assert other.read_bytes() == before
    photo_at(tmp_path / "others" / "a.jpg", seed=45)
    refused = sakuga("album", tmp_path / "others", "--server", service.url, "-o", tmp_path / "out")
    assert refused.exit_code == 1
    assert "contains the pictures of" in refused.stderr
    (tmp_path / "out" / LEDGER).write_text("{")
    assert "is damaged; remove it" in sakuga(*command).stderr


def test_a_folder_without_photos_is_reported(service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = sakuga("album", tmp_path / "in", "--server", service.url, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr == f"Error: {tmp_path / 'in'}: contains no photos.\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "localhost:8000", "http://", "http://[", "ftp://a"])
@pytest.mark.parametrize("command", ["album", "submit"])
def test_an_unreachable_server_is_reported_in_one_sentence(
    holiday: Path, tmp_path: Path, command: str, url: str
) -> None:
    done = sakuga(command, holiday, "--server", url, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert url in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_photos_are_named_so_that_none_replaces_another() -> None:
    wanted = {"1" * 64: "a:b.jpg", "2" * 64: "a?b.jpg", "3" * 64: "c.jpg", "4" * 64: "d.jpg"}
    held = {"c.jpg": "9" * 64, "d.jpg": "4" * 64}
    assert list(upload_names(wanted, held).values()) == ["a_b.jpg", "a_b-22222222.jpg", "c-33333333.jpg", "d.jpg"]


class WithoutWorkers:
    """A server with an album that is said to be `pending`; nothing of that is ever done."""

    def __init__(self) -> None:
        self.pending: list[str] = []
        self.asked: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path.removeprefix('/api/v1')}")
        if request.url.path.endswith("/limits"):
            return httpx.Response(200, json={"max_upload_bytes": 1 << 20, "max_megapixels": 1, "max_album_photos": 9})
        if request.url.path.endswith("/check"):
            return httpx.Response(200, json={"missing": []})
        if request.url.path.endswith("/photos"):
            return httpx.Response(200, json={"photos": [], "next_cursor": None})
        return album(dict.fromkeys(State, 0), self.pending)


@pytest.fixture
def without_workers(monkeypatch: pytest.MonkeyPatch) -> WithoutWorkers:
    server = WithoutWorkers()
    monkeypatch.setattr("cli.remote.Remote", lambda *_, **__: speaking_to(server.answer))
    monkeypatch.setattr(Remote, "pause", lambda *_: None)
    return server


def test_an_album_that_nobody_retries_is_reported_and_resumed_by_the_next_run(
    without_workers: WithoutWorkers, tmp_path: Path
) -> None:
    photo_at(tmp_path / "in" / "a.jpg")
    command = ("album", tmp_path / "in", "-o", tmp_path / "out")
    sakuga(*command)
    without_workers.pending = ["cancel", "retry"]
    for _ in range(2):
        without_workers.asked.clear()
        stopped = sakuga(*command)
        assert stopped.exit_code == 1
        assert "no progress for 5 minutes" in stopped.stderr
        assert "run the same command again to resume" in stopped.stderr
        assert without_workers.asked[:3] == ["GET /limits", "GET /albums/x", "POST /albums/x/retry"]
        assert "POST /albums" not in without_workers.asked


def test_an_album_that_is_being_erased_is_replaced(without_workers: WithoutWorkers, tmp_path: Path) -> None:
    photo_at(tmp_path / "in" / "a.jpg")
    command = ("album", tmp_path / "in", "-o", tmp_path / "out")
    sakuga(*command)
    without_workers.pending = ["erase"]
    without_workers.asked.clear()
    sakuga(*command)
    assert without_workers.asked[:3] == ["GET /limits", "GET /albums/x", "POST /albums"]


class TestRetries:
    """The client's retries when the server is busy or down, without real pauses."""

    @pytest.fixture
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        pauses: list[float] = []
        monkeypatch.setattr(Remote, "pause", lambda _, seconds: pauses.append(seconds))
        return pauses

    def test_it_retries_when_the_server_says(self, pauses: list[float]) -> None:
        answers = iter([busy("7"), busy("900"), busy(""), album()])
        with speaking_to(lambda _: next(answers)) as remote:
            assert remote.album("x").id == "x"
        assert pauses == [7, MAX_WAIT_S, 1]

    def test_it_does_not_wait_for_ever(self, pauses: list[float]) -> None:
        with speaking_to(lambda _: busy("600")) as remote, pytest.raises(RefusedError, match="full"):
            remote.album("x")
        assert sum(pauses) == BUSY_RETRY_S

    def test_it_does_not_wait_until_another_day(self, pauses: list[float]) -> None:
        with speaking_to(lambda _: busy(str(BUSY_RETRY_S + 1), status=429)) as remote, pytest.raises(RefusedError):
            remote.album("x")
        assert pauses == []

    def test_it_sends_the_same_request_again_after_a_lost_connection(self, pauses: list[float]) -> None:
        asked: list[httpx.Request] = []

        def lose_some(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            if len(asked) == 1:
                raise httpx.ReadError("lost")
            return httpx.Response(504) if len(asked) == 2 else httpx.Response(202)

        with speaking_to(lose_some) as remote:
            remote.put_photo("x", "a b.jpg", b"photo")
        assert [(one.content, one.url.raw_path) for one in asked] == [
            (b"photo", b"/api/v1/albums/x/photos/a%20b.jpg")
        ] * 3
        assert pauses == list(DELAYS_S[:2])

    def test_it_gives_up_on_a_server_that_stays_down(self, pauses: list[float]) -> None:
        def refuse(_: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

        with speaking_to(refuse) as remote:
            with pytest.raises(ServerUnreachableError, match="is Sakuga running there"):
                remote.album("x")
            assert pauses == list(DELAYS_S)
            pauses.clear()
            with pytest.raises(ServerUnreachableError):
                remote.limits()
        assert pauses == []

    def test_it_waits_for_an_album_to_be_retried_while_that_goes_on(self, pauses: list[float]) -> None:
        left = iter([9] * WALK_STALL_S + [5] * WALK_STALL_S)

        def retry(_: httpx.Request) -> httpx.Response:
            failed = next(left, 0)
            return album({"failed": failed}, pending=["retry"] if failed else [])

        with speaking_to(retry) as remote:
            assert remote.retry("x").pending == []
        assert sum(pauses) == 2 * WALK_STALL_S

    def test_it_waits_for_the_photos_of_a_redrawn_album(self, pauses: list[float]) -> None:
        left = iter([["redraw"], ["redraw"]])
        with speaking_to(lambda _: album(pending=next(left, []))) as remote:
            assert remote.walked(remote.redraw("w", "sumi"), Action.REDRAW).pending == []
        assert sum(pauses) == 2

    def test_it_gives_up_on_an_album_that_nobody_retries(self, pauses: list[float]) -> None:
        server = speaking_to(lambda _: album({"failed": 9}, pending=["retry"]))
        with server as remote, pytest.raises(StalledError, match="check that one is running"):
            remote.retry("x")
        assert sum(pauses) == WALK_STALL_S

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (httpx.Response(200, text="<html>"), "like this version of Sakuga"),
            (httpx.Response(404, text="<html>"), "404 Not Found"),
            (httpx.Response(422, json={"code": "x", "title": "y", "detail": "Too odd."}), "Too odd."),
        ],
    )
    def test_an_unexpected_answer_is_explained(self, answer: httpx.Response, said: str) -> None:
        with speaking_to(lambda _: answer) as remote, pytest.raises((RefusedError, ServerUnreachableError), match=said):
            remote.limits()


@pytest.mark.parametrize(("elsewhere", "shown"), [("http://store.example/a.jpg", None), ("/a.jpg", "Bearer k")])
def test_a_key_is_sent_to_the_server_and_to_no_host_it_redirects_to(elsewhere: str, shown: str | None) -> None:
    asked: list[httpx.Request] = []

    def send_on(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        is_first = len(asked) == 1
        return httpx.Response(303, headers={"Location": elsewhere}) if is_first else httpx.Response(200, content=b"")

    job = RemoteJob(id="x", state=State.SUCCEEDED, result=None, error=None, notes=(), links={"result": "/result"})
    with Remote("http://server", key="k", transport=httpx.MockTransport(send_on)) as remote:
        remote.picture(job)
    assert [request.headers.get("Authorization") for request in asked] == ["Bearer k", shown]


def test_a_server_that_asks_for_a_key_is_explained() -> None:
    problem = {"code": "unauthorized", "title": "API key required", "detail": "Send it."}
    with speaking_to(lambda _: httpx.Response(401, json=problem)) as remote, pytest.raises(RefusedError) as refused:
        remote.limits()
    assert "SAKUGA_API_KEY" in refused.value.detail
    assert "--key-file" in refused.value.detail


@pytest.mark.parametrize("text", ["", "hunter2", "sakuga_short", f"sakuga_{'x' * 42}é"])
def test_a_malformed_key_is_neither_sent_nor_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    photo_at(tmp_path / "a.jpg")
    done = sakuga("submit", tmp_path / "a.jpg", "-o", tmp_path / "out", "--key-file", tmp_path / "key")
    assert done.exit_code == 1
    assert "does not contain an API key" in done.stderr
    assert not text or text not in done.stderr


def speaking_to(server: Callable[[httpx.Request], httpx.Response]) -> Remote:
    return Remote("http://server", transport=httpx.MockTransport(server))


def busy(retry_after: str, status: int = 503) -> httpx.Response:
    problem = {"code": "queue_full", "title": "The queue is full", "detail": "The queue is full."}
    return httpx.Response(status, headers={"Retry-After": retry_after}, json=problem)


def album(counts: dict[str, int] | None = None, pending: list[str] | None = None) -> httpx.Response:
    return httpx.Response(200, json={"id": "x", "counts": counts or {}, "eta_s": None, "pending": pending or []})
