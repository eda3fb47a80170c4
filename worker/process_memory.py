"""The memory of a worker process: returning freed memory to the system, and limiting growth.

The first is for glibc, the second for Linux; elsewhere nothing happens.
"""

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MAPPED: Final = Path("/proc/self/statm")
_M_ARENA_MAX: Final = -8  # of malloc.h


def share_one_arena() -> None:
    """Let all threads of this process and its children use one heap; each further one would keep some 10 MB."""
    _call("mallopt", _M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Return freed memory to the system: making an engine frees much, of which little is needed again."""
    _call("malloc_trim", 0)


@contextmanager
def limit_growth(more_bytes: int) -> Iterator[None]:
    """Limit the memory that this process may map in addition; beyond that it gets a MemoryError and is not killed.

    The limit holds for all its threads, so it is for a time in which the others hardly need memory.
    """
    if not _MAPPED.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _mapped_bytes() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _mapped_bytes() -> int:
    return int(_MAPPED.read_text("ascii").split()[0]) * resource.getpagesize()


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, name):
        getattr(libc, name)(*arguments)
