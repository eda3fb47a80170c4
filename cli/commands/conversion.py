"""Commands that make pictures of photos: on this machine, or on a server."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from cli.settings import load_settings
from cli.terminal import err, plain_errors
from shared.client import CLIENT_SERVER
from shared.conversion import Faces, Options
from shared.photos.formats import ALLOWED_SIDES, MAX_SIDE_DEFAULT, MAX_SIDE_MAX, MAX_SIDE_MIN, ORIGINAL, Format

if TYPE_CHECKING:
    from cli.pictures import Place

P = ParamSpec("P")
R = TypeVar("R")


output_option = click.option(
    "-o",
    "--output",
    "output",
    metavar="DIR|FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write to, created if missing; for a single photo also a file (.jpg, .png or .webp).",
)


def _max_side(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    side = MAX_SIDE_MAX if text == ORIGINAL else int(text) if text.isdecimal() else 0
    if not MAX_SIDE_MIN <= side <= MAX_SIDE_MAX:
        raise click.BadParameter(f"{text!r} is not {ALLOWED_SIDES}.")
    return side


def picture_options(command: Callable[P, R]) -> Callable[P, R]:
    """Options of every command that makes pictures: where they go and what they are like."""
    options = (
        output_option,
        click.option(
            "-s",
            "--style",
            metavar="STYLE",
            help="`sakuga styles` lists the styles of this machine; sumi is short for sumi-light.",
        ),
        click.option(
            "--max-side",
            metavar=f"PIXELS|{ORIGINAL}",
            default=str(MAX_SIDE_DEFAULT),
            show_default=True,
            callback=_max_side,
            help=f"Longest side of the pictures, up to {MAX_SIDE_MAX}; {ORIGINAL}: as large as the photo, up to that.",
        ),
        click.option(
            "--format",
            "picture_format",
            type=click.Choice([*map(str, Format), "jpg"]),
            help="Default: that of the file in -o, or else jpeg.",
        ),
        click.option(
            "--faces",
            type=click.Choice([*map(str, Faces)]),
            help="auto (the default) draws faces at a size that suits them, off with the rest of the photo.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


key_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with your API key, if the server requires one. Default: SAKUGA_API_KEY.",
)


def server_options(command: Callable[P, R]) -> Callable[P, R]:
    """Options of every command that uses a server: where it is, and the key that it is shown."""
    options = (
        click.option(
            "--server",
            callback=lambda _context, _parameter, url: url or _server_here(),
            envvar=CLIENT_SERVER,
            show_envvar=True,
            metavar="URL",
            help="Default: the server that runs with the data folder, or else the one at SAKUGA_HOST and SAKUGA_PORT.",
        ),
        key_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
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
    faces: str | None,
    *,
    replace: bool,
) -> None:
    """Convert photos or folders on this machine, without a server.

    For a folder, converts all photos in it and its subfolders and keeps the folder structure. Hidden files and files
    that are not photos are skipped.
    """
    from cli.convert import convert_all

    place = _place(output, photos, picture_format)
    options = Options(max_side, place.format, Faces(faces or Faces.AUTO))
    failed = convert_all(photos, place, options, load_settings(style=style), err, replace=replace)
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("photo", metavar="PHOTO", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
@click.option(
    "-s", "--style", "styles", metavar="STYLE", multiple=True, help="Can be repeated. Default: all light styles."
)
@plain_errors
def preview(photo: Path, output: Path, styles: tuple[str, ...]) -> None:
    """Draw a photo small in several styles, to choose one.

    They are drawn side by side; no server is needed.
    """
    from cli.preview import preview as draw_sheet

    draw_sheet(photo, _place(output, (photo,), None), styles, load_settings(), err)


@click.command()
@click.argument("photos", metavar="PHOTO|DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@server_options
@picture_options
@plain_errors
def submit(  # noqa: PLR0913, PLR0917  its options
    photos: tuple[Path, ...],
    server: str,
    key_file: Path | None,
    output: Path,
    style: str | None,
    max_side: int,
    picture_format: str | None,
    faces: str | None,
) -> None:
    """Convert a few photos on a server, one job each.

    For large folders use `sakuga album`, which can resume.
    """
    from cli.credentials import server_key
    from cli.remote import Remote
    from cli.submit import submit_all

    place = _place(output, photos, picture_format)
    with Remote(server, key=server_key(key_file)) as remote:
        failed = submit_all(photos, place, _fields(style, max_side, place.format, faces), remote, err)
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("photos", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@server_options
@picture_options
@click.option("--replace", is_flag=True, help="Overwrite existing files, including pictures made with other options.")
@click.option(
    "--keep-photos",
    is_flag=True,
    help="Let the server keep the photos as long as the pictures, so that `sakuga redraw` can draw them again.",
)
@plain_errors
def album(  # noqa: PLR0913, PLR0917  its options
    photos: Path,
    server: str,
    key_file: Path | None,
    output: Path,
    style: str | None,
    max_side: int,
    picture_format: str | None,
    faces: str | None,
    *,
    replace: bool,
    keep_photos: bool,
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
    fields = _fields(style, max_side, place.format, faces)
    with Remote(server, key=server_key(key_file)) as remote:
        code = convert_album(photos, place, fields, remote, err, replace=replace, keep_photos=keep_photos)
    sys.exit(code)


@click.command()
@click.argument("pictures", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-s", "--style", metavar="STYLE", required=True, help="The style to draw it in.")
@output_option
@key_option
@plain_errors
def redraw(pictures: Path, style: str, output: Path, key_file: Path | None) -> None:
    """Draw an album again in another style.

    DIR is the folder that `sakuga album --keep-photos` saved the pictures in. The server draws the photos that it has
    kept, in the same size and format as before; photos that it no longer has are uploaded again. Run it again to
    resume.
    """
    from cli.album import redraw_album
    from cli.credentials import server_key
    from cli.ledger import earlier_ledger
    from cli.remote import Remote

    earlier = earlier_ledger(pictures)
    with Remote(earlier.server, key=server_key(key_file)) as remote:
        code = redraw_album(earlier, _place(output, (pictures,), None).folder, style, remote, err)
    sys.exit(code)


def _place(output: Path, photos: tuple[Path, ...], picture_format: str | None) -> "Place":
    from cli.pictures import place_for

    return place_for(output, photos, Format(picture_format) if picture_format else None)


def _server_here() -> str:
    """Return the URL of the server of this machine, whether or not it runs."""
    from cli.running import running

    settings = load_settings()
    found = running(settings.data_dir)
    return found.url if found and found.url else settings.local_url


def _fields(style: str | None, max_side: int, picture_format: Format, faces: str | None) -> dict[str, str | int]:
    """Return the options as fields of the API; for those that were not chosen the server uses its default."""
    chosen = {name: value for name, value in (("style", style), ("faces", faces)) if value}
    return {"max_side": max_side, "format": picture_format.value, **chosen}
