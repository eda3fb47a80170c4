"""Commands about styles: `styles` lists them, `weights` adds and removes those that are imported."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from cli.settings import load_settings
from cli.terminal import err, out, plain_errors
from shared.errors import WeightsError

if TYPE_CHECKING:
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
    """Import, quantise or remove weights of your own.

    `sakuga styles` lists them.
    """


@weights.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--name", metavar="NAME", required=True, help="Name of the style: lower-case letters, digits and hyphens."
)
@click.option(
    "--upsample",
    required=True,
    type=click.Choice(["align_corners", "half_pixel", "asymmetric"]),
    help="Upsampling mode the weights were trained with: align_corners for most PyTorch checkpoints, such as the "
    "face_paint ones of bryandlee/animegan2-pytorch; asymmetric for those converted from TensorFlow 1. The file "
    "does not tell; the wrong one gives blurry pictures.",
)
@click.option(
    "--licence", metavar="LICENCE", required=True, help="Licence of the weights, e.g. 'non-commercial'; shown to users."
)
@click.option("--title", metavar="TITLE", help="Display name; derived from --name by default.")
@click.option("--replace", is_flag=True, help="Replace an imported style of the same name.")
@plain_errors
def import_weights(file: Path, name: str, upsample: str, licence: str, title: str | None, *, replace: bool) -> None:
    """Add AnimeGANv2 weights from a file as a style.

    The file may be a PyTorch state_dict, TorchScript or safetensors.
    """
    from cli.weights import Naming, import_style
    from worker.generator import Upsample

    naming = Naming(name, title or name.replace("-", " ").capitalize(), Upsample(upsample), licence)
    style = import_style(file, load_settings().data_dir, naming, replace=replace)
    out.print(f"Style [bold]{style.name}[/] ({style.size}) is ready. Try: sakuga convert -s {style.name} PHOTO -o DIR")
    out.print("If the pictures are blurry, import it again with --replace and another --upsample.")
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
