"""The time of a conversion per stage, by photo size.

The network always draws the same longest side; the stages before it take longer for larger photos.
"""

from dataclasses import dataclass
from io import BytesIO
from statistics import median

import numpy as np
from PIL import Image

from benchmarks import variants
from shared import pipeline
from shared.conversion import Options, Stage
from shared.engines import EngineName
from shared.photos.formats import Format
from shared.settings import Settings
from shared.styles import Style
from shared.telemetry import configure_logs
from worker.capacity import limit_threads
from worker.engines.probe import PHOTO
from worker.subprocess_call import call_in_subprocess

SIZES = ((512, 512), (1024, 1024), (4000, 3000))  # the last is that of a phone
_GRAIN = 4  # levels, as in a phone's photo; without it, an enlarged photo would have too few bytes to decode


@dataclass(frozen=True, slots=True)
class Stages:
    """The medians of the stages for a JPEG of one size, on one thread; `network_share` is that of generating."""

    photo: str
    photo_kb: int
    picture: str
    decode_ms: float
    preprocess_ms: float
    generate_ms: float
    postprocess_ms: float
    encode_ms: float
    network_share: float


def measure(settings: Settings, name: EngineName, style: Style, rounds: int) -> list[Stages]:
    """Convert the photos alternately, `rounds` times each, in a process of their own."""
    limit_threads(1)
    return call_in_subprocess(_measure, settings, name, style, rounds)


def photo(size: tuple[int, int]) -> bytes:
    """Return a JPEG of (width, height) pixels, enlarged from a smaller photo, with grain."""
    with Image.open(PHOTO) as image:
        enlarged = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, _GRAIN, (size[1], size[0], 1)).astype(np.float32)
    buffer = BytesIO()
    Image.fromarray((np.asarray(enlarged) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _measure(settings: Settings, name: EngineName, style: Style, rounds: int) -> list[Stages]:
    configure_logs("ERROR")
    engine = variants.engine_of(settings, name, style, 1)
    options = Options(variants.SIDE, Format.JPEG)
    photos = [photo(size) for size in SIZES]
    turns = [[pipeline.convert(one, options, engine, variants.LIMITS) for one in photos] for _ in range(rounds + 1)]
    warm = turns[1:]
    return [_stages(SIZES[index], photos[index], [turn[index] for turn in warm]) for index in range(len(SIZES))]


def _stages(size: tuple[int, int], data: bytes, pictures: list[pipeline.Picture]) -> Stages:
    ms = {stage: 1000 * median(picture.timings[f"{stage}_s"] for picture in pictures) for stage in Stage}
    return Stages(
        photo=f"{size[0]} x {size[1]}",
        photo_kb=len(data) // 1000,
        picture=f"{pictures[0].width} x {pictures[0].height}",
        **{f"{stage}_ms": round(ms[stage], 1) for stage in Stage},
        network_share=round(ms[Stage.GENERATE] / sum(ms.values()), 3),
    )
