"""Run a command that ends when its parent does. `cli.supervisor` starts it as a script, which imports nothing of ours.

Between fork and exec (`preexec_fn`) the same few lines could hang forever: a lock that another thread of the parent
held when it forked, of the allocator or the dynamic linker, is never released in the child.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(command: list[str]) -> list[str]:
    """Return the command line that runs `command` until the process that starts it dies, where the system is Linux.

    Start it from the main thread: to the kernel, a child's parent is a thread.
    """
    if sys.platform != "linux":
        return command
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _main() -> None:
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before the kernel was asked
        return
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and its successor would, too
        signal.signal(number, signal.SIG_DFL)
    os.execvp(command[0], command)  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    _main()
