"""`python -m worker`: run a worker node until it is told to stop. SIGTERM drains it."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.settings import Settings
    from worker.tuning_profile import Capacity


def main() -> None:
    """Set what libraries read from the environment when they are imported, then run."""
    from shared.errors import SakugaError
    from shared.settings import load_settings
    from shared.telemetry import configure_logs
    from worker.capacity import limit_threads
    from worker.process_memory import share_one_arena
    from worker.tuning_profile import plan_capacity

    try:
        settings = load_settings()
        configure_logs(settings.log_level)
        capacity = plan_capacity(settings)
        limit_threads(capacity.threads)
        share_one_arena()
        _run(settings, capacity)
    except SakugaError as error:
        sys.exit(f"sakuga worker: {error.detail}")


def _run(settings: "Settings", capacity: "Capacity") -> None:
    from celery import signals

    from shared.jobs.record import Lane
    from worker.app import create_app

    _introduce(settings, capacity)
    app = create_app(settings, capacity)
    signals.setup_logging.connect(lambda **_: None, weak=False)  # ours stands
    concurrency = f"--concurrency={capacity.processes}"
    lanes = f"--queues={','.join(Lane)}"
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    log_level = f"--loglevel={settings.log_level}"
    app.worker_main(["--quiet", "worker", "--pool=prefork", concurrency, lanes, log_level, "-Ofair", *quiet])


def _introduce(settings: "Settings", capacity: "Capacity") -> None:
    """Say what this node is and what it works with; an operator sees here what is missing."""
    import structlog
    from kombu.utils.url import maybe_sanitize_url
    from redis.exceptions import RedisError

    from shared.redis_connection import redis_client

    log = structlog.get_logger()
    queue = maybe_sanitize_url(settings.redis_url)
    shape = {"processes": capacity.processes, "threads": capacity.threads}
    log.info("worker starting", **shape, queue=queue, store=settings.effective_store_url)
    try:
        with redis_client(settings) as client:
            client.ping()
    except RedisError as error:
        log.warning("the queue is not responding; waiting for it", queue=queue, error=str(error))


if __name__ == "__main__":
    main()
