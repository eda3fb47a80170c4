"""The options, cost, result key and stages of a conversion: all that is known without running it.

`shared.pipeline` runs it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from shared.photos.formats import Format, Header
from shared.photos.sizes import drawn_size, fit

MIN_PIXELS = 50_000  # what a job counts for at least: it takes Redis and a worker's time, however small
# Milliseconds of one process per megapixel of the photo, measured with 12 megapixels.
_DECODING_MS = {"JPEG": 12, "MPO": 12, "BMP": 10, "PPM": 10, "JPEG2000": 120}
_DECODING_MS_OTHERWISE = 40
_DECODING_MS_IN_PYTHON = {"qoi": 1500, "dds_rgb": 1300, "bmp_rle": 340, "ppm": 1300, "ppm_plain": 1100}  # by decoder
_DECODING_MS_PER_PASS = 2.5  # after the first: a progressive JPEG of a phone takes thrice as long as another
MIN_DECODING_LIMIT_S = 5.0  # to resize a small photo and convert its colours, too
FINISHING_MS = 40  # likewise per megapixel of the picture, to enlarge a drawing and to write it as JPEG
_DRAWING_MS = 800  # per megapixel of the picture, in a light style; not measured anew, so that quotas stay as they are
PREVIEW_SIDE = 256  # pixels of the longest side of a preview
PREVIEWS_DRAWN_AT = 448  # pixels likewise: below, faces in groups lose their eyes; at 640 it takes twice as long
VERSION = 8  # of the pipeline's output for the same photo and weights; part of a result's key


class Stage(StrEnum):
    """The stages of a conversion."""

    DECODE = "decode"
    PREPROCESS = "preprocess"
    GENERATE = "generate"
    POSTPROCESS = "postprocess"
    ENCODE = "encode"


# How far a conversion is when a stage begins; generating is nearly all of it.
PROGRESS_AT = {
    Stage.DECODE: 0.0,
    Stage.PREPROCESS: 0.06,
    Stage.GENERATE: 0.1,
    Stage.POSTPROCESS: 0.9,
    Stage.ENCODE: 0.93,
}


class Faces(StrEnum):
    """The choice whether faces are drawn at a size that suits them, or as if the photo had none."""

    AUTO = "auto"  # where the style can
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Options:
    """The user's choices: the picture's longest side in pixels (16..8192) and format, and how faces are drawn."""

    max_side: int
    format: Format
    faces: Faces = Faces.AUTO

    @property
    def values(self) -> tuple[str, ...]:
        """All choices in a fixed order, as parts of digests."""
        return str(self.max_side), self.format.value, self.faces.value

    def within(self, size: tuple[int, int]) -> "Options":
        """The choices for a photo of (width, height), which is never enlarged: its own size has one key."""
        return replace(self, max_side=min(self.max_side, max(size)))


def result_key(caller: str, photo_sha256: str, style_digest: str, options: Options) -> str:
    """The identity of a caller's result: the same photo, style, options and pipeline give the same picture."""
    parts = (photo_sha256, style_digest, *options.values, str(VERSION))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"{caller}/results/{digest}.{options.format.extension}"


def previews_key(caller: str, photo_sha256: str, style_digests: Iterable[str]) -> str:
    """The identity of a caller's previews: of the same photo in the same styles, in this order."""
    parts = (photo_sha256, "previews", *style_digests, str(PREVIEW_SIDE), str(PREVIEWS_DRAWN_AT), str(VERSION))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"{caller}/results/{digest}.zip"


def preview_name(style: str) -> str:
    """Return the name of a style's picture in the archive of previews."""
    return f"{style}.{Format.JPEG.extension}"


def decoding_ms(header: Header) -> int:
    """Return about how many milliseconds of one process decoding takes, whatever the size of the picture."""
    pace = _DECODING_MS_IN_PYTHON.get(header.decoder) or _DECODING_MS.get(header.format, _DECODING_MS_OTHERWISE)
    passes = _DECODING_MS_PER_PASS * max(0, header.passes - 1)
    return round(header.width * header.height / 1e6 * (pace + passes))


def decoding_limit_s(header: Header) -> float:
    """Return more seconds of processor time than decoding takes on any machine: a photo that needs more is a trap."""
    return MIN_DECODING_LIMIT_S + 10 * decoding_ms(header) / 1000


def cost_pixels(header: Header, max_side: int, *, pictures: int = 1) -> int:
    """Return what a conversion counts for: the pixels of its pictures, or of one that takes as long as decoding."""
    decoding = round(decoding_ms(header) / _DRAWING_MS * 1e6)
    return max(pictures * max(MIN_PIXELS, working_pixels((header.width, header.height), max_side)), decoding)


def drawn_pixels(size: tuple[int, int], max_side: int, drawn_at: int | None) -> int:
    """Return the pixels that are drawn for a photo of (width, height), its faces apart; at least `MIN_PIXELS`.

    Where a style is drawn at one size, they are as many for every size of the picture.
    """
    width, height = drawn_size(size, drawn_at) if drawn_at else fit(size, max_side)
    return max(MIN_PIXELS, width * height)


def working_pixels(size: tuple[int, int], max_side: int) -> int:
    """Return the pixels of the picture, for a photo of `size` (width, height)."""
    width, height = fit(size, max_side)
    return width * height
