"""Commands about styles: `styles` lists them, `weights` adds and removes those that are not bundled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from cli.settings import load_settings
from cli.terminal import err, out, plain_errors
from shared.errors import InvalidValueError, WeightsError

if TYPE_CHECKING:
    from cli.catalogue import Published
    from cli.download import Show
    from shared.styles import Style


@click.command()
@plain_errors
def styles() -> None:
    """List the styles installed on this machine."""
    from shared.styles import installed_styles

    settings = load_settings()
    installed = installed_styles(settings.data_dir)
    for style in installed.values():
        mark = " (default)" if style.name == installed.full_name(settings.style) else ""
        label = escape(f"{style.title}, {style.size}, {style.licence}, {style.sha256[:12]}…")
        out.print(f"[bold]{style.name}[/]{mark}: {label}")
        if style.description:
            out.print(f"    {escape(style.description)}")
        preview = f"; preview: {style.preview_path}" if style.preview_path else ""
        out.print(f"    {style.size.gmac_per_megapixel} GMAC per megapixel{escape(preview)}")
        if quality := _quality_in_8_bit(style):
            out.print(f"    in 8 bit: {escape(quality)}")
        out.print(f"    {escape(style.provenance)}")


@click.group()
def weights() -> None:
    """Get the official weights, or bring your own.

    `sakuga styles` lists those that are installed.
    """


@weights.command("list")
@plain_errors
def list_weights() -> None:
    """List the official weights that `sakuga weights get` can download."""
    from cli.catalogue import CATALOGUE, LICENCE, LICENCE_URL, REPOSITORY
    from shared.styles import installed_styles

    installed = installed_styles(load_settings().data_dir)
    for entry in CATALOGUE.values():
        mark = " (installed)" if entry.name in installed else ""
        out.print(f"[bold]{entry.name}[/]{mark}: {entry.description}")
        if entry.stricter:
            out.print(f"    [yellow]{entry.stricter}[/]")
    out.print(f"From github.com/{REPOSITORY}. Its licence: {LICENCE}, {LICENCE_URL}")


@weights.command("get")
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="Accept the licence without being asked.")
@click.option("--from", "source", metavar="FILE|URL", help="Take the weights from this file, or from a mirror.")
@click.option("--replace", is_flag=True, help="Replace an imported style of the same name.")
@plain_errors
def get_weights(name: str, source: str | None, *, accept_licence: bool, replace: bool) -> None:
    """Download the official weights NAME and add them as a style.

    `sakuga weights list` names them. Whatever was downloaded or is given with --from is imported only if it is, byte
    for byte, the file that their author published. A download that was interrupted is continued.
    """
    from cli.catalogue import published
    from cli.weights import get_style

    entry, settings = published(name), load_settings()
    if not replace and _is_there(entry, settings.data_dir):
        out.print(f"Style [bold]{entry.name}[/] is installed already.")
        return
    _ask_about_licence(entry, accepted=accept_licence)
    with _download_bar(entry.file) as show:
        try:
            style = get_style(entry, _place(source or entry.url), settings, show, replace=replace)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped. Run the same command again to continue the download.") from None
    _announce(style)


def _is_there(entry: "Published", data_dir: Path) -> bool:
    from shared.styles import installed_styles

    installed = installed_styles(data_dir)
    return entry.name in installed and installed[entry.name].provenance == entry.provenance


def _ask_about_licence(entry: "Published", *, accepted: bool) -> None:
    """Show the licence, and go on only if it is accepted."""
    from cli.catalogue import LICENCE, LICENCE_URL, REPOSITORY

    out.print(f"[bold]{entry.title}[/]: {entry.path} of github.com/{REPOSITORY}")
    out.print(f"Licence of that repository: {LICENCE}, {LICENCE_URL}")
    if entry.stricter:
        out.print(f"[yellow]{entry.stricter}[/]")
    try:
        if accepted or click.confirm("Do you accept these terms?"):
            return
    except click.Abort:  # there is nobody to ask
        err.print()
    raise InvalidValueError("Nothing was imported: accept the terms when asked, or with --accept-licence.")


def _place(source: str) -> Path | str:
    """Return the URL or the file that is meant.

    Raises:
        InvalidValueError: there is no such file.
    """
    if source.startswith(("http://", "https://")):
        return source
    if not Path(source).is_file():
        raise InvalidValueError(f"There is no file {source}; --from takes a file or an http:// or https:// URL.")
    return Path(source)


@contextmanager
def _download_bar(title: str) -> Iterator["Show"]:
    """Show the progress of a download, from the moment when there is one."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    progress = Progress(TextColumn("{task.description}"), *columns, console=err)
    task = progress.add_task(title, total=None)

    def show(done: int, total: int | None) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if progress.live.is_started:
            progress.stop()


@weights.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--name", metavar="NAME", required=True, help="Name of the style: lower-case letters, digits and hyphens."
)
@click.option(
    "--upsample",
    type=click.Choice(["align_corners", "half_pixel", "asymmetric"]),
    help="Upsampling mode the weights were trained with: align_corners for most PyTorch checkpoints; asymmetric for "
    "those converted from TensorFlow 1. Required, except for ONNX: other files do not tell. The wrong one gives "
    "blurry pictures.",
)
@click.option(
    "--licence", metavar="LICENCE", required=True, help="Licence of the weights, e.g. 'non-commercial'; shown to users."
)
@click.option("--title", metavar="TITLE", help="Display name; derived from --name by default.")
@click.option("--replace", is_flag=True, help="Replace an imported style of the same name.")
@plain_errors
def import_weights(
    file: Path, name: str, upsample: str | None, licence: str, title: str | None, *, replace: bool
) -> None:
    """Add AnimeGANv2 weights from a file as a style.

    The file may be a PyTorch state_dict, TorchScript, safetensors or ONNX.
    """
    from cli.weights import Metadata, import_style
    from worker.generator import Upsample

    title = title or name.replace("-", " ").capitalize()
    metadata = Metadata(name, title, Upsample(upsample) if upsample else None, licence)
    style = import_style(file, load_settings().data_dir, metadata, replace=replace)
    _announce(style)
    out.print("If the pictures are blurry, import it again with --replace and another --upsample.")


def _announce(style: "Style") -> None:
    out.print(f"Style [bold]{style.name}[/] ({style.size}) is ready. Try: sakuga convert -s {style.name} PHOTO -o DIR")
    out.print("If Sakuga is running, it offers the new style at once.")
    out.print(f"To make it up to three times as fast: sakuga weights quantise {style.name} PHOTOS…")


@weights.command("quantise")
@click.argument("name")
@click.argument(
    "photos", metavar="PHOTO...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--replace", is_flag=True, help="Overwrite an earlier calibration, even of a bundled style.")
@plain_errors
def quantise_weights(name: str, photos: tuple[Path, ...], *, replace: bool) -> None:
    """Quantise the style NAME for the fast 8-bit engines.

    Calibrates on every second photo and evaluates on the others. Give twenty or more photos of the kind you usually
    convert. The bundled styles are already calibrated. Exits with 1 if 8 bit would visibly change the pictures; it is
    then not used.
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
    out.print(f"Removed style [bold]{name}[/]; Sakuga no longer offers it.")


def _quality_in_8_bit(style: "Style") -> str:
    """Describe the quality of a style in 8 bit; empty if it was not calibrated."""
    from worker.engines.int8 import read_recipe

    try:
        recipe = read_recipe(style)
    except WeightsError as error:
        return error.detail
    return f"PSNR {recipe.quality.psnr_db:.1f} dB, SSIM {recipe.quality.ssim:.3f}" if recipe else ""
