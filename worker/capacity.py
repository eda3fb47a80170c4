"""What this node has: cores, memory, the CPU's kind. Imported by `worker` and `cli`; imports no ML runtime.

Knows control groups: a container with a quota of two cores on a machine of sixty-four has two.
"""

import os
import platform
from pathlib import Path

import psutil

CGROUP, CPUINFO = Path("/sys/fs/cgroup"), Path("/proc/cpuinfo")
ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")  # by which runtimes are held back
DECISIVE_FLAGS = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "asimdhp",
    "bf16",
)  # fmt: skip


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


def limit_threads(threads: int) -> None:
    """Let numeric libraries that this process has not imported yet use so many threads."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """What this machine computes with: the CPU's name, its instruction sets that matter, and the limit put on them."""
    names = _cpuinfo(cpuinfo, "model name", "CPU part") or {platform.processor() or platform.machine()}
    limits = [f"{name}={os.environ[name]}" for name in ISA_LIMITS if name in os.environ]
    return ", ".join([*sorted(names), cpu_flags(cpuinfo), *limits])


def cpu_flags(cpuinfo: Path = CPUINFO) -> str:
    """Those instruction sets of this CPU that decide between engines, in a fixed order."""
    flags = {flag for line in _cpuinfo(cpuinfo, "flags", "Features") for flag in line.split()}
    return " ".join(name for name in DECISIVE_FLAGS if name in flags)


def _cpuinfo(path: Path, *keys: str) -> set[str]:
    """The values that Linux gives under any of `keys`, over all cores."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {line.partition(":")[2].strip() for line in lines if line.startswith(keys)}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("ascii").split()
    except OSError:
        return []
