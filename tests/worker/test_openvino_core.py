"""OpenVINO's core: a process has one, or a signal may kill it."""

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import os, signal
from worker.engines.faces import FaceDetector
detectors = [FaceDetector() for _ in range(3)]
while detectors:
    detectors.pop(0)
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("handled", flush=True)
"""


def test_ctrl_c_is_heard_after_a_detector_is_gone() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import signal; signal.signal({int(signal.SIGINT)}, signal.default_int_handler)\n" + _PROGRAM,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "handled\n" * 3), done.stderr


def test_a_process_has_one_core() -> None:
    makers = [file.name for file in (ROOT / "worker").rglob("*.py") if "openvino.Core()" in file.read_text("utf-8")]
    assert makers == ["openvino_core.py"]
