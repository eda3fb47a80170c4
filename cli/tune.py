"""`sakuga tune`: what this node can do, as a table, and the choice its workers will make."""

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from cli.words import counted
from shared.errors import SakugaError
from shared.settings import Settings
from shared.styles import installed_styles
from worker.tune import MEGAPIXELS, SIDE, Bounds, Layout, Measured, tune
from worker.tuning_profile import TuningProfile, memory_budget, require_place, write_profile


def run(
    settings: Settings, console: Console, *, max_latency_s: float, memory_mib: int | None, price_per_hour: float | None
) -> None:
    """Measure, report, and keep the choice; in this order, so that a folder that is full loses no measurement.

    Raises:
        SakugaError: there is no such style, no engine draws it here, or the choice cannot be kept.
    """
    style = installed_styles(settings.data_dir)[settings.style]
    require_place(settings.cache_dir)
    bounds = Bounds(max_latency_s, memory_mib << 20 if memory_mib else memory_budget())
    table = Table(Column("engine", no_wrap=True), box=None)
    for name in ("processes x threads", "pictures/s", "s per picture", "MB per process"):
        table.add_column(name, justify="right")
    reasons: list[str] = []
    with console.status("") as status:

        def show(layout: Layout, outcome: Measured | SakugaError | None) -> None:
            if outcome is None:
                status.update(f"Measuring {_named(layout)}")
            elif isinstance(outcome, SakugaError):
                table.add_row(layout.engine, _shape(layout), "[red]-[/]")
                reasons.append(f"[red]{_named(layout)}[/]: {escape(outcome.detail)}")
            else:
                table.add_row(*_row(outcome, bounds))

        try:
            profile = tune(settings, style, bounds, show)
        finally:  # if no engine draws, the table gives the reasons
            console.print(f"{style.name}, pictures of {SIDE} x {SIDE} pixels, decoding and encoding included:\n")
            console.print(table, *reasons, "", sep="\n")
    for line in [*report(profile, price_per_hour), *unmet(profile, bounds)]:
        console.print(line)
    write_profile(settings.cache_dir, profile)
    console.print(_kept(settings))


def report(profile: TuningProfile, price_per_hour: float | None) -> list[str]:
    """Describe the profile and its cost."""
    per_hour = profile.megapixels_per_s / MEGAPIXELS * 3600
    processes = counted(profile.processes, "process", "processes")
    threads = counted(profile.threads, "thread", "threads")
    speed = (
        f"{profile.megapixels_per_s:.2f} megapixels/s, {per_hour:,.0f} pictures/hour, {profile.latency_s:.2f} s each"
    )
    lines = [
        f"[bold]{profile.engine}[/] in {processes} of {threads}: {speed}.",
        f"Each additional process takes {profile.memory_bytes / 1e6:.0f} MB of memory.",
    ]
    if price_per_hour is not None:
        cost = price_per_hour / per_hour * 1000
        lines.append(f"At {price_per_hour:g} per hour: {cost:.4f} per 1,000 pictures, in the same currency.")
    return lines


def unmet(profile: TuningProfile, bounds: Bounds) -> list[str]:
    """The bounds that the choice does not keep to, which is so where no layout did."""
    lines, needed = [], profile.memory_bytes * profile.processes
    if profile.latency_s > bounds.latency_s:
        lines.append(f"A picture takes {profile.latency_s:.2f} s; --max-latency allows {bounds.latency_s:g} s.")
    if needed > bounds.memory_bytes:
        lines.append(f"It needs {needed >> 20} MiB of memory; --memory allows {bounds.memory_bytes >> 20} MiB.")
    return [f"[yellow]No layout meets the limits; this is the fastest. {line}[/]" for line in lines]


def _kept(settings: Settings) -> str:
    if settings.engine == "auto":
        return "Saved. Workers on this machine use it from their next start; SAKUGA_ENGINE overrides it."
    return f"Saved. Workers on this machine use it when they start with SAKUGA_ENGINE={settings.engine}."


def _row(measured: Measured, bounds: Bounds) -> list[str]:
    late = "" if measured.latency_s <= bounds.latency_s else " (too slow)"
    large = "" if bounds.have_room(measured, measured.layout.processes) else " (too much)"
    return [
        measured.layout.engine,
        _shape(measured.layout),
        f"{measured.pictures_per_s:.2f}",
        f"{measured.latency_s:.2f}{late}",
        f"{measured.memory_bytes / 1e6:.0f}{large}",
    ]


def _named(layout: Layout) -> str:
    return f"{layout.engine}, {_shape(layout)}"


def _shape(layout: Layout) -> str:
    return f"{layout.processes} x {layout.threads}"
