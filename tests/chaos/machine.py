"""What root may do to this machine for a while: small disks, little memory, hosts whose cables can be pulled.

Hosts are network namespaces, made with iproute2. Whatever cannot be made here raises NotPossibleError, which says
nothing about the service: other errors do.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import wait_until

NET: Final = "198.18.77"  # of those set aside for tests of networks (RFC 2544)
CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")


class NotPossibleError(Exception):
    """This machine, or who runs this, does not allow what a fault needs."""


@contextmanager
def setting_up() -> Iterator[None]:
    """Tell what this machine does not allow from what goes wrong later.

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
    """Change something of this machine.

    Raises:
        subprocess.CalledProcessError: it may not be changed.
    """
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A disk of 64 MB, in memory.

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
    """A control group (v2, or v1) that may have so much memory; whoever joins it must be told to end before it does.

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
                swap.write_text("0")  # else what is too much for the memory is swapped out, and nobody is killed
        yield group
    finally:
        wait_until(lambda: not (group / "cgroup.procs").read_text(), "the control group is empty")
        group.rmdir()


class Switch:
    """Joins this machine, at `address`, with hosts that see nothing else."""

    address = f"{NET}.1"

    def __init__(self) -> None:
        """Choose a name; nothing is made."""
        self._name = f"sakuga{os.getpid()}"  # an interface's may have 15 letters

    @contextmanager
    def hosts(self, count: int) -> Iterator[None]:
        """Let there be so many hosts.

        Raises:
            NotPossibleError: they cannot be made here.
        """
        with ExitStack() as made:
            with setting_up():
                self._make(count, made)
            yield

    def at(self, number: int, command: list[str]) -> list[str]:
        """The command that runs `command` on a host."""
        return ["ip", "netns", "exec", self._host(number), *command]

    def pull(self, number: int) -> None:
        """Cut a host off: what it sends and is sent gets lost, and nobody is told."""
        run("ip", "link", "set", self._host(number), "nomaster")

    def plug(self, number: int) -> None:
        run("ip", "link", "set", self._host(number), "master", self._name)

    def _make(self, count: int, made: ExitStack) -> None:
        """Make a switch and hosts, and note how each is unmade."""
        run("ip", "link", "add", self._name, "type", "bridge")
        made.callback(run, "ip", "link", "del", self._name)
        run("ip", "address", "add", f"{self.address}/24", "dev", self._name)
        run("ip", "link", "set", self._name, "up")
        for number in range(count):
            run("ip", "netns", "add", self._host(number))
            made.callback(run, "ip", "netns", "del", self._host(number))  # and its cable with it
            self._lay_cable(number)

    def _lay_cable(self, number: int) -> None:
        """Its end at the switch is called like the host."""
        host = self._host(number)
        run("ip", "link", "add", host, "type", "veth", "peer", "name", "net", "netns", host)
        run("ip", "-n", host, "address", "add", f"{NET}.{10 + number}/24", "dev", "net")
        for interface in ("net", "lo"):
            run("ip", "-n", host, "link", "set", interface, "up")
        self.plug(number)
        run("ip", "link", "set", host, "up")

    def _host(self, number: int) -> str:
        return f"{self._name}-{number}"
