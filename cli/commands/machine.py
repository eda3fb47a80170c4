"""Commands about this machine: what it has and lacks, and how it is fastest."""

import sys

import click
from rich.markup import escape

from cli.settings import load_settings
from cli.terminal import out, plain_errors


@click.command()
@plain_errors
def doctor() -> None:
    """Check that this machine has what Sakuga needs."""
    from cli.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]  " if finding.ok else "[bold red]fail[/]"
        out.print(f"{mark} {finding.what}: {escape(finding.detail)}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


@click.command()
@click.option("-s", "--style", metavar="STYLE", help="One of `sakuga styles`. Default: SAKUGA_STYLE.")
@click.option(
    "--max-latency",
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Longest time that a picture may take.",
)
@click.option(
    "--memory",
    metavar="MIB",
    type=click.IntRange(min=64),
    help="Memory for all processes. Default: 80 % of what is available.",
)
@click.option(
    "--price-per-hour",
    metavar="PRICE",
    type=click.FloatRange(min=0),
    help="Price of the machine, in any currency, for the report.",
)
@plain_errors
def tune(style: str | None, max_latency: float, memory: int | None, price_per_hour: float | None) -> None:
    """Find and save the fastest settings for this machine.

    Measures engines, and numbers of processes and threads, for a few minutes. Nothing else should run meanwhile, least
    of all a busy Sakuga.
    """
    from cli.tune import run

    settings = load_settings(style=style)
    run(settings, out, max_latency_s=max_latency, memory_mib=memory, price_per_hour=price_per_hour)
