"""What a worker process keeps of the memory it has freed. Only glibc is told; elsewhere nothing happens.

Imported by `worker`.
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # of malloc.h


def share_one_arena() -> None:
    """Let all threads of this process and its children use one heap; each further one would keep some 10 MB."""
    _call("mallopt", _M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free to the system: much is after an engine is made, and little of it is needed again."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None)
    if hasattr(libc, name):
        getattr(libc, name)(*arguments)
