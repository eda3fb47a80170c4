"""Commands that run Sakuga, all of it or a part, and the one that tells whether a part is alive."""

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from cli.settings import load_settings
from cli.terminal import err, plain_errors

if TYPE_CHECKING:
    from shared.settings import Settings


@click.command()
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Port of the page and the API; 0 picks a free one. Default: SAKUGA_PORT, or else 8000.",
)
@click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for photos, pictures, queue and logs. Default: SAKUGA_DATA_DIR, or else ~/.local/share/sakuga.",
)
@click.option(
    "--lan",
    "on_lan",
    is_flag=True,
    help="Serve phones and computers in the local network, too. They sign in by scanning a QR code or opening a link.",
)
@plain_errors
def up(port: int | None, data_dir: Path | None, *, on_lan: bool) -> None:
    """Run everything on this machine: queue, workers and page.

    Ctrl-C finishes running jobs, then stops. What is still queued goes on at the next start.
    """
    from cli.up import run

    sys.exit(run(load_settings(port=port, data_dir=data_dir), err, on_lan=on_lan))


@click.command()
def web() -> None:
    """Run only the web server (needs SAKUGA_REDIS_URL)."""
    _become("web")


@click.command()
def worker() -> None:
    """Run only a worker node (needs SAKUGA_REDIS_URL).

    SIGTERM lets it finish running jobs, then stops it.
    """
    _become("worker")


@click.command()
@click.argument("part", type=click.Choice(["web", "worker"]))
@plain_errors
def health(part: str) -> None:
    """Exit with 0 if the web server or worker here is alive.

    For the health checks of containers.
    """
    settings = load_settings()
    alive = _web_alive(settings) if part == "web" else _worker_alive(settings)
    if not alive:
        err.print(f"{part} is not alive")
        sys.exit(1)


def _become(module: str) -> NoReturn:
    """Replace this process by a part of the service, which then receives signals itself."""
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606  no shell is wanted


def _web_alive(settings: "Settings") -> bool:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    direct = build_opener(ProxyHandler({}))
    try:
        with direct.open(f"{settings.local_url}/livez", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (HTTPException, OSError):
        return False


def _worker_alive(settings: "Settings") -> bool:
    from redis.exceptions import RedisError

    from shared.services import connect

    try:
        return bool(connect(settings).workers.alive_on(socket.gethostname()))
    except RedisError:
        return False
