"""The queue's messages of a node, and its jobs when one of them is not acknowledged: requeued, or failed.

All of this runs in the parent process.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
from celery.exceptions import Reject
from celery.worker.request import Request
from kombu.transport.virtual import QoS
from redis.exceptions import RedisError

from shared.errors import NewerRecordError, SakugaError, UnknownJobError
from worker import process_time, tasks

if TYPE_CHECKING:
    from worker.app import Node

log = structlog.get_logger()


def request_of(node: "Node") -> type[Request]:
    """Return the class of requests that Celery makes of a node's messages."""

    class ConvertRequest(Request):  # type: ignore[misc]
        """An unacked message, in the parent; when it is requeued, the node releases its job."""

        failure: object = None

        def on_failure(self, exc_info: object, *args: object, **kwargs: object) -> object:
            """Note why the task failed; called if it raised, or the child died."""
            raised = getattr(exc_info, "exception", None)
            self.failure = getattr(raised, "exc", raised)
            return super().on_failure(exc_info, *args, **kwargs)

        def reject(self, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  as Celery calls it
            """Let go of the job; called if a child was killed, or could not write the record."""
            if requeue:
                _let_go(node, self.id, self.failure)
            self._tell(partial(super().reject, requeue))

        def acknowledge(self) -> None:
            """Acknowledge the message: its job has finished, or needs no work."""
            self._tell(super().acknowledge)

        def _tell(self, tell: Callable[[], object]) -> None:
            """Ack or reject the message; if that fails, it is redelivered.

            Until then it must not count as unacked here: a node whose slots seem full fetches no more messages.
            """
            try:
                tell()
            except RedisError as error:  # which would end the node
                log.warning("ack failed; will be redelivered", job_id=self.id, error=str(error))
            if not self.message.acknowledged:
                QoS.ack(self.message.channel.qos, self.message.delivery_tag)  # type: ignore[no-untyped-call]  # here alone

        def cancel(self, pool: object, signal: str | None = None, emit_retry: bool = True) -> None:  # noqa: FBT001, FBT002
            """Release the job; called if a shutdown takes too long."""
            _release_job(node, self.id, counts=False)
            super().cancel(pool, signal, emit_retry)

    return ConvertRequest


def _let_go(node: "Node", job_id: str, failure: object) -> None:
    """Requeue the job of a child that died or could not write the record; fail it if decoding its photo ended it."""
    if process_time.ended(failure):
        fail_killed(node, job_id, tasks.too_long_to_decode())
        return
    is_outage = isinstance(failure, Reject)
    if not is_outage:
        log.warning("the process converting a job died; the job will be retried", job_id=job_id)
    _release_job(node, job_id, counts=not is_outage)


def _release_job(node: "Node", job_id: str, *, counts: bool) -> None:
    try:
        node.services.attempts.release(job_id, node.name, counts=counts)
    except (RedisError, NewerRecordError) as error:
        log.warning("failed to requeue a job; it waits for its lease to expire", job_id=job_id, error=str(error))


def fail_killed(node: "Node", job_id: str, reason: SakugaError, *, running_for_s: float = 0) -> None:
    """Fail the job of a killed process; one that has run for less than `running_for_s` belongs to another attempt."""
    try:
        node.services.attempts.fail(job_id, reason, running_for_s=running_for_s)
    except UnknownJobError:
        log.info("a killed job had already been erased", job_id=job_id)
    except (RedisError, NewerRecordError) as error:
        log.warning("failed to record the end of a killed job; it will run again", job_id=job_id, error=str(error))
