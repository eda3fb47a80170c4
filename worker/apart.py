"""Running a function in a process of its own. Imported by `worker`.

What runs a network must not fork afterwards, and the memory and threads of one engine are not to be another's.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from shared.errors import EngineError

P = ParamSpec("P")
R = TypeVar("R")


def run_apart(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, which must be picklable like its arguments, in a fresh process and return what it returns.

    Raises:
        EngineError: the process died; nothing but an engine does that.
        Exception: whatever `function` raises.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        try:
            return apart.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise EngineError("The engine brought its process down.") from error
