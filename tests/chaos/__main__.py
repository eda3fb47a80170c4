"""`make chaos`: every fault, and a table of what became of the photos. With words, only faults whose titles have them.

Exits with 1 when a photo was lost, seen twice, or failed without a reason that belongs to the fault; when it took too
long; and when a fault did no harm.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    memory_limit,
    suffer,
)
from tests.chaos.machine import Switch, small_disk
from tests.chaos.rig import NODES, Rig, die_in_order
from tests.chaos.supervised import Supervised
from tests.chaos.workload import Outcome
from tests.conftest import s3_server

MEMORY_BYTES = 1500 << 20
PRODUCTION_TIMEOUT_S = 30
HEAD = "| fault | accepted | succeeded | failed | took another attempt | lost | seen twice | recovery |"


class Report:
    """The table, a row as soon as it is known."""

    def __init__(self, is_chosen: Callable[[Fault[Any]], bool]) -> None:
        """Print the head; only faults that are chosen are suffered."""
        self.bad = 0
        self._is_chosen = is_chosen
        self._seed = 0
        self._photos = 0
        machine = describe()
        print(
            f"{machine['cpu']}, {machine['cores']} cores, commit {machine['commit']}\n\n{HEAD}\n|{'---|' * 8}",
            flush=True,
        )

    def chosen(self, *faults: Fault[R]) -> list[Fault[R]]:
        return [fault for fault in faults if self._is_chosen(fault)]

    def suffer(self, fault: Fault[R], rig: R) -> None:
        self._seed += 1
        self._add(fault, suffer(fault, rig, seed=self._seed))

    def _add(self, fault: Fault[R], outcome: Outcome) -> None:
        self._photos += outcome.accepted
        self.bad += not _is_kept(fault, outcome)
        failed = ", ".join(f"{number} {code}" for code, number in outcome.failed.items()) or "0"
        recovery = "" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s"
        counts = (outcome.accepted, outcome.succeeded, failed, outcome.again, outcome.lost, outcome.twice, recovery)
        print(f"| {fault.title} | {' | '.join(map(str, counts))} |", flush=True)

    def end(self) -> int:
        print(f"\n{self._photos} photos, {self.bad} faults that broke a promise", flush=True)
        return 1 if self.bad else 0


def _is_kept(fault: Fault[R], outcome: Outcome) -> bool:
    """Whether every photo has one end, in time; and whether there was any harm."""
    is_harmed = fault.again is None or outcome.again >= fault.again
    is_in_time = outcome.recovery_s is None or outcome.recovery_s <= fault.recovery_s
    return not outcome.lost and not outcome.twice and outcome.failed == fault.costs and is_harmed and is_in_time


def main() -> int:
    """Run the faults whose titles have one of the words on the command line, or all."""
    die_in_order()
    words = sys.argv[1:]
    report = Report(lambda fault: not words or any(word in fault.title for word in words))
    with tempfile.TemporaryDirectory(prefix="sakuga-chaos-") as folder:
        for number, part in enumerate(PARTS):
            part(report, Path(folder) / str(number))
    return report.end()


def _plain(report: Report, folder: Path) -> None:
    if chosen := report.chosen(*PLAIN):
        with Rig(folder) as rig:
            for fault in chosen:
                report.suffer(fault, rig)


def _partition(report: Report, folder: Path) -> None:
    if report.chosen(PARTITION):
        switch = Switch()
        with switch.hosts(NODES), Rig(folder, switch=switch) as rig:
            report.suffer(PARTITION, rig)


def _production(report: Report, folder: Path) -> None:
    if report.chosen(NODE_DEATH):
        with Rig(folder, timeout_s=PRODUCTION_TIMEOUT_S) as rig:
            report.suffer(NODE_DEATH, rig)


def _supervisor(report: Report, folder: Path) -> None:
    if report.chosen(SUPERVISOR):
        with Supervised(folder) as rig:
            report.suffer(SUPERVISOR, rig)


def _hanging(report: Report, folder: Path) -> None:
    if report.chosen(HANGING):
        with Rig(folder, environment={"SAKUGA_JOB_TIME_LIMIT_S": "8"}) as rig:
            report.suffer(HANGING, rig)


def _eating(report: Report, folder: Path) -> None:
    if report.chosen(EATING):
        with Rig(folder) as rig, memory_limit(rig, MEMORY_BYTES):
            report.suffer(EATING, rig)


def _s3(report: Report, folder: Path) -> None:
    if chosen := report.chosen(*S3):
        folder.mkdir()
        with s3_server(folder) as port, Rig(folder / "rig", s3_port=port) as rig:
            for fault in chosen:
                report.suffer(fault, rig)


def _disk(report: Report, folder: Path) -> None:
    if chosen := report.chosen(*DISK):
        with small_disk(folder / "store") as store, Rig(folder / "rig", store=store) as rig:
            for fault in chosen:
                report.suffer(fault, rig)


PARTS = (_plain, _partition, _production, _supervisor, _hanging, _eating, _s3, _disk)

if __name__ == "__main__":
    sys.exit(main())
