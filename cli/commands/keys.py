"""`sakuga keys`."""

from datetime import timedelta

import click
from rich.markup import escape

from cli.settings import load_settings
from cli.terminal import err, out, plain_errors


@click.group()
def keys() -> None:
    """Manage the API keys that callers need.

    Without keys, anyone who can reach the service may use it.
    """


scope_option = click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["submit", "read", "operate"]),
    default=("submit", "read"),
    show_default=True,
    help="submit: create and delete jobs and albums; read: view them; operate: metrics. Repeatable.",
)
expires_option = click.option(
    "--expires-in", type=click.IntRange(1, 36_500), metavar="DAYS", help="How long the key is valid. Default: no limit."
)


@keys.command("create")
@click.argument("name")
@scope_option
@click.option(
    "--requests-per-minute", metavar="NUMBER", type=click.IntRange(1), help="Default: SAKUGA_REQUESTS_PER_MINUTE."
)
@click.option(
    "--megapixels-per-day", metavar="NUMBER", type=click.FloatRange(0, min_open=True), help="Default: unlimited."
)
@expires_option
@plain_errors
def create_key(
    name: str,
    scopes: tuple[str, ...],
    requests_per_minute: int | None,
    megapixels_per_day: float | None,
    expires_in: int | None,
) -> None:
    """Create the caller NAME and print its key.

    The key is shown only once and not stored.
    """
    from cli.keys import Allowance, create_caller, file_of
    from shared.callers.api_keys import Scope

    settings = load_settings()
    allowance = Allowance(tuple(map(Scope, dict.fromkeys(scopes))), requests_per_minute, megapixels_per_day)
    key, kept = create_caller(file_of(settings), name, allowance, expires_in=_days(expires_in))
    _show_key(key, f"Key for {name}, fingerprint {kept.fingerprint}. It is shown only once:")
    if settings.api_keys is None:
        err.print(
            "Keys are not required yet: a service that was started without SAKUGA_API_KEYS stays open. To require "
            f"them, restart it with SAKUGA_API_KEYS={escape(str(file_of(settings)))}",
            style="yellow",
        )


@keys.command("rotate")
@click.argument("name")
@click.option(
    "--old-expires-in",
    type=click.FloatRange(0, 24 * 365),
    default=24,
    show_default=True,
    metavar="HOURS",
    help="How long the existing keys stay valid.",
)
@expires_option
@plain_errors
def rotate_key(name: str, old_expires_in: float, expires_in: int | None) -> None:
    """Give the caller NAME a new key. Jobs and albums belong to the caller, not to the key."""
    from cli import keys

    old = timedelta(hours=old_expires_in)
    key, kept = keys.rotate_key(keys.file_of(load_settings()), name, old_expire_in=old, expires_in=_days(expires_in))
    _show_key(
        key,
        f"New key for {name}, fingerprint {kept.fingerprint}; its other keys expire within {old_expires_in:g} hours:",
    )


@keys.command("revoke")
@click.argument("name")
@click.option("--key", "fingerprint", metavar="FINGERPRINT", help="Revoke only this key; a prefix is enough.")
@plain_errors
def revoke_key(name: str, fingerprint: str | None) -> None:
    """Revoke the keys of the caller NAME, effective at once."""
    from cli.keys import file_of, revoke_keys
    from cli.words import counted

    revoked = revoke_keys(file_of(load_settings()), name, fingerprint)
    out.print(f"{counted(revoked, 'key', 'keys')} of {escape(name)} revoked.")


@keys.command("list")
@plain_errors
def list_keys() -> None:
    """List callers, their limits and the fingerprints of their keys."""
    from cli.keys import describe, file_of
    from shared.callers.api_keys import read_keys

    for caller in read_keys(file_of(load_settings())).callers:
        first, *rest = describe(caller)
        out.print(f"[bold]{escape(caller.name)}[/]: {escape(first)}")
        for line in rest:
            out.print(escape(line))


def _days(number: int | None) -> timedelta | None:
    return None if number is None else timedelta(days=number)


def _show_key(key: str, sentence: str) -> None:
    """Print the key alone to standard output, so that it can be redirected to a file."""
    err.print(escape(sentence))
    out.print(key)
