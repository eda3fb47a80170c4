"""The worker node: the Celery application, its signals, and the background threads of the parent process.

The parent loads weights and never runs them; each prefork child connects, builds its engine and warms it before it
takes a job.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
from billiard.exceptions import TimeLimitExceeded
from celery import Celery, Task, bootsteps, signals
from celery.exceptions import Reject
from redis.exceptions import RedisError

from shared.errors import SakugaError
from shared.scheduling.broker import CONVERT, DRAIN_S, celery_app
from shared.scheduling.workers import HEARTBEAT_S, Workers
from shared.services import connect
from shared.settings import Settings
from shared.usecases.albums import notify_finished
from shared.usecases.dispatch import dispatch
from shared.usecases.maintenance import Reconciliation, expire_due
from shared.usecases.recovery import resend_lost
from shared.usecases.walking import Walking
from shared.webhooks.outbox import LOOK_S
from worker import process_time, tasks
from worker.messages import fail_killed, request_of
from worker.model_loader import loader_for
from worker.prepare import Preparation
from worker.renewal import RENEWALS, Renewal
from worker.tuning_profile import Capacity

RETRY_DELAY_S = 2
HOUSEKEEPING_S = 5.0
WALK_S = 1.0  # whoever stops or deletes a large album is waiting

log = structlog.get_logger()


class Node:
    """One worker node: what its processes share by forking, and what each makes for itself."""

    def __init__(self, settings: Settings, capacity: Capacity) -> None:
        """Set up a node of `capacity`; nothing is loaded or connected yet."""
        self.settings = settings
        self.capacity = capacity
        self.name = process_name(os.getpid())  # for its children too: a job is claimed by the node

        self.services = connect(settings)
        self.models = loader_for(settings, self.services.styles, threads=capacity.threads, memory=capacity.memory)

    def start_child(self) -> None:
        """Warm the default style, then start sending heartbeats.

        A child opens connections of its own: over one of its parent it could read the answer to another command.
        """
        self.services = connect(self.settings)
        self.models.engine(self.services.default_style)
        Repeating("heartbeat", HEARTBEAT_S, Heartbeat(self.services.workers)).start()


class Heartbeat:
    """Records that this process is warm and alive."""

    def __init__(self, workers: Workers) -> None:
        """Send heartbeats to `workers`."""
        self._workers = workers
        self._name = process_name(os.getpid())

    def __call__(self) -> None:
        self._workers.heartbeat(self._name)


class Repeating(threading.Thread):
    """A daemon thread that runs actions periodically, even if some of them fail."""

    def __init__(self, name: str, every_s: float, *actions: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._every_s = every_s
        self._actions = actions
        self._stopped = threading.Event()

    def run(self) -> None:
        while True:
            for action in self._actions:
                self._try(action)
            if self._stopped.wait(self._every_s):
                return

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (RedisError, SakugaError) as error:
            log.warning("periodic task failed; will retry", work=self.name, error=str(error))
        except Exception:
            # nobody else would notice if this thread ended, and jobs would no longer expire
            log.exception("periodic task failed with an unhandled exception; will retry", work=self.name)

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=5)


def process_name(pid: int) -> str:
    """Return the name of a worker process: `host/pid`."""
    return f"{socket.gethostname()}/{pid}"


def create_app(settings: Settings, capacity: Capacity) -> Celery:
    """Make the worker's Celery application, with the weights of the default style loaded for its children to share.

    Raises:
        SakugaError: the default style is not there or its weights cannot be used.
    """
    node = Node(settings, capacity)
    node.models.preload(node.services.default_style)
    app = celery_app(settings)
    _add_task(app, node)
    _add_lease(app, node)
    add_housekeeping(app, node)
    signals.worker_process_init.connect(lambda **_: _start_child(node), weak=False)
    signals.worker_process_shutdown.connect(lambda **_: _leave(node), weak=False)
    signals.worker_shutting_down.connect(_limit_drain, weak=False)
    return app


def _start_child(node: Node) -> None:
    try:
        node.start_child()
    except Exception:
        # Celery swallows what is raised here; the task asks for the engine again and then fails the job
        log.exception("worker process failed to warm its engine")


def _limit_drain(how: str, **_: object) -> None:
    """Limit a warm shutdown to `DRAIN_S`; then in-flight jobs are requeued at once."""
    if how == "Warm":
        limit = threading.Timer(DRAIN_S, os.kill, (os.getpid(), signal.SIGQUIT))
        limit.daemon = True
        limit.start()


def _leave(node: Node) -> None:
    try:
        node.services.workers.deregister(process_name(os.getpid()))
    except RedisError:
        log.warning("failed to deregister; the heartbeat will time out")


def _add_task(app: Celery, node: Node) -> None:
    class ConvertTask(Task):  # type: ignore[misc]
        Request = request_of(node)

        def on_failure(self, exc: Exception, task_id: str, args: list[str], kwargs: object, einfo: object) -> None:  # noqa: ARG002
            """Fail the job, in the parent, after a child that ignored the soft time limit was killed."""
            if isinstance(exc, TimeLimitExceeded):
                # another attempt that has taken over meanwhile has not had its time yet
                fail_killed(node, args[0], tasks.timed_out(node.services), running_for_s=node.settings.job_time_limit_s)

    @app.task(bind=True, base=ConvertTask, name=CONVERT, max_retries=None)  # type: ignore[untyped-decorator]
    def convert(self: Task, job_id: str) -> None:
        process_time.arm()
        try:
            models = node.models
            pause_s = tasks.convert(
                job_id, node.services, models.engine, worker=node.name, is_prepared=models.is_prepared
            )
        except RedisError as error:
            log.warning("failed to write a job's record; requeueing the job", job_id=job_id, error=str(error))
            time.sleep(RETRY_DELAY_S)  # nothing else could be done meanwhile
            raise Reject(reason=str(error), requeue=True) from error
        if pause_s is not None:
            raise self.retry(countdown=pause_s, queue=self.request.delivery_info["routing_key"])


def _add_lease(app: Celery, node: Node) -> None:
    timeout_s = node.settings.visibility_timeout_s

    class LeaseStep(bootsteps.StartStopStep):  # type: ignore[misc]
        """Renews leases until the process ends: a warm shutdown still has in-flight jobs."""

        requires = ("celery.worker.components:Pool",)

        def start(self, worker: object) -> None:  # noqa: ARG002
            longest_s = node.settings.hard_time_limit_s + timeout_s
            services = node.services
            renewal = Renewal(services.redis, services.clock, services.leases, longest_s=longest_s)
            Repeating("lease", timeout_s / RENEWALS, renewal.renew).start()

    app.steps["worker"].add(LeaseStep)


def add_housekeeping(app: Celery, node: Node) -> None:
    class Housekeeping(bootsteps.StartStopStep):  # type: ignore[misc]
        """Runs periodic maintenance on every node; all of it is idempotent."""

        requires = ("celery.worker.components:Pool",)

        def start(self, worker: object) -> None:  # noqa: ARG002
            services = node.services
            self.preparing = Preparation(services.styles)
            jobs = Repeating(
                "jobs",
                HOUSEKEEPING_S,
                self.preparing,
                partial(resend_lost, services),
                partial(dispatch, services),
                partial(notify_finished, services),
                partial(expire_due, services),
            )
            # in threads of their own, since the store and receivers of webhooks may be slow
            store = Repeating("store", HOUSEKEEPING_S, services.references.release_expired, services.store.sweep)
            webhooks = Repeating("webhooks", LOOK_S, services.webhooks.start_due)
            walks = Repeating("walks", WALK_S, Walking(services).advance)
            books = Repeating("books", HOUSEKEEPING_S, Reconciliation(services).advance)
            self.threads = [jobs, store, webhooks, walks, books]
            for thread in self.threads:
                thread.start()

        def stop(self, worker: object) -> None:  # noqa: ARG002
            for thread in self.threads:
                thread.stop()
            self.preparing.stop()

        terminate = stop  # of a cold shutdown

    app.steps["worker"].add(Housekeeping)
