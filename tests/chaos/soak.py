"""`make soak`: thousands of jobs in a row, in a service where everything expires within seconds.

Memory, open files, keys in Redis and files on disk must not grow after the first fifth. Prints a row per fifth; exits
with 1 if something grew.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.overload import MAY_OPEN, Flood, memory_of, open_files
from tests.chaos.rig import Rig, exit_on_sigterm
from tests.conftest import wait_until

PARTS = 5
TTL_S = 20
GRACE_S = 5  # for how long a record outlives that, instead of an hour
TIME_LIMIT_S = 10  # for how long a node remembers the limit of an ended job
# Allowed growth: 750 bytes of memory per program and job, and connections, which are opened when needed and kept.
MAY_GROW_BY = {"memory": 6 << 20, "open files": MAY_OPEN, "keys": 5, "files": 0}

HEAD = "| jobs | per second | MB of queue, web server, nodes | open files | keys in Redis | files in the store |"

State = dict[str, dict[str, int]]  # resources when idle: by kind and owner


def state_of(rig: Rig) -> State:
    """Measure the state after everything has expired and housekeeping has run."""
    redis = rig.services.redis
    wait_until(lambda: redis.zcard("sakuga:expiry") + redis.zcard("sakuga:references") == 0, "all has expired", 180)
    time.sleep(GRACE_S + 3)
    store = rig.folder / "store"
    return {
        "memory": memory_of(rig),
        "open files": open_files(rig),
        "keys": {"Redis": int(redis.dbsize())},
        "files": {"the store": sum(path.is_file() for path in store.rglob("*")) if store.exists() else 0},
    }


def row_of(state: State) -> str:
    memory, *others = state.values()
    megabytes = " + ".join(str(amount >> 20) for amount in memory.values())
    return " | ".join([megabytes, *(str(sum(amounts.values())) for amounts in others)])


def grew(first: State, last: State) -> list[str]:
    """Return the resources that grew more than allowed."""
    return [
        f"{kind} of {owner} ({before} -> {last[kind][owner]})"
        for kind, amounts in first.items()
        for owner, before in amounts.items()
        if last[kind][owner] > before + MAY_GROW_BY[kind]
    ]


def main() -> int:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--per-second", type=float, default=60)
    parser.add_argument("--real", action="store_true", help="draw; else the photo is given back")
    arguments = parser.parse_args()
    environment = {
        "CHAOS_GRACE_S": str(GRACE_S),
        "SAKUGA_JOB_TIME_LIMIT_S": str(TIME_LIMIT_S),
        "SAKUGA_MAX_QUEUED_MEGAPIXELS": "100000",
        "SAKUGA_TTL_S": str(TTL_S),
    }
    if not arguments.real:
        environment["CHAOS_STUB"] = "1"
    with (
        tempfile.TemporaryDirectory(prefix="sakuga-soak-") as folder,
        Rig(Path(folder), environment=environment) as rig,
    ):
        return _soak(rig, arguments.jobs, arguments.per_second)


def _soak(rig: Rig, jobs: int, per_s: float) -> int:
    print(f"{HEAD}\n|{'---|' * 6}")
    states, odd = [], 0
    for _ in range(PARTS):
        began = time.monotonic()
        flood = Flood(rig, per_s)
        flood.run(jobs / PARTS / per_s)
        wait_until(lambda: not rig.held() and not rig.waiting(), "all that was accepted has ended", 300)
        rate = len(flood.seen.accepted) / (time.monotonic() - began)
        odd += len(flood.seen.odd) + len(flood.seen.unhealthy) + len(flood.seen.refused)
        states.append(state_of(rig))
        totals = rig.services.totals.read()
        odd += int(totals["jobs_submitted"] - totals["jobs_succeeded"])
        print(f"| {totals['jobs_succeeded']:.0f} | {rate:.0f} | {row_of(states[-1])} |", flush=True)
    grown = grew(states[0], states[-1])
    print(f"{odd} odd answers; grown: {', '.join(grown) or 'nothing'}")
    return 1 if grown or odd else 0


if __name__ == "__main__":
    sys.exit(main())
