"""The capacity of this node: cores, memory, CPU features. Imports no ML runtime.

Supports both versions of control groups: a container with a quota of two cores on a machine of sixty-four has two.
"""

import math
import os
import platform
from pathlib import Path, PurePosixPath

import psutil

CGROUP, MEMBERSHIP, CPUINFO = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/cpuinfo")
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # by which runtimes are held back
DECISIVE_FLAGS = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "asimdhp",
    "bf16",
)  # fmt: skip


def available_cores(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """Return the cores this process may use: by affinity and, in a container, quota (rounded down); at least one."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([cores, *map(_quota, _groups("cpu", cgroup, membership))])))


def available_memory(cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """Return the bytes this node may use: the machine's memory or the container's limit, whichever is less."""
    total = int(psutil.virtual_memory().total)
    return int(min([total, *map(_memory_limit, _groups("memory", cgroup, membership))]))


def limit_threads(threads: int) -> None:
    """Limit the threads of numeric libraries that this process has not imported yet."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Describe the CPU: its name, the instruction sets that matter, and limits put on them."""
    names = _cpuinfo(cpuinfo, "model name", "CPU part") or {platform.processor() or platform.machine()}
    limits = [f"{name}={os.environ[name]}" for name in ISA_LIMITS if name in os.environ]
    return ", ".join([*sorted(names), cpu_flags(cpuinfo), *limits])


def cpu_flags(cpuinfo: Path = CPUINFO) -> str:
    """Return the instruction sets of this CPU that decide between engines, in a fixed order."""
    flags = {flag for line in _cpuinfo(cpuinfo, "flags", "Features") for flag in line.split()}
    return " ".join(name for name in DECISIVE_FLAGS if name in flags)


def _groups(controller: str, cgroup: Path, membership: Path) -> list[Path]:
    """Return the folders of this process's control group and of its ancestors, each of which may limit it."""
    roots = {"": cgroup, controller: cgroup / controller}  # of version 2, which names no controllers, and of version 1
    found = list(roots.values())  # inside a container they are its own, whatever its path on the host is
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        inside = PurePosixPath(path.strip("/"))
        for name in roots.keys() & set(controllers.split(",")):
            found += [roots[name] / part for part in (inside, *inside.parents)]
    return found


def _quota(group: Path) -> float:
    """Return the cores that a control group allows; infinite without a limit."""
    words = _words(group / "cpu.max") or _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
    quota, period = words if len(words) == 2 else ("max", "1")  # noqa: PLR2004
    return math.inf if quota in {"max", "-1"} else int(quota) / int(period)


def _memory_limit(group: Path) -> float:
    """Return the bytes that a control group allows; infinite, or more than any machine has, without a limit."""
    words = _words(group / "memory.max") or _words(group / "memory.limit_in_bytes")
    return math.inf if words in ([], ["max"]) else int(words[0])


def _cpuinfo(path: Path, *keys: str) -> set[str]:
    """Return the values of any of `keys`, over all cores."""
    return {line.partition(":")[2].strip() for line in _lines(path) if line.startswith(keys)}


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    """Return the lines of a system file; none if it does not exist."""
    try:
        return path.read_text("utf-8").splitlines()
    except OSError:
        return []
