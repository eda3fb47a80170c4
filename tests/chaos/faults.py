"""Faults to inject into a rig while photos are being converted.

Each returns the time from which recovery is measured, in seconds since the epoch. Where its effect is not obvious
(because it waits for processes to end, or photos must be retried or fail), it is verified; if there is none, the fault
raises AssertionError or TimeoutError.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import httpx
import psutil
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.jobs.record import Lane
from shared.scheduling.broker import UNACKED, UNACKED_INDEX
from tests.chaos.machine import memory_group, run, setting_up
from tests.chaos.node import CRASHES, EATS_MEMORY, HANGS, SLEEPS
from tests.chaos.proxy import Line
from tests.chaos.rig import HOLD_LIMIT_S, AnyRig, Program, Rig
from tests.chaos.supervised import Supervised
from tests.chaos.workload import Outcome, Workload, photo_of
from tests.conftest import wait_until

OUTAGE_S = 8
LONG_OUTAGE_S = 65  # longer than any client waits for the queue, retries included
END_LIMIT_S = 180
JUMP_S = 48 * 3600  # longer than any retention period
CLOCK_GRACE_S = 300  # the allowed difference between times of the same wrong clock
STORE_CHECK_LIMIT_S = 10  # the web server checks every other second


R = TypeVar("R", bound=AnyRig)


@dataclass(frozen=True)
class Fault(Generic[R]):
    """One kind of fault, and its allowed cost: how many photos may fail, by error code."""

    title: str
    harm: Callable[[R, Workload], float]
    photos: int = 50  # sent at least
    costs: dict[str, int] = field(default_factory=dict)
    again: int | None = None  # how many photos must be retried at least; with fewer, the fault had no effect
    recovery_s: float = 60


def inject(fault: Fault[R], rig: R, *, seed: int, photos: int | None = None) -> Outcome:
    """Inject a fault into a busy rig, count the outcomes of the photos, and restore the rig."""
    workload = Workload(rig, photos or fault.photos, seed=seed)
    workload.start()
    try:
        with rig.holding():
            _wait_until_busy(rig, workload)
        since = fault.harm(rig, workload)
        return workload.finish(END_LIMIT_S, since=since)
    finally:
        rig.restore()
        workload.stop()


def _wait_until_busy(rig: AnyRig, workload: Workload) -> None:
    try:
        wait_until(rig.is_busy, "every node is converting", HOLD_LIMIT_S)
    except TimeoutError as error:
        raise workload.problem or TimeoutError(f"{error}; {rig.state()}") from error


@contextmanager
def _photo_held(rig: Rig, node: Program) -> Iterator[None]:
    """Keep a photo in a node's hand meanwhile, however long it takes to harm the node."""

    def is_its_own(job_id: str) -> bool:
        job = rig.services.jobs.find(job_id)
        return job is not None and (job.claim or "").partition(" ")[0].endswith(f"/{node.pid}")

    with rig.holding():
        wait_until(lambda: any(map(is_its_own, rig.held())), "the node holds a photo", HOLD_LIMIT_S)
        yield


