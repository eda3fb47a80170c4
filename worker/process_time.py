"""The processor time of a worker process, which decoding a photo may only take some of.

A codec can be sent what keeps it busy for minutes, and returns to Python only when it is done. So the system ends the
process, and its parent can tell that from any other death.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


def arm() -> None:
    """Let limits end this process: billiard has Python handle the signal in its children, which would be too late."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """End this process if it takes more processor time than that, in all of its threads together."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def ended(death: object) -> bool:
    """Return whether this limit is what ended a process; only the pool's message about its death tells."""
    return f"({signal.SIGPROF.name})" in str(death)
