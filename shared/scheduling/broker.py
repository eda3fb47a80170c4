"""The queue: Celery over Redis, configured in one place for the web server and the workers.

The web server sends by task name and never imports the worker.
"""

import json
from typing import TYPE_CHECKING, cast

from celery import Celery
from kombu.exceptions import OperationalError

from shared.errors import UnavailableError
from shared.jobs.record import Lane
from shared.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

CONVERT = "sakuga.convert"
UNACKED, UNACKED_INDEX = "unacked", "unacked_index"  # kombu's delivered messages; and by when they were last renewed
DRAIN_S = 25  # for in-flight jobs at shutdown; below the containers' grace period


def celery_app(settings: Settings) -> Celery:
    """Make the Celery application; nothing connects until it is used."""
    app = Celery("sakuga", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "queue_order_strategy": "shared.scheduling.lane_order:LaneOrder",
            # every client of a broker must agree on this
            "visibility_timeout": settings.visibility_timeout_s,
            # a process that dies while restoring messages delays all others for this long
            "unacked_mutex_expire": settings.visibility_timeout_s,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
        },
        enable_utc=True,
        task_acks_late=True,
        task_create_missing_queues=True,
        task_default_queue=Lane.INTERACTIVE.value,
        task_ignore_result=True,
        # A killed child's job runs again at once; attempts are bounded by our own record when it is claimed.
        task_reject_on_worker_lost=True,
        task_serializer="json",
        task_soft_time_limit=settings.job_time_limit_s,
        task_time_limit=settings.hard_time_limit_s,
        task_track_started=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # True loses the job that is running
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,  # a child warms its engine before it reports
        worker_send_task_events=False,
    )
    return app


class Queue:
    """The sending side."""

    def __init__(self, app: Celery, redis: "Redis") -> None:
        """Send through `app`, whose broker is `redis`."""
        self._app = app
        self._redis = redis

    def send(self, job_id: str, lane: Lane) -> None:
        """Put a job's id into its lane.

        Raises:
            UnavailableError: the broker does not respond.
        """
        try:
            self._app.send_task(CONVERT, (job_id,), task_id=job_id, queue=lane.value, retry=False)
        except OperationalError as error:
            raise UnavailableError("The queue is not responding; please try again.", retry_after_s=5) from error

    def unacked_ids(self, timeout_s: float) -> set[str]:
        """Return the ids of jobs whose messages are unacked, and were renewed within the last `timeout_s` seconds.

        Times that a node with a wrong clock has written are ignored: otherwise the queue would wait for that clock.
        """
        seconds, _ = self._redis.time()
        tags = cast("list[str]", self._redis.zrangebyscore(UNACKED_INDEX, seconds - timeout_s, seconds + timeout_s))
        messages = cast("list[str | None]", self._redis.hmget(UNACKED, tags)) if tags else []
        return {str(json.loads(message)[0]["headers"]["id"]) for message in messages if message}

    def oldest(self, lane: Lane) -> str | None:
        """Return the id of the job whose message is next in a lane, if any. Kombu takes from the end of a list."""
        message = cast("str | None", self._redis.lindex(lane.value, -1))
        return None if message is None else str(json.loads(message)["headers"]["id"])
