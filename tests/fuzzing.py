"""Hostile input for `tests/test_fuzz.py`: rounds of hypothesis, damaged files, and a converter process that may crash.

The test suite checks the same few examples every time. `make fuzz MINUTES=10` generates new ones for that many minutes
per test; the seed of each round is printed, and `SEED=…` repeats the one that failed.
"""

import os
import random
import re
import resource
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import IO, Self, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from shared import pipeline
from shared.conversion import Options
from shared.drawing import ProgressCallback, Tensor
from shared.errors import SakugaError
from shared.photos.decoding import Rgb
from shared.photos.formats import Format, Limits
from shared.photos.inspection import inspect

T = TypeVar("T")
MINUTES = float(os.environ.get("FUZZ_MINUTES") or 0)
SEED = int(os.environ.get("FUZZ_SEED") or 0)

PHOTO_LIMITS = Limits(max_bytes=1 << 20, max_megapixels=2)
# The resources that one photo within these limits may take in its converter process, or a request in the web server.
MAX_CPU_S, MAX_WAIT_S, MAX_MIB = 10, 60, 250
_ALL_MIB = 4096  # mapped memory, so that an explosion ends the process and not the machine
_SIGNATURE_BYTES = 16  # mostly left intact: files that are no photo at first sight reach no code that could break
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 64) - 1)


def fuzz(strategy: st.SearchStrategy[T], check: Callable[[T], None], *, examples: int, share: float = 1) -> None:
    """Check the same few examples every time or, with `MINUTES`, new ones until this test's share is over."""
    deadline = time.monotonic() + 60 * MINUTES * share
    number = SEED or random.randrange(1 << 32)
    while True:
        run = given(strategy)(lambda example: check(example))  # noqa: PLW0108  hypothesis marks what it is given
        if MINUTES or SEED:
            print(f"fuzzing with SEED={number}", file=sys.__stderr__, flush=True)
            seed(number)(run)
        _set_up(examples)(run)()
        number += 1
        if time.monotonic() >= deadline:
            return


