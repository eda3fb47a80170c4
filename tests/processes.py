"""Questions about processes that may end at any moment."""

import psutil


def command_of(process: psutil.Process) -> list[str]:
    """Return the command line of a process, empty once it has ended, whether or not its parent has noticed."""
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def copies_of(process: psutil.Process) -> list[psutil.Process]:
    """Return the living children that a process has forked: those with its own command line."""
    command = process.cmdline()
    return [child for child in process.children() if command_of(child) == command]
