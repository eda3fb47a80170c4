"""The whole product as users run it: `sakuga up`, real processes, real weights, photos over HTTP."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from shared.settings import WEB_THREADS
from shared.styles import BUNDLED_WEIGHTS
from tests.cli.test_cli import sakuga
from tests.conftest import ROOT, RunningService, held_photo, photo_bytes, wait_until
from tests.processes import copies_of

TELL_CONNECTIONS = """
import os, sys

def tell(event, arguments):
    if event == "socket.connect":
        with open(os.environ["TELL_CONNECTIONS"], "a") as told:
            told.write(repr(arguments[1]) + "\\n")

sys.addaudithook(tell)
"""
HOSTILE_CODEC = """
import ctypes
from PIL import ImageFile

load = ImageFile.ImageFile.load
ours = []

def hostile(image):
    if image.size == (71, 53):
        ctypes.string_at(0)
    while image.size == (73, 51):
        ours.append(b"x" * (1 << 24))
    return load(image)

ImageFile.ImageFile.load = hostile
"""
SHORT_OF_TIME = {
    "SAKUGA_JOB_TIME_LIMIT_S": "4",
    "SAKUGA_PROCESSES": "1",
    "SAKUGA_VISIBILITY_TIMEOUT_S": "30",
}


@pytest.fixture(scope="module")
def sturdy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    running = RunningService(tmp_path_factory.mktemp("sturdy"), environment={"SAKUGA_PROCESSES": "1"})
    yield running
    running.stop()


@pytest.fixture
def own_service(sturdy: RunningService) -> RunningService:
    """A Sakuga for tests that harm it, and that it must survive; one that was stopped is started again."""
    if not sturdy.is_running():
        sturdy.start()
    return sturdy


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A Sakuga of one process that gives a photo little time."""
    running = RunningService(tmp_path_factory.mktemp("hurried"), environment=SHORT_OF_TIME)
    running.start()
    yield running
    running.stop()


def submit(service: RunningService, data: bytes, **fields: str) -> dict[str, Any]:
    response = httpx.post(f"{service.url}/api/v1/jobs", files={"photo": data}, data=fields, timeout=30)
    assert response.status_code == 202, response.text
    return dict(response.json())


def look(service: RunningService, job: dict[str, Any]) -> dict[str, Any]:
    return dict(httpx.get(service.url + job["links"]["self"], timeout=30).json())


def held_job(service: RunningService) -> dict[str, Any]:
    """Return a running job that does not finish before it is released."""
    service.hold()
    job = submit(service, held_photo())
    wait_until(lambda: look(service, job)["state"] == "running", "the conversion has begun")
    return job


def finished(service: RunningService, job: dict[str, Any], limit_s: float = 60) -> dict[str, Any]:
    wait_until(lambda: look(service, job)["finished_at"] is not None, "the job ends", limit_s)
    return look(service, job)


def part_of(service: RunningService, name: str) -> psutil.Process:
    (part,) = service.parts(name)
    return part


def worker_children(service: RunningService) -> list[psutil.Process]:
    """Return the children that draw; there are also children that prepare engines, and helpers of Python."""
    return copies_of(part_of(service, "worker"))


def test_a_photo_goes_in_and_an_anime_picture_comes_out(service: RunningService) -> None:
    photo = photo_bytes((301, 203))
    done = finished(service, submit(service, photo, format="png"))
    assert done["state"] == "succeeded"
    picture = httpx.get(service.url + done["links"]["result"])
    with Image.open(BytesIO(picture.content)) as image, Image.open(BytesIO(photo)) as original:
        assert image.size == (301, 203)
        assert image.tobytes() != original.convert("RGB").tobytes()


def test_fifty_photos_at_once_all_succeed_none_twice_while_polls_are_answered(service: RunningService) -> None:
    photos = [photo_bytes((400, 300), "JPEG", seed=1000 + number) for number in range(50)]
    jobs: list[dict[str, Any]] = []

    def send(photo: bytes) -> int:
        jobs.append(submit(service, photo, max_side="256"))
        return httpx.get(service.url + jobs[0]["links"]["self"], timeout=30).status_code

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(send, photos)) == {200}
    done = [finished(service, job) for job in jobs]
    assert [job["state"] for job in done] == ["succeeded"] * 50
    assert [job["attempts"] for job in done] == [1] * 50
    assert len({job["result"]["sha256"] for job in done}) == 50


