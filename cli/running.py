"""The Sakuga that runs with a data folder: one `sakuga up` at a time, and the addresses of its queue and web server.

Both are in the file `lock`, which counts only while the kernel says that it is locked: a supervisor that was killed
leaves nothing that could be taken for a running one.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import BaseModel, ValidationError

from shared.errors import SettingsError

TRIES: Final = 5  # whoever looks whether it is locked has it for a moment
RETRY_S: Final = 0.1


class Running(BaseModel):
    """The addresses of a running Sakuga, and its folder for sockets; all empty while it is starting."""

    url: str = ""
    redis_url: str = ""
    sockets: str = ""


class DataFolder:
    """The data folder of this process, which no other supervisor uses meanwhile."""

    def __init__(self, lock: BinaryIO, previous: Running) -> None:
        self._lock = lock
        self.previous = previous
        self.tell(Running())

    def tell(self, running: Running) -> None:
        """Let the commands of this machine know where Sakuga can be reached."""
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(running.model_dump_json().encode())
        self._lock.flush()


@contextmanager
def only_one(data_dir: Path) -> Iterator[DataFolder]:
    """Keep the data folder to this process.

    Raises:
        SettingsError: another one has it.
        OSError: it cannot be used.
    """
    with (data_dir / "lock").open("a+b") as lock:
        if not _locked(lock, fcntl.LOCK_EX, TRIES):
            where = f", at {found.url}" if (found := running(data_dir)) and found.url else ""
            raise SettingsError(
                f"Sakuga is already running with the data folder {data_dir}{where}; stop it, or use another --data-dir."
            )
        folder = DataFolder(lock, _read(lock))
        yield folder
        folder.tell(Running())


def running(data_dir: Path) -> Running | None:
    """Return where Sakuga runs with this data folder; None if it does not."""
    try:
        with (data_dir / "lock").open("rb") as lock:
            return None if _locked(lock, fcntl.LOCK_SH) else _read(lock)
    except OSError:  # there is no such folder, or it is not ours
        return None


def _locked(file: BinaryIO, how: int, tries: int = 1) -> bool:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(RETRY_S)
        else:
            return True
    return False


def _read(lock: BinaryIO) -> Running:
    lock.seek(0)
    try:
        return Running.model_validate_json(lock.read())
    except ValidationError:  # it is not written yet, or an earlier version wrote it
        return Running()
