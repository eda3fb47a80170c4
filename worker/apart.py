"""Running a function in a process of its own. Imported by `worker`; `python -m worker.apart` is that process.

What runs a network must not fork afterwards, and the memory and threads of one engine are not to be another's. Not
`multiprocessing`: Celery's processes are daemons to it, which may not have children.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from shared.errors import EngineError, SakugaError

P = ParamSpec("P")
R = TypeVar("R")


def run_apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, a module's own and picklable like its arguments, in a fresh process; return what it returns.

    When this is interrupted, by a time limit say, the process is killed.

    Raises:
        SakugaError: what `function` raises of these.
        EngineError: it raised anything else, which is on standard error, or the process died or could not be started.
    """
    command, call = [sys.executable, "-m", "worker.apart"], pickle.dumps((function, args, kwargs))
    try:
        done = subprocess.run(command, input=call, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise EngineError(f"A process for the engine could not be started: {error.strerror}.") from error
    if done.returncode:
        raise EngineError("The engine brought its process down; the operator finds the reason in the log.")
    outcome: R | SakugaError = pickle.loads(done.stdout)  # noqa: S301  our own process wrote it
    if isinstance(outcome, SakugaError):
        raise outcome
    return outcome


def main() -> None:
    """Answer one call: it comes on standard input, the answer goes to standard output, all else to standard error."""
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answer:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        function, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  our own process wrote it
        try:
            outcome = function(*args, **kwargs)
        except SakugaError as error:
            outcome = error
        pickle.dump(outcome, answer)


if __name__ == "__main__":
    main()
