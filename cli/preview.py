"""`sakuga preview`: one photo in several styles, on one sheet. It is drawn here, without a server."""

import math
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.markup import escape

from cli.outcomes import print_problem
from cli.photos import Photo
from cli.pictures import Place, make_folder, plan_tasks, write
from cli.process_pool import capacity_for
from shared import pipeline
from shared.conversion import PREVIEW_SIDE, PREVIEWS_DRAWN_AT
from shared.photos import decoding
from shared.photos.encoding import encode
from shared.photos.formats import Limits
from shared.photos.sizes import fit
from shared.settings import Settings
from shared.styles import installed_styles
from worker.model_loader import loader_for

GAP: Final = 16  # pixels around every picture
WORDS: Final = 28  # pixels of height, for the name under a picture
PER_ROW: Final = 4
PAPER, INK = "white", "black"


def preview(photo: Path, place: Place, names: tuple[str, ...], settings: Settings, console: Console) -> None:
    """Draw a photo small in some styles, or in all light ones, and put them beside it on a sheet.

    Raises:
        SakugaError: there is no such style, its weights are bad, or the photo cannot be read.
        OSError: the sheet cannot be written.
    """
    styles = installed_styles(settings.data_dir)
    chosen = styles.to_preview(names)
    found = place.named([Photo(photo, PurePath(photo.name))])
    (task,) = plan_tasks(found, place.folder, place.extension)
    capacity, limits = capacity_for(1, settings), Limits(settings.max_upload_bytes, settings.max_megapixels)
    loader = loader_for(settings, styles, threads=capacity.threads, memory=capacity.memory)
    with photo.open("rb") as file:
        decoded = decoding.decode(file, limits, max_side=PREVIEW_SIDE, drawn_at=PREVIEWS_DRAWN_AT)
    previews = {style: Image.fromarray(pipeline.draw_preview(decoded, loader.engine(style))) for style in chosen}
    sheet = _sheet({"photo": _small(decoded)} | previews)
    make_folder(place.folder)
    write(task.picture, encode(np.asarray(sheet), None, place.format))
    for note in decoded.notes:
        print_problem(console, photo, note, colour="yellow")
    console.print(f"{escape(str(task.picture))}: {', '.join(chosen)}")


def _small(photo: decoding.Photo) -> Image.Image:
    picture = Image.fromarray(photo.rgb)
    if photo.alpha is not None:
        picture.putalpha(Image.fromarray(photo.alpha))
    return picture.resize(fit(photo.size, PREVIEW_SIDE), Image.Resampling.LANCZOS)


def _sheet(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Arrange pictures of one size in rows, each with its name below."""
    font = ImageFont.load_default(WORDS * 0.6)
    width = max(
        [picture.width for picture in pictures.values()] + [math.ceil(font.getlength(name)) for name in pictures]
    )
    height = max(picture.height for picture in pictures.values())
    across, down = width + GAP, height + WORDS + GAP
    columns = min(PER_ROW, len(pictures))
    sheet = Image.new("RGB", (columns * across + GAP, -(-len(pictures) // columns) * down + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (name, picture) in enumerate(pictures.items()):
        left, top = place % columns * across + GAP, place // columns * down + GAP
        sheet.paste(picture, (left + (width - picture.width) // 2, top), picture if picture.mode == "RGBA" else None)
        draw.text((left + width / 2, top + height + WORDS / 2), name, INK, font, anchor="mm")
    return sheet
