"""`python -m benchmarks`, which is `make bench`: measure everything in one run, print tables, write JSON.

Every comparison takes turns: A, B, A, B, … and the ratio is the median of the ratios of neighbours, so a machine that
others slow down for a while slows both. Nothing else should run meanwhile.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks import machine, queue_cost, ways
from benchmarks.crew import Crew, layouts
from benchmarks.service import Service
from shared.engines import EngineName
from shared.settings import Settings, load_settings
from shared.telemetry import configure_logs
from worker.capacity import available_cores
from worker.choice import candidates, is_possible, plan

out = Console(highlight=False)
Result = dict[str, object]


def main() -> None:
    arguments = _arguments()
    configure_logs("WARNING")
    settings = load_settings(style=arguments.style)
    result: Result = {"machine": machine.describe(), "style": settings.style}
    out.print(*(f"{name}: {value}" for name, value in machine.describe().items()), sep="\n")
    measures: dict[str, Callable[[], Result]] = {
        "engines": lambda: engines(settings, arguments.rounds),
        "service": lambda: service(settings, arguments.rounds),
        "queue": lambda: queue(settings, arguments.queued),
    }
    for name in arguments.only or measures:
        result[name] = measures[name]()
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    out.print(f"\nwritten to {arguments.output}")


def engines(settings: Settings, rounds: int) -> Result:
    """Our engines in one process of one thread against the recipe in one process of one thread, pair by pair."""
    style = ways.style_of(settings)
    table = _table(f"{style.name}, 512 x 512, one thread", "engine", "s per picture", "recipe's s", "times as fast")
    found: Result = {}
    with Crew(partial(ways.recipe, style), 1, 1) as recipe:
        for name in (name for name in EngineName if is_possible(name, style)):
            try:
                with Crew(partial(ways.whole, settings, name, style), 1, 1) as engine:
                    pairs = [(engine.pace(2), recipe.pace(2)) for _ in range(rounds)]
            except EOFError:
                table.add_row(name, "not on this machine", "", "")
                continue
            ratio = median(ours / theirs for ours, theirs in pairs)
            ours_s, theirs_s = (median(1 / paces[which] for paces in pairs) for which in (0, 1))
            table.add_row(name, f"{ours_s:.3f}", f"{theirs_s:.3f}", f"{ratio:.2f}")
            found[name] = {"s": round(ours_s, 4), "recipe_s": round(theirs_s, 4), "ratio": round(ratio, 3)}
    out.print(table)
    return found


def service(settings: Settings, rounds: int) -> Result:
    """The whole service against the recipe in its best layout, and against our engine bare in the service's layout."""
    style, capacity = ways.style_of(settings), plan(settings)
    name = candidates(settings, style)[0]
    chosen = settings.model_copy(update={"engine": name, "processes": capacity.processes, "threads": capacity.threads})
    best, tried = _best_layout(partial(ways.recipe, style))
    photos = map(ways.photo, count(1000))
    with Service(chosen) as running:
        first_start_s = running.start()
        turns = []
        with (
            Crew(partial(ways.recipe, style), *best) as recipe,
            Crew(partial(ways.bare, chosen, name, style), capacity.processes, capacity.threads) as bare,
            Crew(partial(ways.whole, chosen, name, style), capacity.processes, capacity.threads) as whole,
        ):
            for _ in range(rounds):
                before = bare.pace(6)
                pictures = [next(photos) for _ in range(max(8, round(12 * before)))]
                ours = running.pace(pictures, capacity.processes)
                turns.append((recipe.pace(8), (before + bare.pace(6)) / 2, ours, whole.pace(8)))
        pace = median(turn[2] for turn in turns)
        submits, polls = running.under_load(ways.photo, submits_per_s=1.5 * pace, polls_per_s=20, seconds=30)
        running.wait_until_idle()
        memory = running.memory()
        running.stop()
        again_s = running.start()
    found: Result = {
        "engine": name,
        "processes": capacity.processes,
        "threads": capacity.threads,
        "recipe_layouts_pictures_per_s": {f"{p}x{t}": round(pace, 3) for (p, t), pace in tried.items()},
        "recipe_pictures_per_s": round(median(turn[0] for turn in turns), 3),
        "bare_engine_pictures_per_s": round(median(turn[1] for turn in turns), 3),
        "pipeline_in_a_loop_pictures_per_s": round(median(turn[3] for turn in turns), 3),
        "service_pictures_per_s": round(pace, 3),
        "service_to_recipe": round(median(turn[2] / turn[0] for turn in turns), 2),
        "service_to_bare_engine": round(median(turn[2] / turn[1] for turn in turns), 3),
        "service_to_pipeline_in_a_loop": round(median(turn[2] / turn[3] for turn in turns), 3),
        "submit": asdict(submits),
        "poll": asdict(polls),
        "memory": memory,
        "start_s": round(first_start_s, 2),
        "start_again_s": round(again_s, 2),
    }
    _show(f"The service, {style.name}, 512 x 512", found)
    return found


def queue(settings: Settings, lengths: Sequence[int]) -> Result:
    """What a job costs while so many wait."""
    costs = [queue_cost.measure(length, settings) for length in lengths]
    columns = [name.replace("_", " ") for name in asdict(costs[0])]
    table = _table("The cost of a job, by the length of the queue", *columns)
    for cost in costs:
        table.add_row(*map(str, asdict(cost).values()))
    out.print(table)
    return {str(cost.queued): asdict(cost) for cost in costs}


def _best_layout(
    make: Callable[[int], Callable[[int], object]],
) -> tuple[tuple[int, int], dict[tuple[int, int], float]]:
    paces = {}
    for processes, threads in layouts(available_cores()):
        with Crew(make, processes, threads) as crew:
            paces[processes, threads] = median(crew.pace(6) for _ in range(2))
    return max(paces, key=lambda layout: paces[layout]), paces


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


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
    parser.add_argument("--style", default="hinata-full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queued", type=int, nargs="+", default=[10, 1_000, 100_000], help="lengths of the queue")
    parser.add_argument("--only", nargs="+", choices=["engines", "service", "queue"])
    parser.add_argument("-o", "--output", type=Path, default=Path("bench.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
