"""Warm worker processes are counted by their heartbeats."""

import time

from shared.services import Services


def test_a_restarted_node_deregisters_its_former_processes(services: Services) -> None:
    for process in ("node/1", "node/2", "node2/1"):
        services.workers.heartbeat(process)
    for _ in range(2):
        services.workers.deregister_host("node")
        assert services.workers.count() == 1


def test_a_worker_that_falls_silent_is_no_longer_counted(services: Services) -> None:
    services.workers.heartbeat("host/1")
    services.redis.zadd("sakuga:workers", {"host/2": time.time() - 60})
    assert services.workers.count() == 1
    assert services.workers.alive_on("host") == ["host/1"]
