"""The `sakuga` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

import os
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from shared.errors import SakugaError, WeightsError
from shared.photos.formats import Format
from shared.settings import CLIENT_SERVER, MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN, Settings, load_settings
from shared.styles import Style, installed_styles
from shared.telemetry import configure_logs

if TYPE_CHECKING:
    from cli.pictures import Place

INTERRUPTED = 130  # as shells have it

P = ParamSpec("P")
R = TypeVar("R")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print our own errors and the system's as one sentence and exit with 1; say where Ctrl-C ended the command."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except SakugaError as error:
            _give_up(error.detail)
        except KeyboardInterrupt as stopped:
            err.print(escape(str(stopped) or "Stopped."))
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # whoever read our output has gone; click ends quietly
        except OSError as error:
            reason = error.strerror or str(error)
            _give_up(f"{error.filename}: {reason}." if error.filename else f"{reason}.")

    return guarded


def _give_up(sentence: str) -> NoReturn:
    err.print(f"[bold red]Error:[/] {escape(sentence)}")
    sys.exit(1)


def picture_options(command: Callable[P, R]) -> Callable[P, R]:
    """Options of every command that makes pictures: where they go and what they are like."""
    options = (
        click.option(
            "-o",
            "--output",
            "output",
            required=True,
            type=click.Path(path_type=Path),
            help="Folder for the pictures, created if missing; for a single photo also a file (.jpg, .png, .webp).",
        ),
        click.option("-s", "--style", help="One of `sakuga styles`, or of the server's styles."),
        click.option(
            "--max-side",
            default=MAX_SIDE_DEFAULT,
            show_default=True,
            type=click.IntRange(MAX_SIDE_MIN, MAX_SIDE_MAX),
            help="Longest side of the pictures in pixels.",
        ),
        click.option(
            "--format",
            "picture_format",
            show_default="jpeg, or what the file in -o is",
            type=click.Choice([*map(str, Format), "jpg"]),
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def server_options(command: Callable[P, R]) -> Callable[P, R]:
    """Options of every command that uses a server: where it is, and the key that it is shown."""
    options = (
        click.option(
            "--server",
            callback=lambda _context, _parameter, url: url or _server_here(),
            envvar=CLIENT_SERVER,
            show_envvar=True,
            metavar="URL",
            help="Server to use. Default: the one that runs with the data folder, else SAKUGA_HOST and SAKUGA_PORT.",
        ),
        click.option(
            "--key-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="File with your API key, if the server requires one. Default: SAKUGA_API_KEY.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="sakuga")
def main() -> None:
    """Photos in, anime pictures out, on cheap CPU machines."""
    os.environ["PYTHONSAFEPATH"] = "1"  # processes that this one starts run no modules of the current folder
    configure_logs("WARNING")


@main.command()
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


@main.command()
def web() -> None:
    """Run only the web front end (needs SAKUGA_REDIS_URL)."""
    _become("web")


@main.command()
def worker() -> None:
    """Run only a worker node (needs SAKUGA_REDIS_URL). SIGTERM drains it."""
    _become("worker")


@main.command()
@click.argument("part", type=click.Choice(["web", "worker"]))
@plain_errors
def health(part: str) -> None:
    """Exit with 0 if this node's web or worker is alive; for container health checks."""
    settings = load_settings()
    alive = _web_alive(settings) if part == "web" else _worker_alive(settings)
    if not alive:
        err.print(f"{part} is not alive")
        sys.exit(1)


