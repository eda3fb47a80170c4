"""`make soak`: thousands of jobs one after the other, in a service where everything expires within seconds.

Memory, open files, keys in Redis and files on disk must be at the end what they were after the first fifth. Prints a
row per fifth; exits with 1 when something grew.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

from tests.chaos.overload import Flood, memory_of
from tests.chaos.rig import Rig, die_in_order, wait_for

PARTS = 5
TTL_S = 20
GRACE_S = 5  # how long a record outlives that, instead of an hour
MAY_GROW_BY = {"memory_mb": 16, "open_files": 8, "keys": 5, "files": 0}  # memory: 2 kB a job in all processes


@dataclass
class State:
    """What there is when nothing is left to do."""

    memory_mb: int
    open_files: int
    keys: int
    files: int


def state_of(rig: Rig) -> State:
    """Look after everything has expired, and those who tidy up have been."""
    redis = rig.services.redis
    wait_for(lambda: redis.zcard("sakuga:expiry") + redis.zcard("sakuga:holdings") == 0, "all has expired", 180)
    time.sleep(GRACE_S + 3)
    processes = [psutil.Process(program.pid) for program in rig.programs]
    family = [one for process in processes for one in (process, *process.children(recursive=True))]
    store = rig.folder / "store"
    return State(
        memory_mb=sum(memory_of(rig).values()) >> 20,
        open_files=sum(process.num_fds() for process in family),
        keys=int(redis.dbsize()),
        files=sum(path.is_file() for path in store.rglob("*")) if store.exists() else 0,
    )


def grew(first: State, last: State) -> list[str]:
    """What is more at the end than it may be."""
    pairs = zip(MAY_GROW_BY, astuple(first), astuple(last), strict=True)
    return [name for name, before, after in pairs if after > before + MAY_GROW_BY[name]]


def main() -> int:
    die_in_order()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--per-second", type=float, default=60)
    parser.add_argument("--real", action="store_true", help="draw; else the photo is given back")
    arguments = parser.parse_args()
    environment = {"SAKUGA_TTL_S": str(TTL_S), "CHAOS_GRACE_S": str(GRACE_S), "SAKUGA_MAX_QUEUED_MEGAPIXELS": "100000"}
    if not arguments.real:
        environment["CHAOS_STUB"] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="sakuga-soak-") as folder,
        Rig(Path(folder), environment=environment) as rig,
    ):
        return _soak(rig, arguments.jobs, arguments.per_second)


def _soak(rig: Rig, jobs: int, per_s: float) -> int:
    print(f"| jobs | per second | memory (MB) | open files | keys in Redis | files in the store |\n|{'---|' * 6}")
    states, odd = [], 0
    for _ in range(PARTS):
        began = time.monotonic()
        flood = Flood(rig, per_s)
        flood.run(jobs / PARTS / per_s)
        wait_for(lambda: not rig.in_hand() and not rig.waiting(), "all that was accepted has ended", 300)
        rate = len(flood.seen.accepted) / (time.monotonic() - began)
        odd += len(flood.seen.odd) + len(flood.seen.refused)
        states.append(state_of(rig))
        totals = rig.services.jobs.totals()
        odd += int(totals["jobs_submitted"] - totals["jobs_succeeded"])
        print(
            f"| {totals['jobs_succeeded']:.0f} | {rate:.0f} | {' | '.join(map(str, astuple(states[-1])))} |", flush=True
        )
    grown = grew(states[0], states[-1])
    print(f"{odd} odd answers; grown: {', '.join(grown) or 'nothing'}")
    return 1 if grown or odd else 0


if __name__ == "__main__":
    sys.exit(main())
