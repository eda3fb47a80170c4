"""`sakuga convert`: the pipeline here, no server."""

from pathlib import Path

from rich.console import Console

from cli.outcomes import conclude, follow, print_problem
from cli.photos import find
from cli.pictures import Place, make_folder, plan_tasks
from cli.process_pool import convert_each
from shared.conversion import Options
from shared.settings import Settings
from shared.styles import installed_styles


def convert_all(
    paths: tuple[Path, ...], place: Place, options: Options, settings: Settings, console: Console, *, replace: bool
) -> list[Path]:
    """Convert every photo, those of folders too, one bad photo never stopping the others; returns those that failed.

    Raises:
        SakugaError: nothing can be converted: unknown style, bad weights, a picture would overwrite its photo.
        OSError: the folder cannot be made.
    """
    found = find(paths, output=place.folder)
    for path, obstacle in found.obstacles.items():
        print_problem(console, path, obstacle)
    failed = list(found.obstacles)
    tasks = plan_tasks(place.named(found.photos), place.folder, place.extension, replace=replace)
    if tasks:
        style = installed_styles(settings.data_dir)[settings.style]  # an unknown one is said now; torch takes seconds
        make_folder(place.folder)
        outcomes = convert_each(tasks, options, settings)
        failed += follow(outcomes, len(tasks), place.path, f"Converting with style {style.name}", console)
    conclude(found, tasks, failed, place.path, console)
    return failed
