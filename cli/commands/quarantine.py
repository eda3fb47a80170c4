"""`sakuga quarantine`."""

import click

from cli.settings import load_settings
from cli.terminal import out, plain_errors


@click.group()
def quarantine() -> None:
    """Inspect photos that failed at every attempt.

    They may be what kills workers.
    """


@quarantine.command("list")
@plain_errors
def list_quarantine() -> None:
    """List quarantined photos and where they are stored."""
    from cli.quarantine import open_services, show

    show(open_services(load_settings()), out)


@quarantine.command("retry")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@plain_errors
def retry_quarantine(ids: tuple[str, ...]) -> None:
    """Retry quarantined photos."""
    from cli.quarantine import open_services, retry

    retry(open_services(load_settings()), ids, out)


@quarantine.command("drop")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@plain_errors
def drop_quarantine(ids: tuple[str, ...]) -> None:
    """Delete quarantined photos and their jobs."""
    from cli.quarantine import drop, open_services

    drop(open_services(load_settings()), ids, out)
