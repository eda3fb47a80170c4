"""Pools of processes that draw concurrently, so that variants can be measured alternately."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Self

from shared.errors import EngineError, SakugaError
from shared.telemetry import configure_logs
from worker.capacity import limit_threads

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Draw = Callable[[int], object]
"""Draws the photo with a number: 0, 1, 2, …"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Pictures per second, and the seconds of CPU time that each took."""

    pictures_per_s: float
    cpu_s: float


class Pool:
    """A number of warm processes, each with a number of threads, that draw on request."""

    def __init__(self, make: Callable[[int], Draw], processes: int, threads: int) -> None:
        """Start the processes; `make`, which gets the number of threads, is called in each and must be picklable.

        Raises:
            SakugaError: why one of them cannot draw.
        """
        limit_threads(
            threads
        )  # here, since libraries read it when they are imported, before any code in a process runs
        self._processes = [_Process(make, threads) for _ in range(processes)]
        try:
            for process in self._processes:
                process.receive()  # each reports when it is warm
        except BaseException:
            self.close()
            raise

    def measure(self, seconds: float) -> Throughput:
        """Measure the throughput of all processes together.

        Raises:
            SakugaError: why one of them cannot draw.
        """
        for process in self._processes:
            process.send(seconds)
        turns = [process.receive() for process in self._processes]
        paces = [turn for turn in turns if turn]
        return Throughput(sum(one.pictures_per_s for one in paces), sum(one.cpu_s for one in paces) / len(paces))

    def close(self) -> None:
        for process in self._processes:
            process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Process:
    """One process and the pipe to it."""

    def __init__(self, make: Callable[[int], Draw], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(theirs, make, threads), daemon=True)
        self._process.start()
        theirs.close()  # otherwise the pipe would stay open after the process has died, and we would wait forever

    def send(self, seconds: float | None) -> None:
        with suppress(OSError):  # the reason for its death is found when it should answer
            self._connection.send(seconds)

    def receive(self) -> Throughput | None:
        try:
            said: Throughput | SakugaError | None = self._connection.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join()
            raise EngineError(f"A process that draws {_end(self._process.exitcode or 0)}.") from error
        if isinstance(said, SakugaError):
            raise said
        return said

    def stop(self) -> None:
        self.send(None)
        self._process.join(30)


def layouts(cores: int) -> Iterable[tuple[int, int]]:
    """Return the divisions of the cores worth trying: (processes, threads)."""
    return dict.fromkeys([(cores, 1), (max(1, cores // 2), min(cores, 2)), (1, cores)])


def _serve(connection: Connection, make: Callable[[int], Draw], threads: int) -> None:
    configure_logs("ERROR")
    try:
        _draw_on_request(connection, make(threads))
    except SakugaError as error:
        connection.send(error)
    except Exception as error:  # noqa: BLE001  whatever it is, the parent reports it
        connection.send(EngineError(f"{type(error).__name__}: {error}"))


def _draw_on_request(connection: Connection, draw: Draw) -> None:
    for number in range(2):
        draw(number)
    connection.send(None)
    number = 0
    while (seconds := connection.recv()) is not None:
        started, busy, first = perf_counter(), process_time(), number
        while number == first or perf_counter() - started < seconds:
            draw(number)
            number += 1
        drawn = number - first
        connection.send(Throughput(drawn / (perf_counter() - started), (process_time() - busy) / drawn))


def _end(exit_code: int) -> str:
    return f"was killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with {exit_code}"
