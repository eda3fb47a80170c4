"""The worker node: what its parent and children share, and what they must not share."""

import os
import sys
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from celery.worker import state
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.conversion import Options
from shared.jobs.record import Job, Lane, State
from shared.photos.formats import Format
from shared.redis_keys import EXPIRY, lane_totals
from shared.scheduling.broker import CONVERT, UNACKED_INDEX, celery_app
from shared.services import Services
from shared.settings import Settings
from shared.usecases.submit import Order
from shared.usecases.submit import submit as submit_photo
from tests.conftest import AMPLE_MEMORY, STYLES, expire_lease, photo_bytes, wait_until
from worker.app import Node, Repeating, add_housekeeping
from worker.messages import request_of
from worker.prepare import Preparation
from worker.renewal import Renewal
from worker.tuning_profile import Capacity


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # forking is what Celery does
def test_a_child_reads_its_own_photo_though_its_parent_has_used_the_store(
    redis_url: str, s3_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, store_url="s3://sakuga-fork")
    node = Node(settings, Capacity(processes=2, threads=1, memory=AMPLE_MEMORY))
    node.services.store.check()
    photos = {f"public/photos/{name}": name.encode() * 100_000 for name in ("a", "b", "c")}
    for key, data in photos.items():
        node.services.store.put(key, data, content_type="image/png")
    node.services.store.delete("public/photos/none")  # leaves an open connection
    monkeypatch.setattr(node.models, "engine", lambda _: None)  # what it draws does not matter here
    children = [_forked(node, key, data) for key, data in photos.items()]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]


def _forked(node: Node, key: str, expected: bytes) -> int:
    """Fork a child, as Celery does, that reads one photo many times; it exits with 0 if it always got the right one."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            node.start_child()
            status = 0 if all(_read(node, key) == expected for _ in range(20)) else 2
        finally:
            os._exit(status)
    return child


def _read(node: Node, key: str) -> bytes:
    with node.services.store.open(key) as photo:
        return photo.read()


@dataclass(eq=False)
class InHand:
    """The parts of a message that its lease needs."""

    id: str
    message: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(delivery_tag="tag"))


def test_a_message_waiting_for_a_process_is_kept_without_renewing_the_lease_of_another_node(services: Services) -> None:
    """A dead node's message, redelivered to a node not yet warm, used to keep the dead attempt's lease alive."""
    job = submit(services)
    assert services.attempts.claim(job.id, "dead/1")
    expire_lease(services, job)
    services.redis.zadd(UNACKED_INDEX, {"tag": 1})
    renewal, message = Renewal(services.redis, services.clock, services.leases, longest_s=60), InHand(job.id)
    state.reserved_requests.add(message)
    try:
        renewal.renew()
        assert services.redis.zscore(UNACKED_INDEX, "tag") != 1
        assert not services.leases.is_held(job.id)
        assert services.attempts.claim(job.id, "here/1")
        expire_lease(services, job)
        state.active_requests.add(message)
        renewal.renew()
        assert services.leases.is_held(job.id)
    finally:
        state.reserved_requests.discard(message)
        state.active_requests.discard(message)


@pytest.mark.parametrize("end", ["basic_ack", "basic_reject"])
def test_a_message_whose_ack_failed_no_longer_counts_as_in_flight(
    services: Services, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A node whose ack was lost used to count the message as in flight, and never asked for another."""
    submit(services)
    app = celery_app(services.settings)
    app.task(name=CONVERT)(away)
    node = cast("Node", SimpleNamespace(services=services, name="here/1"))
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        message = channel.basic_get(Lane.INTERACTIVE)
        channel.qos.prefetch_count = 1
        request = request_of(node)(
            message,
            app=app,
            connection_errors=connection.connection_errors,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
        )
        assert not channel.qos.can_consume()
        monkeypatch.setattr(channel, end, away)
        request.acknowledge() if end == "basic_ack" else request.reject(requeue=True)
        assert channel.qos.can_consume()
        assert services.redis.zcard(UNACKED_INDEX) == 1, "the queue redelivers it by itself"


def away(*_: object, **__: object) -> None:
    raise RedisTimeoutError("Timeout reading from socket")


def submit(services: Services) -> Job:
    return submit_photo(services, BytesIO(photo_bytes()), Order(style="hinata-light", options=Options(512, Format.PNG)))


def test_a_node_expires_what_is_due_and_compares_the_totals_with_the_records(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = submit(services)
    services.redis.zadd(EXPIRY, {due.id: 1})
    services.redis.hincrby(lane_totals(Lane.BULK), "jobs", 3)
    monkeypatch.setattr(sys, "executable", "true")  # instead of preparing engines
    app = celery_app(services.settings)
    add_housekeeping(app, cast("Node", SimpleNamespace(services=services)))
    (step,) = app.steps["worker"]
    housekeeping = step(None)
    housekeeping.start(None)
    try:
        wait_until(lambda: services.jobs.get(due.id).state is State.EXPIRED, "it is expired")
        wait_until(lambda: services.lanes.stats(Lane.BULK).jobs == 0, "the totals are right")
    finally:
        housekeeping.stop(None)


def test_engines_are_prepared_again_when_the_styles_have_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started, python = tmp_path / "started", tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $2 >> {started}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    styles = dict(STYLES)
    prepare = Preparation(styles)

    def has_started(times: int) -> bool:
        prepare()
        return started.exists() and started.read_text().split() == times * ["worker.prepare"]

    wait_until(lambda: has_started(1), "it has started")
    assert has_started(1)
    styles["new"] = styles["hinata-light"].model_copy(update={"name": "new"})
    wait_until(lambda: has_started(2), "it has started again")
    del styles["new"]
    wait_until(lambda: has_started(3), "it has started a third time")
    assert has_started(3)
    prepare.stop()


def test_periodic_work_continues_after_a_failed_run() -> None:
    turns: list[str] = []

    def fail() -> None:
        turns.append("failed")
        raise ZeroDivisionError

    repeating = Repeating("test", 0.01, fail, lambda: turns.append("done"))
    repeating.start()
    wait_until(lambda: len(turns) >= 4, "two turns")
    repeating.stop()
    assert turns[:4] == ["failed", "done"] * 2
