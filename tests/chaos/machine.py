"""Temporary changes to this machine that require root: small disks, limited memory, hosts that can be disconnected.

Hosts are network namespaces, made with iproute2. What cannot be set up here raises NotPossibleError, which says nothing
about the service; any other error does.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import wait_until

NET: Final = "198.18.77"  # reserved for benchmarking networks (RFC 2544)
CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")


class NotPossibleError(Exception):
    """This machine or user lacks what a fault requires."""


@contextmanager
def setting_up() -> Iterator[None]:
    """Translate errors during setup, to tell them apart from later failures.

    Raises:
        NotPossibleError: with the reason, in place of the error.
    """
    try:
        yield
    except subprocess.CalledProcessError as error:
        raise NotPossibleError(error.stderr.decode().partition("\n")[0]) from error
    except OSError as error:
        raise NotPossibleError(str(error)) from error


def run(*command: str) -> None:
    """Run a command that changes this machine.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 64 MB, in memory.

    Raises:
        NotPossibleError: it cannot be mounted here.
    """
    with setting_up():
        folder.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", "size=64m", "sakuga-chaos", str(folder))
    try:
        yield folder
    finally:
        run("umount", str(folder))


@contextmanager
def memory_group(name: str, limit_bytes: int) -> Iterator[Path]:
    """Create a control group (v2 or v1) with limited memory; its processes must be told to exit before it is removed.

    Raises:
        NotPossibleError: it cannot be made here.
    """
    is_v2 = (CONTROL_GROUPS / "cgroup.controllers").exists()
    group = CONTROL_GROUPS / name if is_v2 else CONTROL_GROUPS / "memory" / name
    with setting_up():
        group.mkdir()
    try:
        with setting_up():
            (group / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
            if (swap := group / "memory.swap.max").exists():
                swap.write_text("0")  # otherwise the excess is swapped out, and no process is killed
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the control group is empty")
        group.rmdir()


class Switch:
    """Connects this machine, at `address`, with hosts that reach nothing else."""

    address = f"{NET}.1"

    def __init__(self) -> None:
        """Choose a name; nothing is created yet."""
        self._name = f"sakuga{os.getpid()}"  # names of interfaces have at most 15 letters

    @contextmanager
    def hosts(self, count: int) -> Iterator[None]:
        """Create this many hosts, and remove them at the end.

        Raises:
            NotPossibleError: they cannot be made here.
        """
        with ExitStack() as made:
            with setting_up():
                self._make(count, made)
            yield

    def at(self, number: int, command: list[str]) -> list[str]:
        """Return the command that runs `command` on a host."""
        return ["ip", "netns", "exec", self._host(number), *command]

    def pull(self, number: int) -> None:
        """Disconnect a host: packets in both directions are dropped silently."""
        run("ip", "link", "set", self._host(number), "nomaster")

    def plug(self, number: int) -> None:
        run("ip", "link", "set", self._host(number), "master", self._name)

    def _make(self, count: int, made: ExitStack) -> None:
        """Create a switch and hosts, and register how to remove each."""
        run("ip", "link", "add", self._name, "type", "bridge")
        made.callback(run, "ip", "link", "del", self._name)
        run("ip", "address", "add", f"{self.address}/24", "dev", self._name)
        run("ip", "link", "set", self._name, "up")
        for number in range(count):
            run("ip", "netns", "add", self._host(number))
            made.callback(run, "ip", "netns", "del", self._host(number))  # and its cable with it
            self._lay_cable(number)

    def _lay_cable(self, number: int) -> None:
        """Name the end at the switch after the host."""
        host = self._host(number)
        run("ip", "link", "add", host, "type", "veth", "peer", "name", "net", "netns", host)
        run("ip", "-n", host, "address", "add", f"{NET}.{10 + number}/24", "dev", "net")
        for interface in ("net", "lo"):
            run("ip", "-n", host, "link", "set", interface, "up")
        self.plug(number)
        run("ip", "link", "set", host, "up")

    def _host(self, number: int) -> str:
        return f"{self._name}-{number}"
