"""How many worker processes and threads fit this node. Imported by `worker` and `cli`; imports no ML runtime.

Knows control groups: a container with a quota of two cores on a machine of sixty-four has two.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from shared.settings import Settings

CGROUP = Path("/sys/fs/cgroup")
MEMORY_PER_PROCESS = 1 << 30
FOR_CHILDREN = 0.8  # of the node's memory; the rest is for the parent, the web, the queue and the system


@dataclass(frozen=True, slots=True)
class Capacity:
    """Worker processes, and threads and bytes of memory of each."""

    processes: int
    threads: int
    memory: int


def plan(settings: Settings) -> Capacity:
    """Fill what the operator left open: a process per core with one thread each, as far as memory allows.

    One thread per process gives the most pictures per second; two processes of one thread beat one of two.
    """
    cores, memory = available_cores(), int(available_memory() * FOR_CHILDREN)
    processes = settings.processes or max(1, min(cores, memory // MEMORY_PER_PROCESS))
    return Capacity(processes, settings.threads or max(1, cores // processes), memory // processes)


def available_cores(cgroup: Path = CGROUP) -> int:
    """Cores this process may use: affinity and, in a container, the quota rounded down; at least one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, period = (_words(cgroup / "cpu.max") or ["max", "1"])[:2]
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def available_memory(cgroup: Path = CGROUP) -> int:
    """Bytes this node may use: the machine's memory or the container's limit, whichever is less."""
    total = int(psutil.virtual_memory().total)
    limit = (_words(cgroup / "memory.max") or ["max"])[0]
    return total if limit == "max" else min(total, int(limit))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split()
    except OSError:
        return []
