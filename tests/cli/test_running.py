"""The data folder: one supervisor at a time, which others can find."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.running import Running, only_one, running
from shared.errors import SettingsError
from tests.conftest import ROOT

HERE = Running(url="http://127.0.0.1:8123", redis_url="redis+socket:///run/x/valkey.sock", sockets="/run/x")
KILLED = """
import os, signal, sys
from pathlib import Path
from cli.running import Running, only_one

with only_one(Path(sys.argv[1])) as folder:
    folder.tell(Running(url="http://127.0.0.1:8123", sockets="/run/x"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_runs_is_found_through_its_data_folder(tmp_path: Path) -> None:
    assert running(tmp_path) is None
    with only_one(tmp_path) as folder:
        assert running(tmp_path) == Running()
        folder.tell(HERE)
        assert running(tmp_path) == HERE
    assert running(tmp_path) is None


def test_a_second_one_is_told_where_the_first_is(tmp_path: Path) -> None:
    with only_one(tmp_path) as folder:
        folder.tell(HERE)
        with (
            pytest.raises(SettingsError, match=r"already running .*, at http://127\.0\.0\.1:8123; stop it"),
            only_one(tmp_path),
        ):
            pass
    with only_one(tmp_path):
        pass


def test_one_that_was_killed_is_not_taken_for_running_and_its_successor_knows_what_it_left(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert running(tmp_path) is None
    with only_one(tmp_path) as folder:
        assert folder.previous.sockets == "/run/x"


def test_the_lock_of_an_earlier_version_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with only_one(tmp_path) as folder:
        assert folder.previous == Running()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_somebody_else_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "lock").touch(mode=0)
    assert running(tmp_path) is None
