"""The options, cost, result key and stages of a conversion: all that is known without running it.

`shared.pipeline` runs it.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from shared.photos.formats import Format
from shared.photos.sizes import fit

VERSION = 5  # of the pipeline's output for the same photo and weights; part of a result's key


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


@dataclass(frozen=True, slots=True)
class Options:
    """The user's choices: the longest side in pixels (16..2048) and the format of the picture."""

    max_side: int
    format: Format


def result_digest(photo_sha256: str, weights_sha256: str, options: Options) -> str:
    """The identity of a result: the same photo, weights, options and pipeline give the same picture."""
    parts = (photo_sha256, weights_sha256, str(options.max_side), options.format.value, str(VERSION))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def working_pixels(size: tuple[int, int], max_side: int) -> int:
    """Return the cost of a conversion: the pixels of the picture, for a photo of `size` (width, height)."""
    width, height = fit(size, max_side)
    return width * height
