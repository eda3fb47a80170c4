"""What a worker process keeps of the memory it has freed, and how much more it may take.

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
    """Return what is free to the system: much is after an engine is made, and little of it is needed again."""
    _call("malloc_trim", 0)


@contextmanager
def limit_growth(more_bytes: int) -> Iterator[None]:
    """Let this process map so many bytes beyond what it has: past that it gets a MemoryError, and no killer comes.

    All its threads are held to it, so it is for a while in which the others hardly need anything.
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