def _set_up(examples: int) -> settings:
    return settings(
        max_examples=examples * (10 if MINUTES else 1),
        derandomize=not (MINUTES or SEED),
        deadline=None,  # per example: a busy machine is not a failure
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes], *, at_end: bool = False) -> bytes:
    """One of the files, changed in up to six places, most of them in its header (or in the directory at its end)."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        change = draw(st.sampled_from(_CHANGES))
        change(draw, data, _place(draw, len(data), at_end=at_end), files)
        if not data:
            break
    return bytes(data)


def _place(draw: st.DrawFn, length: int, *, at_end: bool) -> int:
    reach, spared = draw(st.sampled_from([100, 400, length])), draw(st.sampled_from([0, *3 * [_SIGNATURE_BYTES]]))
    last = max(0, min(reach, length) - 1)
    place = draw(st.integers(min(spared, last), last))
    return length - 1 - place if at_end else place


_Change = Callable[[st.DrawFn, bytearray, int, list[bytes]], None]


def _flip(draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    data[place] ^= 1 << draw(st.integers(0, 7))


def _overwrite(draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    fresh = draw(st.one_of(st.binary(min_size=1, max_size=16), st.sampled_from([bytes(64), b"\xff" * 64])))
    data[place : place + len(fresh)] = fresh


def _set_number(draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    """Write a false length, width, count or offset."""
    width, order = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from(["<", ">"]))
    value = draw(st.one_of(st.sampled_from(_EDGES), st.integers(0, 1 << 64))) & ((1 << 8 * width) - 1)
    data[place : place + width] = value.to_bytes(width, "little" if order == "<" else "big")


def _cut(_draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    del data[place:]


def _leave_out(draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    del data[place : place + draw(st.integers(1, 200))]


def _double(draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    part = data[place : place + draw(st.integers(1, 200))]
    data[place:place] = part * draw(st.sampled_from([1, 2, 50]))


def _insert(draw: st.DrawFn, data: bytearray, place: int, _: list[bytes]) -> None:
    data[place:place] = draw(st.binary(min_size=1, max_size=32))


def _splice(draw: st.DrawFn, data: bytearray, place: int, files: list[bytes]) -> None:
    other = draw(st.sampled_from(files))
    data[place:] = other[draw(st.integers(0, len(other) - 1)) :]


_CHANGES: list[_Change] = [
    *[_flip, _overwrite, _set_number, _set_number, _cut, _leave_out],
    *[_double, _insert, _splice],
]


class ConverterDiedError(AssertionError):
    """The process that converted a photo crashed, hung or returned something unexpected."""


class Converter:
    """A process that inspects and converts photos, as a worker does; if one crashes it, the next gets a new process."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def convert(self, photo: bytes) -> str:
        """Return the outcome for a photo: `picture`, or the status and code of a SakugaError.

        Raises:
            ConverterDiedError: the outcome was neither, it took too long, or the process died.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died, and gives no answer
            self._process.stdin.write(struct.pack(">I", len(photo)) + photo)
            self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=MAX_WAIT_S)
        except Empty:
            answer = ""
        if answer.startswith(("picture", "4")):
            return answer
        self._stop()
        died = answer or f"the process ended with {self._process.returncode}"
        self._start()
        raise ConverterDiedError(died)

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.fuzzing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where codecs print warnings
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        self._answers: Queue[str] = Queue()
        assert self._process.stdout is not None
        self._listener = Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True)
        self._listener.start()

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(MAX_WAIT_S)
        self._listener.join(MAX_WAIT_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue


def _listen(lines: IO[bytes], answers: "Queue[str]") -> None:
    for line in lines:
        answers.put(line.decode().strip())
    answers.put("")


class _Negative:
    multiple, margin = 4, 0
    drawn_at: int | None = None
    find_faces = None

    def face_heights(self, _photo: Rgb) -> tuple[float, ...]:
        return ()

    def require_room(self, size: tuple[int, int], pixel_bytes: int) -> None:
        pass

    def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:  # noqa: ARG002
        return -photo


@dataclass
class _Cost:
    """The resources that this process used for one photo or request."""

    cpu_s: float
    mib: int

    @classmethod
    def start(cls) -> Self:
        with open("/proc/self/clear_refs", "w") as peak:  # noqa: PTH123  the peak begins anew
            peak.write("5")
        return cls(time.process_time(), _peak_mib())

    def excess(self) -> str:
        cpu_s, mib = time.process_time() - self.cpu_s, _peak_mib() - self.mib
        return f"took {cpu_s:.1f} s and {mib} MiB" if cpu_s > MAX_CPU_S or mib > MAX_MIB else ""


@contextmanager
def within_bounds() -> Iterator[None]:
    """Fail if the block uses more time or memory than one photo may."""
    cost = _Cost.start()
    yield
    excess = cost.excess()
    assert not excess, excess


def _peak_mib() -> int:
    with open("/proc/self/status") as status:  # noqa: PTH123
        found = re.search(r"VmHWM:\s+(\d+)", status.read())
    return int(found[1]) >> 10 if found else 0


def _outcome(photo: bytes) -> str:
    try:
        header = inspect(BytesIO(photo), PHOTO_LIMITS)
        assert header.width * header.height <= 1e6 * PHOTO_LIMITS.max_megapixels
        picture = pipeline.convert(photo, Options(64, Format.PNG), _Negative(), PHOTO_LIMITS)
        assert max(picture.width, picture.height) <= 64
    except SakugaError as error:
        return f"{error.status} {error.code}"
    except BaseException:  # noqa: BLE001  it is what this looks for
        return "unforeseen: " + traceback.format_exc().replace("\n", " | ")
    return "picture"


def main() -> None:
    """Print a line with the outcome for each photo from standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (_ALL_MIB << 20, _ALL_MIB << 20))
    while size := sys.stdin.buffer.read(4):
        photo = sys.stdin.buffer.read(struct.unpack(">I", size)[0])
        cost = _Cost.start()
        answer = _outcome(photo)
        sys.stdout.write((cost.excess() or answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
