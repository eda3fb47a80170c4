"""The `sakuga` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

import os

import click

from cli.commands.conversion import album, convert, preview, redraw, submit
from cli.commands.keys import keys
from cli.commands.machine import doctor, tune
from cli.commands.quarantine import quarantine
from cli.commands.service import health, up, web, worker
from cli.commands.styles import styles, weights


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sakuga")
def main() -> None:
    """Photos in, anime pictures out, on cheap CPU machines."""
    from shared.telemetry import configure_logs

    os.environ["PYTHONSAFEPATH"] = "1"  # processes that this one starts run no modules of the current folder
    configure_logs("WARNING")


for command in (
    album, convert, doctor, health, keys, preview, quarantine, redraw, styles, submit, tune, up, web, weights, worker,
):  # fmt: skip
    main.add_command(command)


if __name__ == "__main__":
    main()
