"""Test the containers with a real Docker engine: `make compose-test`.

Builds both images, brings everything up, sends a photo and an album through nginx and fetches the pictures, scales to
two workers, kills one with -9 while jobs run, and shows that all of them succeed. Everything is made under a project
name, port and secret of its own and is removed at the end, with its volumes.

On a machine without a Docker engine or the images, the test is skipped with a reason; with CI=true, it fails instead.
COMPOSE_TEST=skip skips it even in CI, COMPOSE_TEST=require makes it fail on a laptop too. Images that cannot be pulled
are replaced by stand-ins that deploy/local_images.sh makes (needs root and debootstrap).
"""

import io
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "sakuga-check"
OLDEST_COMPOSE = (2, 1, 1)  # the first that knows `up --wait`
JOB_TIME_LIMIT_S = 40
WORKERS = 2
VISIBILITY_TIMEOUT_S = 6
BUILD_LIMIT_S, PULL_LIMIT_S, UP_LIMIT_S, JOBS_LIMIT_S = 1500, 300, 240, 300
MANY = 8
ALBUM = 4
LARGE = (1280, 960)  # in a full style it takes a few seconds, and up to 1.7 GB of a worker
HELD_ANSWER_TIMEOUT_S = 15  # for an answer that is held open for less
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

T = TypeVar("T")
Json = dict[str, Any]


class CheckError(Exception):
    """Something that should hold does not."""


