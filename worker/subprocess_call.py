"""Calling a function in a process of its own. `python -m worker.subprocess_call` is that process.

A process that has run a network must not fork, and engines should not share memory and threads. `multiprocessing` does
not work here: it treats Celery's processes as daemons, which may not have children.
"""

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from signal import SIGKILL
from typing import ParamSpec, TypeVar

from shared.errors import EngineError, SakugaError, UnavailableError

P = ParamSpec("P")
R = TypeVar("R")


class CauseError(Exception):
    """The cause of an error in the other process, as text: pickling drops it."""


def call_in_subprocess(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, a picklable one with picklable arguments, in a fresh process; return its result.

    If this is interrupted, for example by a time limit, the process is killed.

    Raises:
        SakugaError: any that `function` raises.
        UnavailableError: the process was killed, most likely for lack of memory.
        EngineError: it raised anything else, which is on standard error, or the process crashed or did not start.
    """
    command, call = [sys.executable, "-m", "worker.subprocess_call"], pickle.dumps((function, args, kwargs))
    try:
        done = subprocess.run(command, input=call, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise EngineError(f"A process for the engine could not be started: {error.strerror}.") from error
    if done.returncode == -SIGKILL:
        raise UnavailableError("There is not enough memory at the moment.")
    if done.returncode:
        raise EngineError("The engine crashed its process; the cause is in the log of the service.")
    value, failure, cause = pickle.loads(done.stdout)  # noqa: S301  our own process wrote it
    if failure:
        raise failure from (CauseError(cause) if cause else None)
    return value  # type: ignore[no-any-return]


def main() -> None:
    """Serve one call from standard input; the result goes to standard output, all else to standard error."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        function, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  our own process wrote it
        outcome: tuple[object, SakugaError | None, str]
        try:
            outcome = function(*args, **kwargs), None, ""
        except SakugaError as error:
            cause = traceback.format_exception(error.__cause__) if error.__cause__ else []
            outcome = None, error, "".join(cause)
        pickle.dump(outcome, answer)


if __name__ == "__main__":
    main()
