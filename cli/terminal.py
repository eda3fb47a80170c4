"""The console of the commands, and how they end when something is wrong."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar

from rich.console import Console
from rich.markup import escape

from shared.errors import SakugaError

INTERRUPTED = 130  # as shells have it

P = ParamSpec("P")
R = TypeVar("R")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print our own errors and the system's as one sentence and exit with 1; say where Ctrl-C ended the command."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SakugaError as error:
            _give_up(error.detail)
        except KeyboardInterrupt as stopped:
            err.print(escape(str(stopped) or "Stopped."))
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # whoever read our output has gone; click ends quietly
        except OSError as error:
            reason = error.strerror or str(error)
            _give_up(f"{error.filename}: {reason}." if error.filename else f"{reason}.")

    return guarded


def _give_up(sentence: str) -> NoReturn:
    err.print(f"[bold red]Error:[/] {escape(sentence)}")
    sys.exit(1)
