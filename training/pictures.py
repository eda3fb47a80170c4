"""The pictures to render: photos as they are, and variants of them, so that rarer things are learned, too.

| kind | made of | teaches |
|---|---|---|
| whole | every photo | most of it |
| piece | every large photo | things seen from nearer |
| overcast | photos with a sky | that a pale sky is a sky |
| sheet | 4, 9 or 16 photos of people | small faces |
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from PIL import Image

from shared.drawing import DrawnAt
from shared.photos.sizes import drawn_side
from shared.pipeline import to_draw
from training.analysis import Analysis, nothing_found, read_analysis
from training.photos import MAX_SIDE, Rgb, read_photo
from training.view import SIDE

CLOSER = (1.4, 2.4)  # magnification of a piece of a photo
MIN_SKY = 0.08  # of a photo, for an overcast variant
SHEETS = (2, 3, 4)  # photos in a row and in a column
COVERED = (0.7, 1.0)  # share of a sky that clouds cover

_GLANCE = 160, 160  # height and width of masks from which shares are read


class Kind(StrEnum):
    """The kinds of pictures that are made of photos."""

    WHOLE = "whole"
    PIECE = "piece"
    OVERCAST = "overcast"
    SHEET = "sheet"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to render: a photo, whole or changed, or several on a sheet."""

    name: str
    photos: tuple[Path, ...]
    kind: Kind = Kind.WHOLE


def pictures_of(photos: Sequence[Path], analyses: Path | None = None) -> list[Picture]:
    """List the pictures to make of photos; without their analyses, no overcast skies and no sheets.

    Raises:
        ValueError: two pictures would have the same name.
        FileNotFoundError: a photo has not been analysed.
    """
    known = {photo: know(photo, _GLANCE, analyses) for photo in photos}
    with_sky = [photo for photo, analysis in known.items() if analysis.sky.mean() > MIN_SKY]
    people = [photo for photo, analysis in known.items() if len(analysis.faces)]
    pictures = [
        *(Picture(_name(photo), (photo,)) for photo in photos),
        *(_changed(photo, Kind.PIECE) for photo, analysis in known.items() if _has_pieces(photo, analysis)),
        *(_changed(photo, Kind.OVERCAST) for photo in with_sky),
        *(sheet for across in SHEETS for sheet in _sheets(people, across)),
    ]
    if doubled := [name for name, count in Counter(picture.name for picture in pictures).items() if count > 1]:
        raise ValueError(f"several pictures are called {', '.join(doubled)}: give folders and files names of their own")
    return pictures


def make_picture(picture: Picture, analyses: Path | None, seed: int) -> tuple[Rgb, Analysis]:
    """The pixels to render, determined by the picture and the seed, and their analysis."""
    rng = np.random.default_rng((seed, *hashlib.sha256(picture.name.encode()).digest()[:8]))
    photo = picture.photos[0]
    match picture.kind:
        case Kind.WHOLE:
            return _as_drawn(photo, analyses)
        case Kind.PIECE:
            return cut_piece(*_as_drawn(photo, analyses, round(SIDE * rng.uniform(*CLOSER))), SIDE, rng)
        case Kind.OVERCAST:
            pixels, known = _as_drawn(photo, analyses)
            return overcast(pixels, known, rng), known
        case Kind.SHEET:
            side = SIDE // round(len(picture.photos) ** 0.5)
            return lay_out([_square(photo, side, analyses) for photo in picture.photos])


def know(photo: Path, size: tuple[int, int], analyses: Path | None) -> Analysis:
    """Read the analysis of a photo, with masks of (height, width); without analyses it is empty."""
    return read_analysis(analyses, photo, size) if analyses else nothing_found(*size)


def cut_piece(photo: Rgb, analysis: Analysis, side: int, rng: np.random.Generator) -> tuple[Rgb, Analysis]:
    """Cut a random piece in the photo's proportions, its longer side `side` pixels, and the same of its analysis."""
    share = min(1.0, side / max(photo.shape[:2]))
    height, width = (round(length * share) for length in photo.shape[:2])
    top, left = (
        int(rng.integers(0, length - part + 1)) for length, part in zip(photo.shape, (height, width), strict=False)
    )
    return _cut(photo, analysis, (top, left), (height, width))


def overcast(photo: Rgb, analysis: Analysis, rng: np.random.Generator) -> Rgb:
    """Hide the sky of a photo behind clouds of one pale colour, from grey to white and from white to cream."""
    cream = rng.uniform(0, 1)
    clouds = rng.uniform(190, 255) * np.array((1, 1 - 0.03 * cream, 1 - 0.16 * cream))
    hidden = (analysis.sky * (1 - analysis.person) * rng.uniform(*COVERED))[..., None]
    return np.asarray((photo + hidden * (clouds - photo)).round(), np.uint8)


