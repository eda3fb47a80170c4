"""The worker node: the Celery application, its signals, and what its parent process looks after.

The parent loads weights and never runs them; each prefork child connects, builds its engine and warms it before it
takes a job. Imported by `worker.__main__` only.
"""

import os
import socket
import threading
from collections.abc import Callable
from functools import cached_property

import structlog
from billiard.exceptions import TimeLimitExceeded
from celery import Celery, Task, bootsteps, signals
from redis.exceptions import RedisError

from shared.broker import CONVERT, celery_app
from shared.errors import SakugaError, UnknownJobError
from shared.lanes import HEARTBEAT_S, Lane, Lanes
from shared.services import Services, connect
from shared.settings import Settings
from worker import tasks
from worker.capacity import Capacity, plan
from worker.model_loader import ModelLoader

RETRY_DELAY_S = 2
HOUSEKEEPING_S = 5.0

log = structlog.get_logger()


class Node:
    """One worker node: what its processes share by forking, and what each makes for itself."""

    def __init__(self, settings: Settings, capacity: Capacity) -> None:
        """Plan a node of `capacity`; nothing is loaded or connected yet."""
        self.settings = settings
        self.capacity = capacity

    @cached_property
    def services(self) -> Services:
        return connect(self.settings)

    @cached_property
    def models(self) -> ModelLoader:
        return ModelLoader(self.services.styles, threads=self.capacity.threads, memory=self.capacity.memory)

    def start_child(self) -> None:
        """Warm the default style, then report for work and keep reporting."""
        self.models.engine(self.settings.style)
        Repeating("heartbeat", HEARTBEAT_S, Heartbeat(self.services.lanes)).start()


class Heartbeat:
    """Tells the others that this process is warm and alive."""

    def __init__(self, lanes: Lanes) -> None:
        """Report through `lanes`."""
        self._lanes = lanes
        self._name = process_name(os.getpid())

    def __call__(self) -> None:
        self._lanes.beat(self._name)


class Repeating(threading.Thread):
    """A daemon thread that does something every so many seconds, whatever becomes of one of its turns."""

    def __init__(self, name: str, every_s: float, action: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self._every_s = every_s
        self._action = action
        self._stopped = threading.Event()

    def run(self) -> None:
        while True:
            try:
                self._action()
            except (RedisError, SakugaError) as error:
                log.warning("periodic work failed; it is tried again", work=self.name, error=str(error))
            if self._stopped.wait(self._every_s):
                return

    def stop(self) -> None:
        self._stopped.set()
        self.join(timeout=5)


def process_name(pid: int) -> str:
    """How a worker process is known to the others: `host/pid`."""
    return f"{socket.gethostname()}/{pid}"


def create_app(settings: Settings) -> tuple[Celery, Node]:
    """Make the worker's Celery application, with the weights of the default style loaded for its children to share.

    Raises:
        SakugaError: the default style is not there or its weights cannot be used.
    """
    node = Node(settings, plan(settings))
    node.models.preload(settings.style)
    app = celery_app(settings)
    _add_task(app, node)
    _add_housekeeping(app, node)
    signals.worker_process_init.connect(lambda **_: _start_child(node), weak=False)
    signals.worker_process_shutdown.connect(lambda **_: _leave(node), weak=False)
    return app, node


def _start_child(node: Node) -> None:
    try:
        node.start_child()
    except Exception:
        # Celery swallows what is raised here; the task asks for the engine again and then fails the job
        log.exception("a worker process could not warm its engine")


def _leave(node: Node) -> None:
    try:
        node.services.lanes.leave_work(process_name(os.getpid()))
    except RedisError:
        log.warning("could not sign off; the others notice by silence")


def _add_task(app: Celery, node: Node) -> None:
    class ConvertTask(Task):  # type: ignore[misc]
        def on_failure(self, exc: Exception, task_id: str, args: list[str], kwargs: object, einfo: object) -> None:  # noqa: ARG002
            """In the parent, after a child that ignored the soft time limit was killed."""
            if isinstance(exc, TimeLimitExceeded):
                _fail_killed(node, args[0])

    @app.task(bind=True, base=ConvertTask, name=CONVERT, max_retries=None)  # type: ignore[untyped-decorator]
    def convert(self: Task, job_id: str) -> None:
        if tasks.convert(job_id, node.services, node.models.engine):
            raise self.retry(countdown=RETRY_DELAY_S, queue=Lane.INTERACTIVE.value)


def _fail_killed(node: Node, job_id: str) -> None:
    try:
        node.services.jobs.fail(job_id, tasks.timed_out(node.services))
    except UnknownJobError:
        log.info("a job that was killed had been erased", job_id=job_id)


def _add_housekeeping(app: Celery, node: Node) -> None:
    class Housekeeping(bootsteps.StartStopStep):  # type: ignore[misc]
        """Tidies up what is overdue or was left half done. Every node does it; doing it twice changes nothing."""

        requires = ("celery.worker.components:Pool",)

        def start(self, worker: object) -> None:  # noqa: ARG002
            self.thread = Repeating("housekeeping", HOUSEKEEPING_S, node.services.tidy)
            self.thread.start()

        def stop(self, worker: object) -> None:  # noqa: ARG002
            self.thread.stop()

    app.steps["worker"].add(Housekeeping)
