"""Commands that run Sakuga, all of it or a part, and the one that tells whether a part is alive."""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

import click

from cli.terminal import err, plain_errors
from shared.settings import Settings, load_settings


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Overrides SAKUGA_PORT (default 8000); 0 picks a free port."
)
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Overrides SAKUGA_DATA_DIR.")
@click.option(
    "--lan",
    "on_lan",
    is_flag=True,
    help="Serve phones and computers in the local network, too. They sign in by scanning a QR code or opening a link.",
)
@plain_errors
def up(port: int | None, data_dir: Path | None, *, on_lan: bool) -> None:
    """Run everything on this machine: queue, workers and web page. Ctrl-C drains running jobs, then stops."""
    from cli.up import run

    sys.exit(run(load_settings(port=port, data_dir=data_dir), err, on_lan=on_lan))


@click.command()
def web() -> None:
    """Run only the web front end (needs SAKUGA_REDIS_URL)."""
    _become("web")


@click.command()
def worker() -> None:
    """Run only a worker node (needs SAKUGA_REDIS_URL). SIGTERM drains it."""
    _become("worker")


@click.command()
@click.argument("part", type=click.Choice(["web", "worker"]))
@plain_errors
def health(part: str) -> None:
    """Exit with 0 if this node's web or worker is alive; for container health checks."""
    settings = load_settings()
    alive = _web_alive(settings) if part == "web" else _worker_alive(settings)
    if not alive:
        err.print(f"{part} is not alive")
        sys.exit(1)


def _become(module: str) -> NoReturn:
    """Replace this process by a part of the service, which then receives signals itself."""
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606  no shell is wanted


def _web_alive(settings: Settings) -> bool:
    from http.client import HTTPException
    from urllib.request import ProxyHandler, build_opener

    direct = build_opener(ProxyHandler({}))
    try:
        with direct.open(f"{settings.local_url}/livez", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (HTTPException, OSError):
        return False


def _worker_alive(settings: Settings) -> bool:
    from redis.exceptions import RedisError

    from shared.services import connect

    try:
        return bool(connect(settings).workers.alive_on(socket.gethostname()))
    except RedisError:
        return False
