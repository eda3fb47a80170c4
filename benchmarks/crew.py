"""Processes that draw at once, each whatever it was made for, so that two ways of drawing can take turns.

Imported by `benchmarks`.
"""

import multiprocessing
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Self

from shared.telemetry import configure_logs
from worker.capacity import limit_threads

Draw = Callable[[int], object]
"""Draws the photo of a number, 0, 1, 2, …"""


class Crew:
    """So many processes of so many threads, ready and warm, that draw when told to."""

    def __init__(self, make: Callable[[int], Draw], processes: int, threads: int) -> None:
        """Start the processes; `make`, which gets the number of threads, is called in each and must be picklable."""
        context = multiprocessing.get_context("spawn")
        self._members = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, make, threads), daemon=True)
            process.start()
            self._members.append((process, ours))
        for _, connection in self._members:
            connection.recv()  # each says when it is warm

    def pace(self, seconds: float) -> float:
        """Pictures per second of all together."""
        for _, connection in self._members:
            connection.send(seconds)
        return sum(float(connection.recv()) for _, connection in self._members)

    def close(self) -> None:
        for process, connection in self._members:
            connection.send(None)
            process.join(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def layouts(cores: int) -> Iterable[tuple[int, int]]:
    """The ways to divide the cores that are worth a try: (processes, threads)."""
    return dict.fromkeys([(cores, 1), (max(1, cores // 2), min(cores, 2)), (1, cores)])


def _serve(connection: Connection, make: Callable[[int], Draw], threads: int) -> None:
    limit_threads(threads)
    configure_logs("ERROR")
    draw = make(threads)
    for number in range(2):
        draw(number)
    connection.send(None)
    number = 0
    while (seconds := connection.recv()) is not None:
        started, first = perf_counter(), number
        while number == first or perf_counter() - started < seconds:
            draw(number)
            number += 1
        connection.send((number - first) / (perf_counter() - started))