def test_every_good_photo_converts_and_keeps_its_shape(service: RunningService, photos_dir: Path) -> None:
    good = [path for path in sorted(photos_dir.iterdir()) if path.name.split("_")[0] not in {"bad", "bomb"}]
    jobs = {path.name: submit(service, path.read_bytes(), max_side="320") for path in good if path.suffix != ".tsv"}
    assert len(jobs) >= 15
    for job in jobs.values():
        done = finished(service, job)
        assert done["state"] == "succeeded", done["error"]
        photo, result = done["photo"], done["result"]
        assert max(result["width"], result["height"]) == min(320, max(photo["width"], photo["height"]))
        assert result["width"] / result["height"] == pytest.approx(photo["width"] / photo["height"], rel=0.02)


def test_styles_come_and_go_while_the_service_runs(service: RunningService) -> None:
    change_styles(service, "import", BUNDLED_WEIGHTS / "hinata-light.safetensors", "--name", "mine", *LIKE_HINATA)
    assert "mine" in offered(service)
    assert finished(service, submit(service, photo_bytes(), style="mine"), limit_s=240)["state"] == "succeeded"
    change_styles(service, "remove", "mine")
    assert "mine" not in offered(service)
    refused = httpx.post(f"{service.url}/api/v1/jobs", files={"photo": photo_bytes()}, data={"style": "mine"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_style")


def test_a_worker_gives_back_a_photo_of_a_style_that_it_lacks(service: RunningService) -> None:
    weights = BUNDLED_WEIGHTS / "hinata-light.safetensors"
    change_styles(service, "import", weights, "--name", "rare", *LIKE_HINATA)
    with service.busy():
        job = submit(service, photo_bytes(seed=71), style="rare")  # of which no picture is cached
        change_styles(service, "remove", "rare")
    log = service.data_dir / "logs" / "worker.log"
    wait_until(lambda: was_given_back(log, job["id"]), "it is given back", limit_s=120)
    assert look(service, job)["state"] in {"queued", "running"}
    change_styles(service, "import", weights, "--name", "rare", *LIKE_HINATA)
    done = finished(service, job, limit_s=240)
    change_styles(service, "remove", "rare")
    assert done["state"] == "succeeded"


def was_given_back(log: Path, job_id: str) -> bool:
    lines = log.read_text("utf-8").splitlines()
    return any("will be retried" in line and "unknown_style" in line and job_id in line for line in lines)


LIKE_HINATA = ("--upsample", "half_pixel", "--licence", "MIT")


def change_styles(service: RunningService, *words: object) -> None:
    done = sakuga("weights", *words, env={"SAKUGA_DATA_DIR": str(service.data_dir)})
    assert done.exit_code == 0, done.output


def offered(service: RunningService) -> set[str]:
    return {style["name"] for style in httpx.get(f"{service.url}/api/v1/styles").json()["styles"]}


def test_the_first_photo_finds_a_warm_engine(own_service: RunningService) -> None:
    log = own_service.data_dir / "logs" / "worker.log"
    warmed = log.read_text("utf-8").count("engine warm")
    assert warmed >= 1
    job = finished(own_service, submit(own_service, photo_bytes(seed=20)))
    assert job["state"] == "succeeded"
    assert log.read_text("utf-8").count("engine warm") == warmed


def test_a_photo_survives_the_death_of_the_worker_process_that_converts_it(own_service: RunningService) -> None:
    job = held_job(own_service)
    victims = worker_children(own_service)
    assert victims
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)
    own_service.let_go()
    done = finished(own_service, job, limit_s=120)
    assert (done["state"], done["attempts"]) == ("succeeded", 2)


def test_waiting_jobs_and_pictures_survive_a_restart(own_service: RunningService) -> None:
    first = finished(own_service, submit(own_service, photo_bytes(seed=21)))
    held = held_job(own_service)
    waiting = [submit(own_service, photo_bytes(seed=seed)) for seed in range(1, 6)]
    own_service.stop()
    own_service.start()
    assert httpx.get(own_service.url + first["links"]["result"]).status_code == 200
    assert look(own_service, held)["state"] == "succeeded"  # which had finished before the stop
    for job in (held, *waiting):
        done = finished(own_service, job, limit_s=60)
        assert (done["state"], done["attempts"]) == ("succeeded", 1)


def test_everything_restarts_after_it_was_killed(own_service: RunningService) -> None:
    killed = own_service.parts("web") + own_service.parts("worker")
    family = killed + [child for part in killed for child in part.children(recursive=True)]
    for part in killed:
        part.kill()
    wait_until(lambda: not any(process.is_running() for process in family), "the old processes are gone", limit_s=120)
    wait_until(own_service.ready, "the service is ready again", limit_s=120)
    assert finished(own_service, submit(own_service, photo_bytes(seed=22)))["state"] == "succeeded"


def test_nothing_is_left_running_after_it_stops(own_service: RunningService) -> None:
    assert own_service.process is not None
    family = psutil.Process(own_service.process.pid).children(recursive=True)
    assert len(family) >= 4
    own_service.stop()
    assert own_service.process.returncode == 0
    wait_until(lambda: not any(process.is_running() for process in family), "every process has ended", limit_s=20)


def test_no_connections_are_opened_but_to_the_queue_and_the_page(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(TELL_CONNECTIONS)
    told = tmp_path / "told"
    environment = {
        "PYTHONPATH": str(hook),
        "SAKUGA_CACHE_DIR": str(tmp_path / "cache"),  # empty, so that engines are prepared, too
        "TELL_CONNECTIONS": str(told),
    }
    service = RunningService(tmp_path / "data", environment=environment)
    service.start()
    try:
        assert finished(service, submit(service, photo_bytes()))["state"] == "succeeded"
    finally:
        service.stop()
    called = set(told.read_text().splitlines())
    queue = {line for line in called if line.endswith("/valkey.sock'")}
    assert queue
    assert called - queue <= {repr(("127.0.0.1", service.port))}  # the supervisor checks whether the page responds


@pytest.fixture
def service_of_a_hostile_codec(tmp_path: Path) -> Iterator[RunningService]:
    """A service whose codec crashes, or exhausts its memory, on photos of certain sizes."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOSTILE_CODEC)
    environment = {
        "PYTHONPATH": str(tmp_path / "hook"),
        "SAKUGA_PROCESSES": "2",
        "SAKUGA_MAX_MEGAPIXELS": "1",
    }
    running = RunningService(tmp_path / "data", environment=environment)
    running.start()
    yield running
    running.stop()


def test_a_codec_that_crashes_or_exhausts_memory_fails_only_its_own_job(
    service_of_a_hostile_codec: RunningService,
) -> None:
    service = service_of_a_hostile_codec
    web = part_of(service, "web")
    crashing, greedy = submit(service, photo_bytes((71, 53))), submit(service, photo_bytes((73, 51)))
    good = [submit(service, photo_bytes(seed=seed)) for seed in range(1, 7)]
    assert [finished(service, job)["state"] for job in good] == ["succeeded"] * 6
    refused = finished(service, greedy)
    assert (refused["state"], refused["error"]["code"], refused["attempts"]) == ("failed", "photo_too_large", 1)
    lost = finished(service, crashing)
    assert (lost["state"], lost["error"]["code"], lost["attempts"]) == ("failed", "attempts_exhausted", 3)
    assert finished(service, submit(service, photo_bytes(seed=9)))["state"] == "succeeded"
    assert part_of(service, "web") == web


def test_clients_that_stop_sending_do_not_block_others(service: RunningService) -> None:
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(WEB_THREADS)]
    try:
        for connection in silent:
            connection.sendall(b"GET /livez HT")
        wait_until(lambda: _answers(service), "the service answers again", limit_s=60)
    finally:
        for connection in silent:
            connection.close()


def _answers(service: RunningService) -> bool:
    try:
        return httpx.get(f"{service.url}/livez", timeout=1).status_code == 200
    except httpx.TransportError:
        return False


def test_a_second_service_in_the_same_folder_or_on_the_same_port_is_refused(
    service: RunningService, tmp_path: Path
) -> None:
    for folder, reason in ((service.data_dir, "already running"), (tmp_path, "SAKUGA_PORT")):
        environment = os.environ | {"SAKUGA_DATA_DIR": str(folder), "SAKUGA_PORT": str(service.port)}
        command = [sys.executable, "-m", "cli.main", "up"]
        second = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert reason in second.stderr


def test_a_missing_default_style_is_reported_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"SAKUGA_DATA_DIR": str(tmp_path), "SAKUGA_PORT": "0", "SAKUGA_STYLE": "nope"}
    command = [sys.executable, "-m", "cli.main", "up"]
    refused = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert refused.returncode == 1
    assert "style must be one of" in refused.stderr


def test_a_process_that_hangs_is_killed_and_its_job_ends_with_advice(hurried: RunningService) -> None:
    job = held_job(hurried)
    (child,) = worker_children(hurried)
    child.suspend()  # a stopped process does not notice the soft time limit
    hung = finished(hurried, job)
    assert (hung["state"], hung["error"]["code"]) == ("failed", "timed_out")
    wait_until(lambda: not child.is_running(), "the hung process is gone")
    assert finished(hurried, submit(hurried, photo_bytes((32, 32))))["state"] == "succeeded"


def test_a_conversion_that_takes_too_long_ends_with_advice_and_the_next_one_runs(hurried: RunningService) -> None:
    slow = finished(hurried, held_job(hurried))
    assert (slow["state"], slow["error"]["code"]) == ("failed", "timed_out")
    assert finished(hurried, submit(hurried, photo_bytes((32, 32), seed=1)))["state"] == "succeeded"
