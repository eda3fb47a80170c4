"""A worker node with faults inside: `python -m tests.chaos.node` instead of `python -m worker`.

Photos of certain widths harm the process that converts them as a broken codec would. The file CHAOS_CLOCK contains the
seconds by which the node's clock is wrong, and can change while it runs. The file CHAOS_HOLD contains the monotonic
time until which conversions are held up, by converting each photo again and again. With CHAOS_STUB a node does
everything but draw; CHAOS_GRACE_S is how many seconds records outlive their time.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from shared.drawing import ProgressCallback, Tensor
    from shared.photos.decoding import Rgb

CRASHES, EATS_MEMORY, HANGS, SLEEPS = 61, 67, 73, 79  # widths in pixels
SLEEP_S = 40  # longer than the drain of a node
P = ParamSpec("P")
R = TypeVar("R")

_true_time = time.time
_clock = os.environ.get("CHAOS_CLOCK")


def shifted_time() -> float:
    """Return the time of this node's clock."""
    return _true_time() + _told(_clock)


def held_until() -> float:
    """Return the time of `time.monotonic` until which conversions are held up."""
    return _told(os.environ.get("CHAOS_HOLD"))


def _told(file: str | None) -> float:
    """Return the number in a file, or 0 if there is no file."""
    try:
        return float(Path(file or "").read_text())
    except (OSError, ValueError):
        return 0.0


def harmed(convert: Callable[Concatenate[BinaryIO, P], R]) -> Callable[Concatenate[BinaryIO, P], R]:
    """Wrap the pipeline so that photos of certain widths harm the process."""

    def convert_or_die(photo: BinaryIO, /, *args: P.args, **kwargs: P.kwargs) -> R:
        width = int.from_bytes(photo.read(20)[16:20], "big")  # of a PNG
        photo.seek(0)
        if width == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        if width == EATS_MEMORY:
            eaten = []
            while True:
                eaten.append(bytearray(b"x") * (64 << 20))
        if width == HANGS:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(3600)
        if width == SLEEPS:
            time.sleep(SLEEP_S)
        picture = convert(photo, *args, **kwargs)
        while time.monotonic() < held_until():
            photo.seek(0)
            picture = convert(photo, *args, **kwargs)
        return picture

    return convert_or_die


class Stub:
    """Replaces the engine: returns the photo."""

    multiple = 4
    margin = 0
    drawn_at: int | None = None
    find_faces = None

    def face_heights(self, _photo: "Rgb") -> tuple[float, ...]:
        return ()

    def require_room(self, size: tuple[int, int], pixel_bytes: int) -> None:
        pass

    def generate(self, photo: "Tensor", report: "ProgressCallback") -> "Tensor":  # noqa: ARG002  as engines do
        return photo


def main() -> None:
    """Install the faults, then run a normal node."""
    if _clock:
        time.time = shifted_time
    if os.environ.get("CHAOS_STUB"):
        from worker.model_loader import ModelLoader

        setattr(ModelLoader, "engine", lambda *_: Stub())  # noqa: B010
    if grace_s := os.environ.get("CHAOS_GRACE_S"):
        from shared.jobs import record

        record.RECORD_GRACE_S = int(grace_s)  # before other modules import it
        from shared.jobs import events

        events.STREAM_GRACE_S = int(grace_s)
    from shared import pipeline
    from worker.__main__ import main as run

    vars(pipeline)["convert"] = harmed(pipeline.convert)
    run()


if __name__ == "__main__":
    main()
