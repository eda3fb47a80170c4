"""The threads that send webhooks: however slow receivers are, no caller and no host occupies them all."""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final

import structlog

SENDERS: Final = 32  # at once; mostly they wait for receivers
# No caller and no host may occupy them all; four callers with slow receivers together can.
SENDERS_PER_CALLER: Final = SENDERS // 4
SENDERS_PER_HOST: Final = 4

log = structlog.get_logger()


class Senders:
    """Threads that send, few of them for the same caller or host."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(SENDERS, "webhook")  # starts them as they are needed
        self._lock = Lock()
        self._busy: Counter[str] = Counter()

    @property
    def free(self) -> int:
        """The number of messages that could be sent now, to callers and hosts that are below their limits."""
        with self._lock:
            return SENDERS - self._busy["all"]

    def start(self, send: Callable[[], bool], *, caller: str, host: str) -> Future[bool] | None:
        """Send a message in a thread; None if its caller, its host or all together have reached their limit."""
        limits = {"all": SENDERS, f"caller {caller}": SENDERS_PER_CALLER, f"host {host}": SENDERS_PER_HOST}
        with self._lock:
            if any(self._busy[name] >= limit for name, limit in limits.items()):
                return None
            self._busy.update(limits.keys())
        future = self._pool.submit(send)
        future.add_done_callback(lambda done: self._end(done, limits.keys()))
        return future

    def _end(self, future: Future[bool], names: Iterable[str]) -> None:
        with self._lock:
            self._busy.subtract(names)
            self._busy = +self._busy  # without those that are at zero
        if error := future.exception():
            log.error("failed to send a webhook; will retry", exc_info=error)