class MissingError(Exception):
    """This machine lacks something that the check needs."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Json:
        value: Json = json.loads(self.body)
        return value


class Stack:
    """The compose project under test and the one address it publishes."""

    def __init__(self) -> None:
        """Choose a free port and a secret; nothing is started."""
        self.port = _free_port()
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("SAKUGA_")} | {
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_PROGRESS": "plain",
            "IMAGE_TAG": "check",
            "PYTHON": sys.executable,
            "S3_SECRET_KEY": secrets.token_hex(32),
            "SAKUGA_JOB_TIME_LIMIT_S": str(JOB_TIME_LIMIT_S),
            "SAKUGA_PORT": str(self.port),
            "SAKUGA_PROCESSES": "1",
            "SAKUGA_VISIBILITY_TIMEOUT_S": str(VISIBILITY_TIMEOUT_S),
        }

    def run(self, *command: str, timeout_s: float = 60) -> str:
        """Run a command to its end and return what it printed."""
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CheckError(f"`{' '.join(command)}` took more than {timeout_s:.0f} s") from error
        if done.returncode:
            raise CheckError(f"`{' '.join(command)}` failed:\n{done.stdout[-3000:]}{done.stderr[-6000:]}")
        return done.stdout

    def compose(self, *arguments: str, timeout_s: float = 60) -> str:
        # an empty environment file, so that no .env of this checkout reaches the test
        return self.run("docker", "compose", "--env-file", os.devnull, *arguments, timeout_s=timeout_s)

    def up(self, *arguments: str) -> None:
        limit = ("--wait", "--wait-timeout", str(UP_LIMIT_S))
        self.compose("up", "--detach", "--no-build", *limit, *arguments, timeout_s=UP_LIMIT_S + 60)

    def services(self) -> dict[str, Json]:
        services: dict[str, Json] = json.loads(self.compose("config", "--format", "json"))["services"]
        return services

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--quiet", service).split()

    def inspect(self, container: str) -> Json:
        description: Json = json.loads(self.run("docker", "inspect", container))[0]
        return description

    def has_image(self, image: str) -> bool:
        return bool(self.run("docker", "image", "ls", "--quiet", image).strip())

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Ask nginx, as a client on this machine would."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=HELD_ANSWER_TIMEOUT_S)
        try:
            answer = _send(connection, method, path, body, headers)
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except OSError as error:
            raise CheckError(f"{method} {path.partition('?')[0]}: {error!r}") from error
        finally:
            connection.close()


def main() -> int:
    wish = os.environ.get("COMPOSE_TEST", "")
    if wish not in {"", "skip", "require"}:
        return _say(f"COMPOSE_TEST is skip or require, not {wish!r}", 2)
    if wish == "skip":
        return _say("skipped: COMPOSE_TEST=skip", 0)
    stack = Stack()
    try:
        _require_engine(stack)
        return _check(stack)
    except MissingError as error:
        if wish == "require" or os.environ.get("CI") == "true":
            return _say(f"FAILED: {error}", 1)
        return _say(f"skipped: {error}", 0)


def _check(stack: Stack) -> int:
    began = time.monotonic()
    try:
        _down(stack)  # what an earlier run that was killed left behind
        for title, step in STEPS:
            start = time.monotonic()
            print(f"· {title} …", flush=True)
            seen = step(stack)
            print(f"  ok in {time.monotonic() - start:.1f} s{': ' + seen if seen else ''}", flush=True)
    except CheckError as error:
        _show_logs(stack)
        return _say(f"FAILED: {error}", 1)
    finally:
        print("· down …", flush=True)
        _down(stack)
    return _say(f"all {len(STEPS)} steps passed in {time.monotonic() - began:.0f} s", 0)


def _require_engine(stack: Stack) -> None:
    try:
        stack.run("docker", "version", "--format", "{{.Server.Version}}", timeout_s=20)
    except FileNotFoundError:
        raise MissingError("there is no docker command") from None
    except CheckError as error:
        raise MissingError(f"no Docker engine answers. {str(error).splitlines()[-1]}") from None
    try:
        found = stack.run("docker", "compose", "version", "--short", timeout_s=20).strip()
    except CheckError:
        raise MissingError("docker has no `compose` plugin") from None
    numbers = found.lstrip("v").partition("-")[0].partition("+")[0].split(".")
    if tuple(map(int, numbers)) < OLDEST_COMPOSE:
        raise MissingError(f"docker compose is {found}; `up --wait` came with 2.1.1")


def get_images(stack: Stack) -> str:
    services = stack.services()
    wanted = {name: service["image"] for name, service in services.items() if "build" not in service}
    wanted["base"] = services["worker"]["build"]["args"]["BASE_IMAGE"]
    missing = {name: image for name, image in wanted.items() if not stack.has_image(image) and not _pull(stack, image)}
    if missing:
        print(f"  cannot be pulled: {', '.join(missing.values())}; making stand-ins", flush=True)
        pairs = {"base": wanted["base"]} | missing
        try:
            stack.run("deploy/local_images.sh", *(f"{name}={image}" for name, image in pairs.items()), timeout_s=900)
        except CheckError as error:
            raise MissingError(f"images can be neither pulled nor built here. {error}") from error
    names = sorted(wanted.values())
    labels = '{{index .Config.Labels "sakuga.stand-in"}}'
    made_here = [n for n in names if stack.run("docker", "image", "inspect", "--format", labels, n).strip() == "true"]
    if made_here:
        # an image made here resolves names and reaches indexes the way this machine does
        stack.environment["BUILD_NETWORK"] = "host"
    return f"{len(names)} images, {len(made_here)} of them stand-ins made on this machine"


def _pull(stack: Stack, image: str) -> bool:
    try:
        stack.run("docker", "pull", "--quiet", image, timeout_s=PULL_LIMIT_S)
    except CheckError:
        return False
    return True


def build(stack: Stack) -> str:
    stack.compose("build", timeout_s=BUILD_LIMIT_S)
    sizes = [
        f"{target} {int(stack.run('docker', 'image', 'inspect', '--format', '{{.Size}}', image)) / 1e6:.0f} MB"
        for target in ("web", "worker")
        for image in [f"sakuga-{target}:check"]
    ]
    return ", ".join(sizes)


def come_up(stack: Stack) -> str:
    stack.up()
    ready = _until(
        lambda: stack.request("GET", "/readyz"), lambda answer: answer.status == HTTPStatus.OK, "/readyz", 30
    )
    return f"ready with {ready.json()['workers']} worker process"


def stay_locked(stack: Stack) -> str:
    """Every container: no root, no capabilities, nothing written outside its volumes; only two have a way out."""
    names = list(stack.services())
    for name in names:
        [container] = stack.containers(name)
        found = stack.inspect(container)
        host = found["HostConfig"]
        _require(host["ReadonlyRootfs"], f"{name} may write its root file system")
        _require(host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{name} has capabilities")
        _require("no-new-privileges:true" in host["SecurityOpt"], f"{name} may gain privileges")
        _require(host["Memory"] > 0, f"{name} has no memory limit")
        _require(found["State"]["Health"]["Status"] == "healthy", f"{name} is not healthy")
        _require(_identity(stack, container) != 0, f"{name} runs as root")
        published = [port for ports in host["PortBindings"].values() for port in ports]
        wanted = [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}] if name == "nginx" else []
        _require(published == wanted, f"{name} publishes {published}")
    web = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    stack.compose("exec", "-T", "web", "python", "-c", web)
    _require_ways_out(stack, names)
    _require_keys_elsewhere(stack)
    return f"{len(names)} containers, no torch in web, keys needed off loopback"


def _require_ways_out(stack: Stack, names: list[str]) -> None:
    """Only nginx, which is published, and the worker, which sends webhooks, are on a network that leads outside."""
    for name in names:
        [container] = stack.containers(name)
        networks = list(stack.inspect(container)["NetworkSettings"]["Networks"])
        internal = json.loads(stack.run("docker", "network", "inspect", *networks))
        leads_out = not all(network["Internal"] for network in internal)
        _require(leads_out == (name in {"nginx", "worker"}), f"{name} is on {', '.join(networks)}")


def _require_keys_elsewhere(stack: Stack) -> None:
    """Published on all addresses, without further settings, the web server refuses to start."""
    stack.environment["PUBLISH_ADDRESS"] = "0.0.0.0"  # noqa: S104
    try:
        stack.compose("run", "--rm", "--no-deps", "-T", "web")
    except CheckError as error:
        _require("sakuga keys create" in str(error), f"the web server failed otherwise: {error}")
    else:
        raise CheckError("the web server starts without keys beyond loopback")
    finally:
        del stack.environment["PUBLISH_ADDRESS"]


def _identity(stack: Stack, container: str) -> int:
    return int(stack.run("docker", "exec", container, "id", "-u"))


def convert_one(stack: Stack) -> str:
    """A photo through the whole chain; the picture comes from the store by a redirect to the same origin."""
    start = time.monotonic()
    created = stack.request("POST", "/api/v1/jobs", _photo(640, 480), **_JPEG)
    job = _ended(stack, _accepted(created), JOBS_LIMIT_S)
    took = time.monotonic() - start
    picture, address = _download(stack, job)
    width, height = _size_of(picture.body)
    _require((width, height) == (640, 480), f"the picture is {width}x{height}")
    _require(picture.headers["content-type"] == "image/jpeg", f"it came as {picture.headers['content-type']}")
    unsigned = stack.request("GET", address)
    _require(
        unsigned.status == HTTPStatus.FORBIDDEN, f"the store serves the picture without a signature: {unsigned.status}"
    )
    return f"{width}x{height}, {len(picture.body)} bytes, {took:.1f} s from upload to end"


def convert_album(stack: Stack) -> str:
    """A ZIP of photos, one of them none, through nginx; the archive is asked for before they are done."""
    created = stack.request("POST", "/api/v1/albums", b'{"name": "Trip"}', **{"Content-Type": "application/json"})
    _require(created.status == HTTPStatus.CREATED, f"album: {created.status} {created.body[:300]!r}")
    links = created.json()["links"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("none.jpg", "no photo")
        for shade in range(ALBUM):
            archive.writestr(f"day/{shade}.jpg", _photo(640, 480, shade=shade + MANY))
    form, form_type = _form("photos", "trip.zip", packed.getvalue())
    taken = stack.request("POST", links["photos"], form, **{"Content-Type": form_type})
    _require(taken.status == HTTPStatus.ACCEPTED, f"upload: {taken.status} {taken.body[:300]!r}")
    found = stack.request("GET", links["archive"])
    with zipfile.ZipFile(io.BytesIO(found.body)) as archive:
        _require(archive.testzip() is None, "the archive is damaged")
        names = {f"day/{shade}.jpg" for shade in range(ALBUM)}
        _require(set(archive.namelist()) == names | {"failures.json"}, f"the archive has {archive.namelist()}")
        reasons = json.loads(archive.read("failures.json"))
    _require(set(reasons) == {"none.jpg"}, f"failed: {reasons}")
    return f"{ALBUM} pictures in an archive of {len(found.body)} bytes, and the reasons for the others"


def _form(field: str, name: str, data: bytes) -> tuple[bytes, str]:
    """The body of a form with one file, and its type."""
    edge = secrets.token_hex(16)
    head = f'--{edge}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


def _accepted(created: Answer) -> str:
    _require(created.status == HTTPStatus.ACCEPTED, f"submit: {created.status} {created.body[:300]!r}")
    return str(created.json()["id"])


def _download(stack: Stack, job: Json) -> tuple[Answer, str]:
    _require(job["state"] == "succeeded", f"job {job['id'][:8]} ended as {job['state']}: {job['error']}")
    moved = stack.request("GET", job["links"]["result"])
    _require(moved.status == HTTPStatus.SEE_OTHER, f"result: {moved.status}")
    target = urlsplit(moved.headers["location"])
    _require(target.netloc == f"127.0.0.1:{stack.port}", f"the redirect leads to {target.netloc}")
    picture = stack.request("GET", f"{target.path}?{target.query}")
    _require(picture.status == HTTPStatus.OK, f"download: {picture.status} {picture.body[:300]!r}")
    return picture, target.path


def listen(stack: Stack) -> str:
    """Events come through nginx while the job still runs: nothing holds them back until the end."""
    created = stack.request("POST", "/api/v1/jobs?style=hinata-full&max_side=1280&format=png", _photo(*LARGE), **_JPEG)
    job_id = _accepted(created)
    connection = HTTPConnection("127.0.0.1", stack.port, timeout=JOB_TIME_LIMIT_S)
    try:
        answer = _send(connection, "GET", f"/api/v1/jobs/{job_id}/events", b"", {})
        _require(answer.getheader("content-type", "").startswith("text/event-stream"), f"events: {answer.status}")
        first = _next_event(answer)
        state = stack.request("GET", f"/api/v1/jobs/{job_id}").json()["state"]
        _require(state in {"queued", "running"}, f"the first event came when the job had {state}")
        kinds = [first]
        while kinds[-1] != "done":
            kinds.append(_next_event(answer))
    except OSError as error:
        raise CheckError(f"events: {error!r} after waiting {JOB_TIME_LIMIT_S} s") from error
    finally:
        connection.close()
    picture, _ = _download(stack, _ended(stack, job_id, HELD_ANSWER_TIMEOUT_S))
    _require(picture.body.startswith(PNG_SIGNATURE), "a PNG was asked for")
    return f"{len(kinds)} events, the first while {state}"


def _next_event(answer: HTTPResponse) -> str:
    while line := answer.readline():
        if line.startswith(b"event:"):
            return line.partition(b":")[2].strip().decode()
    raise CheckError("the event stream ended before the job did")


def refuse(stack: Stack) -> str:
    """Check that nginx refuses requests as the API does, and that metrics and the bucket stay inside."""
    large = stack.request("POST", "/api/v1/jobs", bytes(41 << 20), **_JPEG)
    _require(large.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"41 MiB: {large.status}")
    _require(large.headers["content-type"] == "application/problem+json", "the 413 is no problem document")
    _require(large.json()["code"] == "photo_too_large", f"the 413 says {large.json()['code']}")
    for method, path, status in (
        ("GET", "/metrics", HTTPStatus.NOT_FOUND),
        ("GET", "/sakuga/", HTTPStatus.FORBIDDEN),
        ("PUT", "/sakuga/x", HTTPStatus.FORBIDDEN),
    ):
        found = stack.request(method, path).status
        _require(found == status, f"{method} {path}: {found}")
    return "413, 404 and 403 where they belong"


def scale(stack: Stack) -> str:
    stack.up("--no-recreate", "--scale", f"worker={WORKERS}")
    ready = _until(lambda: stack.request("GET", "/readyz"), lambda a: a.json()["workers"] == WORKERS, "the workers", 30)
    return f"{len(stack.containers('worker'))} containers, {ready.json()['workers']} worker processes"


def kill_a_worker(stack: Stack) -> str:
    """A node that dies without a word: its job comes back after the visibility timeout, and none is lost."""
    ids = []
    for number in range(MANY):
        photo = _photo(*LARGE, shade=number)
        ids.append(_accepted(stack.request("POST", "/api/v1/jobs?style=hinata-full&max_side=1280", photo, **_JPEG)))
    _until(
        lambda: _running(stack, ids),
        lambda running: len(running) == WORKERS,
        "all workers to be busy",
        60,
        every_s=0.05,
    )
    victim = stack.containers("worker")[0]
    stack.run("docker", "kill", "--signal", "KILL", victim)
    killed_at = time.monotonic()
    jobs = [_ended(stack, job_id, JOBS_LIMIT_S) for job_id in ids]
    for job in jobs:
        _size_of(_download(stack, job)[0].body)
    again = [job for job in jobs if job["attempts"] > 1]
    _require(bool(again), "the killed worker had claimed no job, so this proves nothing")
    _require(stack.inspect(victim)["State"]["Status"] == "exited", "the killed worker restarted")
    return (
        f"{len(jobs)} of {MANY} succeeded, {len(again)} at attempt {max(job['attempts'] for job in again)}, "
        f"all done {time.monotonic() - killed_at:.0f} s after the kill (visibility timeout {VISIBILITY_TIMEOUT_S} s)"
    )


def survive_restart(stack: Stack) -> str:
    """Containers are thrown away and made anew; jobs and pictures are in the volumes."""
    newest = stack.request("GET", "/api/v1/jobs?limit=1").json()["jobs"][0]
    stack.compose("down", timeout_s=180)
    stack.up()
    job = stack.request("GET", newest["links"]["self"]).json()
    _size_of(_download(stack, job)[0].body)
    return "the newest job and its picture are still there"


def _running(stack: Stack, ids: list[str]) -> list[str]:
    jobs = stack.request("GET", "/api/v1/jobs?limit=100").json()["jobs"]
    return [job["id"] for job in jobs if job["id"] in ids and job["state"] == "running"]


def _ended(stack: Stack, job_id: str, limit_s: float) -> Json:
    def look() -> Json:
        return stack.request("GET", f"/api/v1/jobs/{job_id}", Prefer="wait=10").json()

    return _until(look, lambda job: job["state"] not in {"queued", "running"}, f"job {job_id[:8]} to end", limit_s)


def _photo(width: int, height: int, *, shade: int = 0) -> bytes:
    """A JPEG with colours and edges; another `shade` is another photo."""
    across = Image.linear_gradient("L").resize((width, height))
    around = Image.radial_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (across, around, Image.new("L", (width, height), 40 + 10 * shade)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _size_of(picture: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(picture)) as image:
            image.load()
            _require(len(set(image.convert("L").resize((64, 64)).tobytes())) > 1, "the picture is of one colour")
            return image.size
    except OSError as error:
        raise CheckError(f"the picture cannot be decoded: {error}") from error


def _send(connection: HTTPConnection, method: str, path: str, body: bytes, headers: dict[str, str]) -> HTTPResponse:
    """Send a request; a refusal may come, and count, before all of the body is sent."""
    try:
        connection.request(method, path, body or None, headers)
    except (BrokenPipeError, ConnectionResetError):
        if connection.sock is None:
            raise
    return connection.getresponse()


def _until(look: Callable[[], T], wanted: Callable[[T], bool], what: str, limit_s: float, *, every_s: float = 0.3) -> T:
    deadline = time.monotonic() + limit_s
    while not wanted(seen := look()):
        if time.monotonic() > deadline:
            raise CheckError(f"waited {limit_s:.0f} s for {what}; last seen: {str(seen)[:500]}")
        time.sleep(every_s)
    return seen


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise CheckError(otherwise)


def _show_logs(stack: Stack) -> None:
    for arguments in (("ps", "--all"), ("logs", "--no-color", "--tail", "60")):
        try:
            print(stack.compose(*arguments), flush=True)
        except CheckError as error:
            print(error, flush=True)


def _down(stack: Stack) -> None:
    stack.compose("down", "--volumes", "--remove-orphans", timeout_s=180)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _say(sentence: str, status: int) -> int:
    print(f"compose-test: {sentence}", flush=True)
    return status


_JPEG = {"Content-Type": "image/jpeg"}

STEPS: tuple[tuple[str, Callable[[Stack], str]], ...] = (
    ("third-party images", get_images),
    ("build", build),
    ("up, until all is healthy", come_up),
    ("locked down", stay_locked),
    ("one photo through nginx", convert_one),
    ("an album through nginx", convert_album),
    ("events while a job runs", listen),
    ("refused requests", refuse),
    (f"scale to {WORKERS} workers", scale),
    ("kill -9 a worker while jobs run", kill_a_worker),
    ("down and up again", survive_restart),
)

if __name__ == "__main__":
    sys.exit(main())