def kill_child(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    with _photo_held(rig, rig.nodes[0]):
        victims = rig.nodes[0].forks()
        assert victims, "a node has children"
        for child in victims:
            child.kill()
        psutil.wait_procs(victims, timeout=END_LIMIT_S)
    return time.time()


def kill_node(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    with _photo_held(rig, rig.nodes[0]):
        rig.nodes[0].end()
    return time.time()


def stop_node(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    since = time.time()
    rig.nodes[0].end(signal.SIGTERM)
    return since


def stop_node_too_long(rig: Rig, workload: Workload) -> float:
    """Stop a node (SIGTERM) while it converts a photo that outlasts the drain."""
    photo = workload.send(photo_of(0, SLEEPS))
    wait_until(lambda: photo in rig.held(), "the long one is being converted", 60)
    holder = rig.services.jobs.get(photo).claim or ""
    victim = next(node for node in rig.nodes if holder.partition(" ")[0].endswith(f"/{node.pid}"))
    victim.end(signal.SIGTERM)
    return time.time()


def kill_web(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    rig.web.end()
    rig.web.start()
    return time.time()


def restart_queue(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    rig.queue.end(signal.SIGTERM)
    rig.queue.start()
    return time.time()


def kill_queue(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    rig.queue.end()
    rig.queue.start()
    return time.time()


def fill_queue(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    rig.services.redis.config_set("maxmemory", 1)
    assert _fails(lambda: rig.services.redis.set("chaos", "1"), OutOfMemoryError), "the queue takes nothing"
    time.sleep(OUTAGE_S)
    rig.services.redis.config_set("maxmemory", 0)
    rig.restart_ended()  # a node exits when Redis refuses to record a message it takes
    return time.time()


def lose_messages(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    """Delete all messages, with the nodes paused: otherwise they might take every message at once."""
    redis = rig.services.redis
    for node in rig.nodes:
        node.send_signal(signal.SIGSTOP)
    wait_until(lambda: bool(redis.delete(*Lane)), "messages are queued, and lost")
    redis.delete(UNACKED, UNACKED_INDEX)
    for node in rig.nodes:
        node.send_signal(signal.SIGCONT)
    return time.time()


def pause_queue(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    rig.queue.send_signal(signal.SIGSTOP)
    with Redis(port=rig.queue_port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        assert _fails(client.ping, RedisTimeoutError), "the queue does not respond"
    time.sleep(LONG_OUTAGE_S)
    rig.queue.send_signal(signal.SIGCONT)
    return time.time()


def cut_node_off(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    assert rig.switch is not None
    with _photo_held(rig, rig.nodes[0]):
        since = time.time()
        rig.switch.pull(0)
    time.sleep(3 * rig.timeout_s)
    rig.switch.plug(0)
    return since


def pause_node(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    with _photo_held(rig, rig.nodes[0]):
        since = time.time()
        rig.nodes[0].send_signal(signal.SIGSTOP)
    time.sleep(3 * rig.timeout_s)
    rig.nodes[0].send_signal(signal.SIGCONT)
    return since


def put_clock_forward(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    return _wrong_clock(rig, JUMP_S)


def put_clock_back(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    return _wrong_clock(rig, -JUMP_S)


def crash(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    return _poison(workload, CRASHES)


def hang(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    return _poison(workload, HANGS)


def eat_memory(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    return _poison(workload, EATS_MEMORY)


def break_store(line: Line) -> Callable[[Rig, Workload], float]:
    """Degrade the connection to the S3 server for a while."""

    def harm(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
        assert rig.s3_line is not None
        rig.s3_line.line = line
        assert _probe(rig.s3_line.port) is line, "requests are affected"
        time.sleep(OUTAGE_S)
        rig.s3_line.line = Line.GOOD
        return time.time()

    return harm


def fill_disk(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    assert rig.store is not None
    filler = rig.store / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            _require_no_store(rig)
            time.sleep(OUTAGE_S)
    filler.unlink()
    return time.time()


def make_disk_read_only(rig: Rig, workload: Workload) -> float:  # noqa: ARG001
    assert rig.store is not None
    run("mount", "-o", "remount,ro", str(rig.store))
    _require_no_store(rig)
    time.sleep(OUTAGE_S)
    run("mount", "-o", "remount,rw", str(rig.store))
    return time.time()


def kill_supervisor(rig: Supervised, workload: Workload) -> float:  # noqa: ARG001
    since = time.time()
    rig.kill()
    return since


@contextmanager
def memory_limit(rig: Rig, limit_bytes: int) -> Iterator[None]:
    """Limit the memory of each node, as a container does.

    Raises:
        NotPossibleError: control groups cannot be made here.
    """
    with ExitStack() as made:
        for node in rig.nodes:
            group = made.enter_context(memory_group(f"sakuga-chaos-{node.pid}", limit_bytes))
            made.callback(node.end)
            with setting_up():
                for pid in (node.pid, *(child.pid for child in node.children())):
                    (group / "cgroup.procs").write_text(str(pid))
        yield


def _fails(act: Callable[[], object], error: type[Exception]) -> bool:
    try:
        act()
    except error:
        return True
    return False


def _probe(port: int) -> Line:
    """Return the state of a line, as an HTTP request experiences it."""
    began = time.monotonic()
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}", timeout=10)
    except httpx.TransportError:
        return Line.DOWN
    if answer.status_code == 500:
        return Line.BROKEN
    return Line.SLOW if time.monotonic() - began >= 1 else Line.GOOD


def _require_no_store(rig: Rig) -> None:
    """Raise unless the store cannot be written to, and the web server soon reports that."""
    assert rig.store is not None
    probe = rig.store / "probe"
    assert _fails(lambda: probe.write_bytes(bytes(1 << 16)), OSError), "nothing can be written"

    def is_said() -> bool:
        answer = httpx.get(f"{rig.url}/readyz", timeout=10)
        return answer.status_code == 503 and not answer.json()["store"]

    wait_until(is_said, "/readyz reports that the store cannot be written to", STORE_CHECK_LIMIT_S)


def _wrong_clock(rig: Rig, seconds: float) -> float:
    """Set a node's clock wrong, and verify that it uses it: kombu records by it when a message was taken."""
    since = time.time()
    rig.clock_of(0).write_text(str(seconds))
    wrong = since + seconds
    wait_until(
        lambda: int(rig.services.redis.zcount(UNACKED_INDEX, wrong - CLOCK_GRACE_S, wrong + CLOCK_GRACE_S)) > 0,
        "the node believes its clock",
    )
    time.sleep(3 * rig.timeout_s)
    rig.clock_of(0).unlink()
    return since


def _poison(workload: Workload, width: int) -> float:
    since = time.time()
    workload.send(photo_of(0, width))
    return since


PLAIN = (
    Fault("a worker process is killed (SIGKILL)", kill_child, again=1),
    Fault("a node is killed (SIGKILL), with its worker processes", kill_node, again=1, recovery_s=10),
    Fault("a node is stopped (SIGTERM) while converting", stop_node),
    Fault("a node is stopped (SIGTERM) during a conversion that outlasts the drain", stop_node_too_long, again=1),
    Fault("a node is paused (SIGSTOP) for three timeouts and wakes", pause_node, again=1, recovery_s=10),
    Fault("a node's clock jumps two days ahead, and back", put_clock_forward),
    Fault("a node's clock jumps two days back, and ahead", put_clock_back),
    Fault("the web server is killed (SIGKILL)", kill_web),
    Fault("the queue is restarted", restart_queue),
    Fault("the queue is killed (SIGKILL)", kill_queue),
    Fault("the queue is out of memory for 8 s (noeviction)", fill_queue),
    Fault("the queue is paused for 65 s", pause_queue),
    Fault("the queue loses all messages, queued and in flight", lose_messages, recovery_s=90),
    Fault("a photo crashes the process that converts it", crash, costs={"attempts_exhausted": 1}, again=1),
)
HANGING = Fault("a photo hangs the process that converts it", hang, costs={"timed_out": 1})
EATING = Fault("a photo exhausts the memory of a node (control group)", eat_memory, costs={"attempts_exhausted": 1})
SUPERVISOR = Fault("`sakuga up` itself is killed (SIGKILL) and restarted", kill_supervisor)
PARTITION = Fault(
    "a node is cut off from the network for three timeouts and reconnects", cut_node_off, again=1, recovery_s=10
)
NODE_DEATH = Fault("a node is killed (SIGKILL), at the default timeout of 30 s", kill_node, again=1, recovery_s=35)
S3 = (
    Fault("S3 is down for 8 s", break_store(Line.DOWN)),
    Fault("S3 is slow for 8 s (one more second per request)", break_store(Line.SLOW)),
    Fault("S3 answers 500 for 8 s", break_store(Line.BROKEN)),
)
DISK = (
    Fault("the disk of the store is full for 8 s", fill_disk),
    Fault("the disk of the store is read-only for 8 s", make_disk_read_only),
)
