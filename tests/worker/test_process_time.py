"""Decoding that takes too much processor time ends the process, and no other does."""

import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from billiard.pool import human_status

from shared.jobs.record import Lane, State
from shared.scheduling.broker import CONVERT, celery_app
from shared.services import Services
from tests.conftest import ROOT
from tests.worker.test_worker import away, submit
from worker.messages import request_of

if TYPE_CHECKING:
    from worker.app import Node


def lost(death: signal.Signals) -> ExceptionInfo:
    """Return what the pool tells about a process that such a signal ended."""
    with pytest.raises(WorkerLostError) as died:
        raise WorkerLostError(f"Worker exited prematurely: {human_status(-death)} Job: 1.")
    return ExceptionInfo((died.type, died.value, died.tb))


# billiard has Python handle the signal in its children.
CHILD = """
import signal, sys
from worker import process_time

signal.signal(signal.SIGPROF, lambda *_: sys.exit(7))
process_time.arm()
with process_time.limit({limit_s}):
    sum(range(10 ** {digits}))  # does not return to Python before it is done
sum(range(10 ** 7))
"""


@pytest.mark.parametrize(("limit_s", "digits", "status"), [(0.05, 12, -signal.SIGPROF), (60, 2, 0)])
def test_a_process_ends_when_a_codec_is_busy_for_too_long(limit_s: float, digits: int, status: int) -> None:
    code = CHILD.format(limit_s=limit_s, digits=digits)
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=300).returncode == status


POOL = """
from billiard.pool import Pool
from worker import process_time

def decode():
    process_time.arm()
    with process_time.limit(0.05):
        sum(range(10 ** 12))

pool = Pool(1, lost_worker_timeout=0.1)
try:
    pool.apply_async(decode).get(timeout=300)
except Exception as error:
    print(process_time.ended(error.exc))
pool.terminate()
"""


def test_the_pool_tells_that_the_limit_ended_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", POOL], cwd=ROOT, capture_output=True, text=True, check=False, timeout=400
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("death", "state", "code"),
    [(signal.SIGPROF, State.FAILED, "photo_too_large"), (signal.SIGKILL, State.QUEUED, None)],
)
def test_a_photo_that_takes_too_long_to_decode_fails_with_a_reason_and_is_not_tried_again(
    services: Services, death: signal.Signals, state: State, code: str | None
) -> None:
    job = submit(services)
    app = celery_app(services.settings)
    app.task(name=CONVERT)(away)
    node = cast("Node", SimpleNamespace(services=services, name="here/1"))
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        message = channel.basic_get(Lane.INTERACTIVE)
        request = request_of(node)(
            message,
            app=app,
            connection_errors=connection.connection_errors,
            on_ack=message.ack_log_error,
            on_reject=message.reject_log_error,
        )
        assert services.attempts.claim(job.id, "here/1")
        request.on_failure(lost(death))
    found = services.jobs.get(job.id)
    assert found.state is state
    assert (found.error.code if found.error else None) == code