@main.command()
@click.argument("photos", metavar="PHOTO|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@picture_options
@click.option("--replace", is_flag=True, help="Overwrite pictures of the same name instead of appending a number.")
@plain_errors
def convert(
    photos: tuple[Path, ...],
    output: Path,
    style: str | None,
    max_side: int,
    picture_format: str | None,
    *,
    replace: bool,
) -> None:
    """Convert photos, or folders of them, on this machine, without a server.

    For a folder, converts all photos in it and its subfolders and keeps the folder structure. Hidden files and files
    that are not photos are skipped.
    """
    from cli.convert import convert_all

    place = _place(output, photos, picture_format)
    failed = convert_all(photos, place, max_side, load_settings(style=style), err, replace=replace)
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("photos", metavar="PHOTO|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@server_options
@picture_options
@plain_errors
def submit(
    photos: tuple[Path, ...],
    server: str,
    key_file: Path | None,
    output: Path,
    style: str | None,
    max_side: int,
    picture_format: str | None,
) -> None:
    """Convert a few photos on a server, one job each.

    For large folders use `sakuga album`, which can resume.
    """
    from cli.credentials import server_key
    from cli.remote import Remote
    from cli.submit import submit_all

    place = _place(output, photos, picture_format)
    with Remote(server, key=server_key(key_file)) as remote:
        failed = submit_all(photos, place, _fields(style, max_side, place.format), remote, err)
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("photos", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@server_options
@picture_options
@click.option("--replace", is_flag=True, help="Overwrite existing files, including pictures made with other options.")
@plain_errors
def album(  # noqa: PLR0913  its options
    photos: Path,
    server: str,
    key_file: Path | None,
    output: Path,
    style: str | None,
    max_side: int,
    picture_format: str | None,
    *,
    replace: bool,
) -> None:
    """Convert all photos in DIR and its subfolders on a server. Run it again to resume.

    Pictures are downloaded into the -o folder while photos are still being uploaded, and keep the folder structure.
    Nothing is uploaded or downloaded twice. Files that are not Sakuga's, and pictures edited since, are never
    overwritten: if a name is taken, a number is appended. A different style, size or format needs a different folder
    or --replace. Exits with 1 if photos failed; failures.json, beside the pictures, lists the reasons.
    """
    from cli.album import convert_album
    from cli.credentials import server_key
    from cli.remote import Remote

    place = _place(output, (photos,), picture_format)
    fields = _fields(style, max_side, place.format)
    with Remote(server, key=server_key(key_file)) as remote:
        code = convert_album(photos, place.folder, fields, place.extension, remote, err, replace=replace)
    sys.exit(code)


@main.command()
@plain_errors
def styles() -> None:
    """List the styles installed on this machine."""
    settings = load_settings()
    for style in installed_styles(settings.data_dir).values():
        mark = " (default)" if style.name == settings.style else ""
        label = escape(f"{style.title}, {style.size}, {style.licence}, {style.sha256[:12]}…")
        out.print(f"[bold]{style.name}[/]{mark}: {label}")
        if style.description:
            out.print(f"    {escape(style.description)}")
        preview = f"; preview: {style.preview_path}" if style.preview_path else ""
        out.print(f"    {style.size.gmac_per_megapixel} GMAC per megapixel{escape(preview)}")
        if quality := _quality_in_8_bit(style):
            out.print(f"    in 8 bit: {escape(quality)}")
        out.print(f"    {escape(style.provenance)}")


@main.command()
@click.option("-s", "--style", help="One of `sakuga styles`. Default: SAKUGA_STYLE.")
@click.option("--max-latency", default=10.0, show_default=True, help="Maximum seconds per picture.")
@click.option(
    "--memory", type=click.IntRange(min=64), help="MiB for all processes. Default: 80 % of what is available."
)
@click.option(
    "--price-per-hour", type=click.FloatRange(min=0), help="Price of the machine, in any currency, for the report."
)
@plain_errors
def tune(style: str | None, max_latency: float, memory: int | None, price_per_hour: float | None) -> None:
    """Measure and save the fastest engine, processes and threads for this machine.

    Takes a few minutes. Nothing else should run meanwhile, least of all a busy Sakuga.
    """
    from cli.tune import run

    settings = load_settings(style=style)
    run(settings, out, max_latency_s=max_latency, memory_mib=memory, price_per_hour=price_per_hour)


@main.group()
def weights() -> None:
    """Import, quantise or remove weights of your own; `sakuga styles` lists them."""


@weights.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", required=True, help="Name of the style: lower-case letters, digits and hyphens.")
@click.option(
    "--upsample",
    required=True,
    type=click.Choice(["align_corners", "half_pixel", "asymmetric"]),
    help="Upsampling mode the weights were trained with: align_corners for most PyTorch checkpoints, such as the "
    "face_paint ones of bryandlee/animegan2-pytorch; asymmetric for those converted from TensorFlow 1. The file "
    "does not tell; the wrong one gives blurry pictures.",
)
@click.option("--licence", required=True, help="Licence of the weights, e.g. 'non-commercial'; shown to users.")
@click.option("--title", help="Display name; derived from --name by default.")
@click.option("--replace", is_flag=True, help="Replace an imported style of the same name.")
@plain_errors
def import_weights(file: Path, name: str, upsample: str, licence: str, title: str | None, *, replace: bool) -> None:
    """Add AnimeGANv2 weights (PyTorch state_dict, TorchScript or safetensors) as a style."""
    from cli.weights import Naming, import_style
    from worker.generator import Upsample

    naming = Naming(name, title or name.replace("-", " ").capitalize(), Upsample(upsample), licence)
    style = import_style(file, load_settings().data_dir, naming, replace=replace)
    out.print(f"Style [bold]{style.name}[/] ({style.size}) is ready. Try: sakuga convert -s {style.name} PHOTO -o DIR")
    out.print("If the pictures are blurry, import it again with --replace and another --upsample.")
    out.print("If Sakuga is running, restart it to offer the new style.")
    out.print(f"To make it up to three times as fast: sakuga weights quantise {style.name} PHOTOS…")


@weights.command("quantise")
@click.argument("name")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--replace", is_flag=True, help="Overwrite an earlier calibration, even of a bundled style.")
@plain_errors
def quantise_weights(name: str, photos: tuple[Path, ...], *, replace: bool) -> None:
    """Quantise the style NAME for the 8-bit engines: calibrate on every second photo, evaluate on the others.

    Give twenty or more photos of the kind you usually convert. The bundled styles are already calibrated. Exits with 1
    if 8 bit would visibly change the pictures; it is then not used.
    """
    from cli.weights import quantise_style
    from worker.engines.int8 import require_same_look

    with err.status("Reading photos") as status:
        recipe = quantise_style(name, photos, load_settings(), status.update, replace=replace)
    quality = recipe.quality
    out.print(
        f"[bold]{name}[/] in 8 bit against single precision, on {quality.photos} photos not used for calibration: "
        f"PSNR {quality.psnr_db:.1f} dB (worst {quality.worst_psnr_db:.1f}), SSIM {quality.ssim:.3f} "
        f"(worst {quality.worst_ssim:.3f})"
    )
    if recipe.higher_precision:
        out.print(f"Kept in higher precision: {', '.join(recipe.higher_precision)}")
    require_same_look(name, quality)
    out.print("If Sakuga is running, restart it to use 8 bit.")


@weights.command("remove")
@click.argument("name")
@plain_errors
def remove_weights(name: str) -> None:
    """Remove the imported style NAME and its weights file."""
    from cli.weights import remove_style

    remove_style(name, load_settings().data_dir)
    out.print(f"Removed style [bold]{name}[/]. If Sakuga is running, restart it.")


@main.group()
def quarantine() -> None:
    """Inspect photos that failed too many attempts; they may be what kills workers."""


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


@main.group()
def keys() -> None:
    """Manage API keys; without keys, anyone who can reach the service may use it."""


scope_option = click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["submit", "read", "operate"]),
    default=("submit", "read"),
    show_default=True,
    help="submit: create and delete jobs and albums; read: view them; operate: metrics. Repeatable.",
)
expires_option = click.option("--expires-in", type=click.IntRange(1, 36_500), metavar="DAYS", help="Default: never.")


@keys.command("create")
@click.argument("name")
@scope_option
@click.option("--requests-per-minute", type=click.IntRange(min=1), help="Default: SAKUGA_REQUESTS_PER_MINUTE.")
@click.option("--megapixels-per-day", type=click.FloatRange(min=0, min_open=True), help="Default: unlimited.")
@expires_option
@plain_errors
def create_key(
    name: str,
    scopes: tuple[str, ...],
    requests_per_minute: int | None,
    megapixels_per_day: float | None,
    expires_in: int | None,
) -> None:
    """Create the caller NAME and print its key, which is shown only once and not stored."""
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
    """List callers, their scopes and limits, and the fingerprints of their keys."""
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


@main.command()
@plain_errors
def doctor() -> None:
    """Check that this machine has what Sakuga needs."""
    from cli.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]  " if finding.ok else "[bold red]fail[/]"
        out.print(f"{mark} {finding.what}: {escape(finding.detail)}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


def _place(output: Path, photos: tuple[Path, ...], picture_format: str | None) -> "Place":
    from cli.pictures import place_for

    return place_for(output, photos, Format(picture_format) if picture_format else None)


def _server_here() -> str:
    """Return the URL of the server of this machine, whether or not it runs."""
    from cli.running import running

    settings = load_settings()
    found = running(settings.data_dir)
    return found.url if found and found.url else settings.local_url


def _fields(style: str | None, max_side: int, picture_format: Format) -> dict[str, str | int]:
    """Return the options as fields of the API; without a style the server uses its default."""
    return {"max_side": max_side, "format": picture_format.value} | ({"style": style} if style else {})


def _quality_in_8_bit(style: Style) -> str:
    """Describe the quality of a style in 8 bit; empty if it was not calibrated."""
    from worker.engines.int8 import read_recipe

    try:
        recipe = read_recipe(style)
    except WeightsError as error:
        return error.detail
    return f"PSNR {recipe.quality.psnr_db:.1f} dB, SSIM {recipe.quality.ssim:.3f}" if recipe else ""


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


if __name__ == "__main__":
    main()
