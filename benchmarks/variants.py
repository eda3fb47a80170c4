"""The variants that are compared: the articles' recipe, our bare engines, and our whole pipeline.

Each function is called in the process that draws.
"""

from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageEnhance

from benchmarks.pool import Draw
from shared import pipeline
from shared.conversion import Options
from shared.drawing import Engine, ignore_progress
from shared.engines import EngineName
from shared.photos.decoding import decode
from shared.photos.formats import Format, Limits
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, Style, installed_styles, read_manifest
from worker.engines.base import PLENTY
from worker.engines.probe import PHOTO
from worker.model_loader import loader_for

SIDE = 512  # of the square picture that every variant draws
PHOTO_SIDE = 1024  # of the square photo it is made from
LIMITS = Limits(32 << 20, 64)
RECIPE_STYLE = "hinata-full"  # all AnimeGANv2 weights take the same time
VARIETY = 12  # photos that are drawn in turn


def photo(number: int) -> bytes:
    """Return a JPEG that differs from that of any other number, if only in trailing bytes, which are ignored."""
    return _one_of(number) + b"%d" % number


def recipe(threads: int) -> Draw:
    """The recipe as printed in the articles, whatever our style: AnimeGANv2 with weights of ours.

    TorchScript; the photo squashed to 512 x 512 with LANCZOS; x / 127.5 - 1; and back.
    """
    import torch

    from worker.weights import load_generator

    torch.set_num_threads(threads)
    bundled = {style.name: style for style in read_manifest(BUNDLED_WEIGHTS)}
    example = torch.zeros(1, 3, SIDE, SIDE)
    model = torch.jit.trace(load_generator(bundled[RECIPE_STYLE]), example)  # type: ignore[no-untyped-call]

    def draw(number: int) -> bytes:
        image = Image.open(BytesIO(_one_of(number))).convert("RGB")
        image = image.resize((512, 512), Image.Resampling.LANCZOS)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().unsqueeze(0) / 127.5 - 1
        with torch.no_grad():
            output = model(tensor)[0]
        picture = ((output.permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).byte().numpy()
        buffer = BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=92)
        return buffer.getvalue()

    return draw


def whole(settings: Settings, name: EngineName, style: Style, threads: int) -> Draw:
    """Our pipeline: decode, preprocess, generate, postprocess, encode."""
    engine = engine_of(settings, name, style, threads)
    options = Options(SIDE, Format.JPEG)
    return lambda number: pipeline.convert(_one_of(number), options, engine, LIMITS)


def bare(settings: Settings, name: EngineName, style: Style, threads: int) -> Draw:
    """The engine alone, on prepared tensors."""
    engine = engine_of(settings, name, style, threads)
    photos = (
        decode(BytesIO(_one_of(number)), LIMITS, max_side=SIDE, drawn_at=engine.drawn_at) for number in range(VARIETY)
    )
    drawn = (pipeline.to_draw(photo.rgb, engine, photo.size) for photo in photos)
    tensors = [pipeline.preprocess(rgb, engine)[0] for rgb in drawn]
    return lambda number: engine.generate(tensors[number % VARIETY], ignore_progress)


def style_of(settings: Settings) -> Style:
    return installed_styles(settings.data_dir)[settings.style]


def engine_of(settings: Settings, name: EngineName, style: Style, threads: int) -> Engine:
    """Return this engine and no other, warmed up.

    Raises:
        SakugaError: why it cannot draw this style here.
    """
    chosen = settings.model_copy(update={"engine": name})
    return loader_for(chosen, {style.name: style}, threads=threads, memory=PLENTY).engine(style.name)


def _one_of(number: int) -> bytes:
    return _varied(number % VARIETY)


@cache
def _varied(number: int) -> bytes:
    """Return the photo with a number: rotated, and slightly brighter or darker."""
    with Image.open(PHOTO) as image:
        turned = (
            image.convert("RGB").rotate(90 * (number % 4)).resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BICUBIC)
        )
    changed = ImageEnhance.Brightness(turned).enhance(0.8 + 0.03 * number)
    buffer = BytesIO()
    changed.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
