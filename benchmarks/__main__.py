"""`python -m benchmarks`, which is `make bench`: measure everything in one run, print tables, write JSON.

Whatever is compared runs alternately (A, B, A, B, …), and the ratio is the median of the ratios of neighbouring runs,
so a temporary slowdown of the machine affects both. Nothing else should run at the same time.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks import machine, queue_cost, variants
from benchmarks import stages as stage_costs
from benchmarks.pool import Pool, Throughput, layouts
from benchmarks.service import Served, Service
from shared.engines import EngineName
from shared.errors import SakugaError
from shared.settings import Settings, load_settings
from shared.telemetry import configure_logs
from worker.capacity import available_cores
from worker.tuning_profile import candidates, is_possible, plan_capacity

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
Result = dict[str, object]
QUEUE = "queue"  # results that do not depend on a style


def main() -> None:
    arguments = _arguments()
    configure_logs("WARNING")
    result: Result = {"machine": machine.describe()}
    out.print(*(f"{name}: {value}" for name, value in machine.describe().items()), sep="\n")
    rounds, seconds = arguments.rounds, arguments.seconds
    of_a_style: dict[str, Callable[[Settings], Result]] = {
        "engines": lambda settings: engines(settings, arguments.engines, rounds, seconds / 3),
        "stages": lambda settings: stages(settings, rounds),
        "service": lambda settings: service(settings, rounds, seconds),
    }
    wanted = arguments.only or (*of_a_style, QUEUE)
    for style in arguments.style:
        settings = load_settings(style=style)
        found: Result = {}
        result[settings.style] = found
        for name in (name for name in of_a_style if name in wanted):
            found[name] = of_a_style[name](settings)
            _write(result, arguments.output)
    if QUEUE in wanted:  # once, since it uses a style of its own
        result[QUEUE] = queue(load_settings(), arguments.queued)
        _write(result, arguments.output)
    out.print(f"\nwritten to {arguments.output}")


def engines(settings: Settings, names: Sequence[EngineName], rounds: int, seconds: float) -> Result:
    """Compare our engines with the recipe, pair by pair, each in one process of one thread."""
    style = variants.style_of(settings)
    table = _table(
        f"{style.name}, 512 x 512, one thread", "engine", "s per picture", "recipe, s per picture", "speedup"
    )
    found: Result = {}
    with Pool(variants.recipe, 1, 1) as recipe:
        for name in (name for name in names if is_possible(name, style)):
            try:
                with Pool(partial(variants.whole, settings, name, style), 1, 1) as engine:
                    pairs = [(_speed(engine, seconds), _speed(recipe, seconds)) for _ in range(rounds)]
            except SakugaError as error:
                out.print(f"{name}: {error.detail}")
                table.add_row(name, "failed, see above", "", "")
                found[name] = {"error": error.detail}
                continue
            ratio = median(ours / theirs for ours, theirs in pairs)
            ours_s, theirs_s = (median(1 / paces[which] for paces in pairs) for which in (0, 1))
            table.add_row(name, f"{ours_s:.3f}", f"{theirs_s:.3f}", f"{ratio:.2f}")
            found[name] = {"s": round(ours_s, 4), "recipe_s": round(theirs_s, 4), "ratio": round(ratio, 3)}
    out.print(table)
    return found


def stages(settings: Settings, rounds: int) -> Result:
    """Measure the time per stage, by photo size."""
    style = variants.style_of(settings)
    name = candidates(settings, style)[0]
    found = stage_costs.measure(settings, name, style, rounds)
    _show_rows(f"Time per stage, {style.name}, {name}, one thread", found)
    return {"engine": name} | {one.photo: asdict(one) for one in found}


def service(settings: Settings, rounds: int, seconds: float) -> Result:
    """Compare the whole service with the recipe in its best layout, and with our bare engine in the service's layout.

    Its cache is empty at its first start; the system may have cached the program files.
    """
    style, capacity = variants.style_of(settings), plan_capacity(settings)
    layout = {"processes": capacity.processes, "threads": capacity.threads}
    chosen = settings.model_copy(update={"engine": candidates(settings, style)[0], **layout})
    best, tried = _best_layout_of_recipe(seconds)
    with Service(chosen) as running:
        cold_s = running.start()
        running.wait_until_prepared(variants.photo(0))
        turns = _rounds(running, best, rounds, seconds)
        pace = median(turn.ours.pictures_per_s for turn in turns)
        submits, polls = running.under_load(
            variants.photo, submits_per_s=1.5 * pace, polls_per_s=20, seconds=5 * seconds
        )
        running.wait_until_idle()
        memory = running.memory()
        running.stop()
        again_s = running.start()
    found: Result = {
        "engine": chosen.engine,
        **layout,
        "recipe_layouts_pictures_per_s": {f"{p}x{t}": round(pace, 3) for (p, t), pace in tried.items()},
        **_compared(turns),
        "submit": asdict(submits),
        "poll": asdict(polls),
        "memory": memory,
        "start_cold_s": round(cold_s, 2),
        "start_again_s": round(again_s, 2),
    }
    _show(f"The service, {style.name}, pictures of 512 x 512 from photos of 1024 x 1024", found)
    return found


def queue(settings: Settings, lengths: Sequence[int]) -> Result:
    """Measure the cost of a job by queue length."""
    costs = [queue_cost.measure(length, settings) for length in lengths]
    _show_rows("Cost of a job, by queue length", costs)
    return {str(cost.queued): asdict(cost) for cost in costs}


@dataclass(frozen=True, slots=True)
class _Round:
    """One round of the comparison: pictures per second, with further figures of the service and the bare engine."""

    recipe: float
    bare: Throughput
    ours: Served
    whole: float


def _rounds(running: Service, best: tuple[int, int], rounds: int, seconds: float) -> list[_Round]:
    """Run the service, the recipe, the bare engine and the pipeline in a loop alternately."""
    settings, style = running.settings, variants.style_of(running.settings)
    name, layout = EngineName(settings.engine), (settings.processes or 1, settings.threads or 1)
    with (
        Pool(variants.recipe, *best) as recipe,
        Pool(partial(variants.bare, settings, name, style), *layout) as bare,
        Pool(partial(variants.whole, settings, name, style), *layout) as whole,
    ):
        photos = map(variants.photo, count(1000))

        def turn() -> _Round:
            before = bare.measure(seconds)
            pictures = [next(photos) for _ in range(max(8, round(2 * seconds * before.pictures_per_s)))]
            ours = running.convert(pictures)
            return _Round(_speed(recipe, seconds), _mean(before, bare.measure(seconds)), ours, _speed(whole, seconds))

        return [turn() for _ in range(rounds)]


def _mean(one: Throughput, other: Throughput) -> Throughput:
    return Throughput((one.pictures_per_s + other.pictures_per_s) / 2, (one.cpu_s + other.cpu_s) / 2)


def _compared(turns: Sequence[_Round]) -> Result:
    """Return the medians, and the network's share of wall time and of the worker processes' CPU time."""

    def middle(value: Callable[[_Round], float], digits: int) -> float:
        return round(median(value(turn) for turn in turns), digits)

    return {
        "recipe_pictures_per_s": middle(lambda turn: turn.recipe, 3),
        "bare_engine_pictures_per_s": middle(lambda turn: turn.bare.pictures_per_s, 3),
        "pipeline_in_a_loop_pictures_per_s": middle(lambda turn: turn.whole, 3),
        "service_pictures_per_s": middle(lambda turn: turn.ours.pictures_per_s, 3),
        "service_to_recipe": middle(lambda turn: turn.ours.pictures_per_s / turn.recipe, 2),
        "service_to_bare_engine": middle(lambda turn: turn.ours.pictures_per_s / turn.bare.pictures_per_s, 3),
        "service_to_pipeline_in_a_loop": middle(lambda turn: turn.ours.pictures_per_s / turn.whole, 3),
        "network_share": middle(lambda turn: turn.ours.network_share, 3),
        "network_share_of_cpu": middle(lambda turn: turn.bare.cpu_s / turn.ours.cpu_s, 3),
    }


def _speed(pool: Pool, seconds: float) -> float:
    return pool.measure(seconds).pictures_per_s


@cache
def _best_layout_of_recipe(seconds: float) -> tuple[tuple[int, int], dict[tuple[int, int], float]]:
    """Return the best layout, and the pictures per second of every layout tried; the same for all styles."""
    paces = {}
    for processes, threads in layouts(available_cores()):
        with Pool(variants.recipe, processes, threads) as pool:
            paces[processes, threads] = median(_speed(pool, seconds) for _ in range(2))
    return max(paces, key=lambda layout: paces[layout]), paces


def _write(result: Result, output: Path) -> None:
    output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _show_rows(title: str, rows: "Sequence[DataclassInstance]") -> None:
    """Print a table of dataclasses of one type, with a column for each field."""
    values = [asdict(row) for row in rows]
    table = _table(title, *(name.replace("_", " ") for name in values[0]))
    for row in values:
        table.add_row(*map(str, row.values()))
    out.print(table)


def _show(title: str, found: Result) -> None:
    table = _table(title, "what", "measured")
    for name, value in found.items():
        said = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else str(value)
        table.add_row(name.replace("_", " "), said)
    out.print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--style", nargs="+", default=["hinata-light", "hinata-full"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queued", type=int, nargs="+", default=[10, 1_000, 100_000], help="queue lengths")
    parser.add_argument("--only", nargs="+", choices=["engines", "stages", "service", QUEUE])
    parser.add_argument("--engines", type=EngineName, nargs="+", choices=list(EngineName), default=list(EngineName))
    parser.add_argument("--seconds", type=float, default=6, help="duration of one measurement")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
