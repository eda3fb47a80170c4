"""The supervisor's parts: how they start, and that they end with it."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from cli import valkey
from cli.parent_death import die_with_parent
from cli.supervisor import Part
from tests.conftest import ROOT, wait_until
from tests.processes import command_of

START = """
import os, sys, time
from pathlib import Path
from cli.supervisor import Part

part = Part("queue", ["sleep", "600"], dict(os.environ), Path(sys.argv[1]))
part.start()
print(part.process.pid, flush=True)
time.sleep(600)
"""


def part_that_runs(log: Path, *command: str) -> Part:
    return Part("queue", list(command), dict(os.environ), log)


def test_no_code_of_ours_runs_between_fork_and_exec(tmp_path: Path) -> None:
    forks: list[bool] = []
    os.register_at_fork(before=lambda: forks.append(True))
    done = threading.Event()
    beside = threading.Thread(target=done.wait)  # like the one that animates the spinner while parts are started
    beside.start()
    part = part_that_runs(tmp_path / "log", "true")
    part.start()
    done.set()
    beside.join()
    wait_until(lambda: part.exit_code() == 0, "it has ended")
    assert forks == []


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel tells")
def test_a_part_ends_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        part = psutil.Process(int(supervisor.stdout.readline()))
        wait_until(lambda: command_of(part) == ["sleep", "600"], "it runs")
        supervisor.kill()
    wait_until(lambda: not part.is_running() or part.status() == psutil.STATUS_ZOMBIE, "it has ended")


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel tells")
def test_a_part_whose_supervisor_is_gone_already_does_not_start(tmp_path: Path) -> None:
    command = shlex.join(die_with_parent(["touch", str(tmp_path / "begun")]))
    subprocess.run(["sh", "-c", f"{command}; true"], check=True)  # its parent is the shell, not this process
    assert not (tmp_path / "begun").exists()


def test_a_part_is_the_process_that_was_started_and_leads_a_session(tmp_path: Path) -> None:
    part = part_that_runs(tmp_path / "log", "sleep", "600")
    part.start()
    assert part.process is not None
    pid = part.process.pid
    wait_until(lambda: command_of(psutil.Process(pid)) == ["sleep", "600"], "it runs")
    assert os.getsid(pid) == pid
    part.stop(10)
    assert part.exit_code() == -signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel tells")
def test_a_part_inherits_no_ignored_signals(tmp_path: Path) -> None:
    part = part_that_runs(tmp_path / "log", "grep", "SigIgn", "/proc/self/status")
    part.start()
    wait_until(lambda: part.exit_code() is not None, "it has ended")
    assert int(part.last_words().split()[-1], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0


def test_a_queue_whose_data_is_damaged_says_what_to_do(tmp_path: Path) -> None:
    folder, words = tmp_path / "queue", "1:M # Bad file format reading the append only file appendonly.aof.1.incr.aof"
    assert "move this folder away" in valkey.advice(words, folder)
    assert str(folder) in valkey.advice(words, folder)
    assert valkey.advice("1:M # Failed opening Unix socket: bind: No space left on device", folder) == ""
