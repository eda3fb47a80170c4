"""`make chaos`: inject every fault, or those whose titles contain one of the given words, and print the outcomes.

Exits with 1 if a photo was lost, duplicated, or failed for a reason that the fault does not explain; if recovery took
too long; or if a fault had no effect. Faults that cannot be set up on this machine are named in the table; with CI=true
they count as violated guarantees.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

from benchmarks.machine import describe
from tests.chaos.faults import (
    DISK,
    EATING,
    HANGING,
    NODE_DEATH,
    PARTITION,
    PLAIN,
    S3,
    SUPERVISOR,
    Fault,
    R,
    inject,
    memory_limit,
)
from tests.chaos.machine import NotPossibleError, Switch, small_disk
from tests.chaos.rig import NODES, Rig, exit_on_sigterm
from tests.chaos.supervised import Supervised
from tests.chaos.workload import Outcome
from tests.conftest import IN_CI, s3_server

MEMORY_BYTES = 1500 << 20
PRODUCTION_TIMEOUT_S = 30
HEAD = "| fault | accepted | succeeded | failed | retried | lost | duplicated | recovery |"


@dataclass(frozen=True)
class Part(Generic[R]):
    """Faults that are injected into one kind of rig, one after the other."""

    rig: Callable[[Path], AbstractContextManager[R]]  # set up in a folder
    faults: tuple[Fault[R], ...]


class Report:
    """The table, printed row by row."""

    def __init__(self, is_chosen: Callable[[Fault[Any]], bool]) -> None:
        """Print the header; only the chosen faults will be injected."""
        self.bad = 0
        self._is_chosen = is_chosen
        self._seed = 0
        self._photos = 0
        machine = describe()
        print(
            f"{machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}\n\n{HEAD}\n|{'---|' * 8}",
            flush=True,
        )

    def inject(self, part: Part[R], folder: Path) -> None:
        """Inject the chosen faults of a part into a rig, unless it cannot be set up here."""
        chosen = [fault for fault in part.faults if self._is_chosen(fault)]
        if not chosen:
            return
        try:
            with part.rig(folder) as rig:
                for fault in chosen:
                    self._seed += 1
                    self._add(fault, inject(fault, rig, seed=self._seed))
        except NotPossibleError as error:
            self._pass_over(chosen, str(error))

    def _pass_over(self, faults: list[Fault[R]], reason: str) -> None:
        self.bad += IN_CI * len(faults)
        for fault in faults:
            print(f"| {fault.title} | not possible here: {reason} |{' |' * 6}", flush=True)

    def _add(self, fault: Fault[R], outcome: Outcome) -> None:
        self._photos += outcome.accepted
        self.bad += not _is_upheld(fault, outcome)
        failed = ", ".join(f"{number} {code}" for code, number in outcome.failed.items()) or "0"
        counts = (outcome.accepted, outcome.succeeded, failed, outcome.again, outcome.lost, outcome.twice)
        print(f"| {fault.title} | {' | '.join(map(str, counts))} | {outcome.recovery_s:.1f} s |", flush=True)

    def end(self) -> int:
        print(f"\n{self._photos} photos, {self.bad} faults that violated a guarantee", flush=True)
        return 1 if self.bad else 0


def _is_upheld(fault: Fault[R], outcome: Outcome) -> bool:
    """Return whether every photo reached one terminal state in time, and whether the fault had an effect."""
    is_harmed = fault.again is None or outcome.again >= fault.again
    is_in_time = outcome.recovery_s <= fault.recovery_s
    return not outcome.lost and not outcome.twice and outcome.failed == fault.costs and is_harmed and is_in_time


def main() -> int:
    """Run the faults whose titles have one of the words on the command line, or all."""
    exit_on_sigterm()
    words = sys.argv[1:]
    report = Report(lambda fault: not words or any(word in fault.title for word in words))
    with tempfile.TemporaryDirectory(prefix="sakuga-chaos-") as folder:
        for number, part in enumerate(PARTS):
            report.inject(part, Path(folder) / str(number))
    return report.end()


@contextmanager
def _on_hosts(folder: Path) -> Iterator[Rig]:
    switch = Switch()
    with switch.hosts(NODES), Rig(folder, switch=switch) as rig:
        yield rig


@contextmanager
def _with_little_memory(folder: Path) -> Iterator[Rig]:
    with Rig(folder) as rig, memory_limit(rig, MEMORY_BYTES):
        yield rig


@contextmanager
def _with_s3(folder: Path) -> Iterator[Rig]:
    folder.mkdir()
    with s3_server(folder) as port, Rig(folder / "rig", s3_port=port) as rig:
        yield rig


@contextmanager
def _with_a_small_disk(folder: Path) -> Iterator[Rig]:
    with small_disk(folder / "store") as store, Rig(folder / "rig", store=store) as rig:
        yield rig


PARTS: tuple[Part[Any], ...] = (
    Part(Rig, PLAIN),
    Part(_on_hosts, (PARTITION,)),
    Part(partial(Rig, timeout_s=PRODUCTION_TIMEOUT_S), (NODE_DEATH,)),
    Part(Supervised, (SUPERVISOR,)),
    Part(partial(Rig, environment={"SAKUGA_JOB_TIME_LIMIT_S": "8"}), (HANGING,)),
    Part(_with_little_memory, (EATING,)),
    Part(_with_s3, S3),
    Part(_with_a_small_disk, DISK),
)

if __name__ == "__main__":
    sys.exit(main())