def lay_out(squares: Sequence[tuple[Rgb, Analysis]]) -> tuple[Rgb, Analysis]:
    """Lay a square number of equally large photos, and their analyses, on a sheet, row by row."""
    across = round(len(squares) ** 0.5)
    rows = [slice(start, start + across) for start in range(0, len(squares), across)]
    photos, known = [photo for photo, _ in squares], [analysis for _, analysis in squares]
    faces = [
        (analysis.faces + np.array((number % across, number // across))) / across
        for number, analysis in enumerate(known)
    ]
    person, sky = (
        np.vstack([np.hstack(masks[row]) for row in rows])
        for masks in ([analysis.person for analysis in known], [analysis.sky for analysis in known])
    )
    sheet = np.vstack([np.hstack(photos[row]) for row in rows])
    return sheet, Analysis(np.concatenate(faces).astype(np.float32), person, sky)


def _square(photo: Path, side: int, analyses: Path | None) -> tuple[Rgb, Analysis]:
    """The square around the largest face, as high or wide as the photo, scaled to `side` pixels."""
    size = _size(photo)
    pixels, known = _read(photo, -(-side * max(size) // min(size)), analyses)
    x, y = known.faces[0].mean(0)
    room = np.array(pixels.shape[:2]) - side
    top, left = np.clip(np.array((y, x)) * pixels.shape[:2] - side / 2, 0, room).astype(int)
    return _cut(pixels, known, (top, left), (side, side))


def _cut(photo: Rgb, analysis: Analysis, corner: tuple[int, int], size: tuple[int, int]) -> tuple[Rgb, Analysis]:
    (top, left), (height, width) = corner, size
    cut = slice(top, top + height), slice(left, left + width)
    whole = np.array((photo.shape[1], photo.shape[0]), np.float32)
    faces = (analysis.faces * whole - (left, top)) / (width, height)
    middles = faces.mean(1)
    inside = ((middles > 0) & (middles < 1)).all(1)
    return photo[cut], Analysis(faces[inside].astype(np.float32), analysis.person[cut], analysis.sky[cut])


def _read(photo: Path, max_side: int, analyses: Path | None) -> tuple[Rgb, Analysis]:
    return _with_analysis(photo, read_photo(photo, max_side), analyses)


def _as_drawn(photo: Path, analyses: Path | None, drawn_at: int = SIDE) -> tuple[Rgb, Analysis]:
    """A photo at the size at which the service draws it with weights for `drawn_at`, and its analysis."""
    pixels = read_photo(photo, MAX_SIDE)
    faces = know(photo, _GLANCE, analyses).face_heights((pixels.shape[1], pixels.shape[0]))
    return _with_analysis(photo, to_draw(pixels, DrawnAt(drawn_at, lambda _photo: faces)), analyses)


def _with_analysis(photo: Path, pixels: Rgb, analyses: Path | None) -> tuple[Rgb, Analysis]:
    return pixels, know(photo, (pixels.shape[0], pixels.shape[1]), analyses)


def _sheets(people: Sequence[Path], across: int) -> list[Picture]:
    """Mixed sheets of `across` photos in a row, without small photos and the remainder that does not fill a sheet."""
    count, large_enough = across**2, [photo for photo in people if min(_size(photo)) >= SIDE // across]
    mixed = sorted(large_enough, key=lambda photo: hashlib.sha256(_name(photo).encode()).digest())
    full = range(0, len(mixed) - count + 1, count)
    return [_sheet(tuple(mixed[start : start + count])) for start in full]


def _sheet(photos: tuple[Path, ...]) -> Picture:
    """A sheet named after its photos, so that its pair is never taken for that of others."""
    shown = hashlib.sha256(" ".join(map(_name, photos)).encode()).hexdigest()[:16]
    return Picture(f"sheet-{shown}", photos, Kind.SHEET)


def _changed(photo: Path, kind: Kind) -> Picture:
    return Picture(f"{_name(photo)}-{kind}", (photo,), kind)


def _has_pieces(photo: Path, analysis: Analysis) -> bool:
    """Return whether a photo is so large that a piece of it shows things closer up; close-ups already do."""
    size, closer = _size(photo), round(CLOSER[0] * SIDE)
    return min(max(size), drawn_side(size, closer, analysis.face_heights(size))) >= closer


def _size(photo: Path) -> tuple[int, int]:
    """Width and height of a photo as stored, before it is turned upright."""
    with Image.open(photo) as image:
        return image.size


def _name(photo: Path) -> str:
    return f"{photo.parent.name}-{photo.stem}"
