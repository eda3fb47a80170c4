"""A worker node that can be harmed from inside: `python -m tests.chaos.node` instead of `python -m worker`.

Photos of certain widths do to the process that converts them what broken codecs do, and the node's clock can be put
forward or back while it runs: by the seconds that the file CHAOS_CLOCK says. Until the time that the file CHAOS_HOLD
says, by the clock of the machine that only runs ahead, a photo in hand stays there: it is converted again and again.
With CHAOS_STUB a node does everything but draw; CHAOS_GRACE_S is how long records outlive their time, in seconds.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from shared.pipeline import ProgressCallback, Tensor

CRASHES, EATS_MEMORY, HANGS, SLEEPS = 61, 67, 73, 79  # widths in pixels
SLEEP_S = 40  # longer than a node that stops may take
P = ParamSpec("P")
R = TypeVar("R")

_true_time = time.time
_clock = os.environ.get("CHAOS_CLOCK")


def shifted_time() -> float:
    """What time it is by this node's clock."""
    return _true_time() + _told(_clock)


def held_until() -> float:
    """Until what time, as `time.monotonic` tells it, photos stay in hand."""
    return _told(os.environ.get("CHAOS_HOLD"))


def _told(file: str | None) -> float:
    """The number in a file; 0 where there is none."""
    try:
        return float(Path(file or "").read_text())
    except (OSError, ValueError):
        return 0.0


def harmed(convert: Callable[Concatenate[BinaryIO, P], R]) -> Callable[Concatenate[BinaryIO, P], R]:
    """The pipeline, where photos of certain widths harm the process."""

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
    """Instead of an engine: gives the photo back."""

    multiple = 4
    margin = 0
    drawn_at: int | None = None

    def generate(self, photo: "Tensor", report: "ProgressCallback") -> "Tensor":  # noqa: ARG002  as engines do
        return photo


def main() -> None:
    """Harm what there is to harm, then be a node like any other."""
    if _clock:
        time.time = shifted_time
    if os.environ.get("CHAOS_STUB"):
        from worker.model_loader import ModelLoader

        setattr(ModelLoader, "engine", lambda *_: Stub())  # noqa: B010
    if grace_s := os.environ.get("CHAOS_GRACE_S"):
        from shared.jobs import record

        record.RECORD_GRACE_S = int(grace_s)  # before others take it over
        from shared.jobs import events

        events.STREAM_GRACE_S = int(grace_s)
    from shared import pipeline
    from worker.__main__ import main as run

    vars(pipeline)["convert"] = harmed(pipeline.convert)
    run()


if __name__ == "__main__":
    main()
