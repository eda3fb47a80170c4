"""OpenVINO's core, one for a process and for as long as that lives.

Its CPU plugin gives the thread that opens it a stack of its own for signals, and takes the memory back when the plugin
is closed, even if another core's plugin is still open. Any signal then kills the process, Ctrl-C among them.
"""

import os
from functools import cache

import openvino


def core() -> openvino.Core:
    """Return the core of this process; after a fork, the child has its own."""
    return _core_of(os.getpid())


@cache
def _core_of(process: int) -> openvino.Core:  # noqa: ARG001
    return openvino.Core()
