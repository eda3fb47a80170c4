"""Static post-training quantisation: from real photos to the `Int8Recipe` of a style. Needs torch and openvino.

Every second photo calibrates, the others judge. The range of each tensor is the one with the least squared error over
the values that were seen: rounding within it (a uniform error, step^2 / 12) against clipping outside it. Then each
convolution is put into 8 bit alone, and those that cost the picture most for the multiply-adds they save stay out of
it, until the sum of the errors is below the goal.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import openvino
import torch
from openvino import Model
from torch.nn import functional

from shared.drawing import Tensor
from shared.engines import EngineName
from shared.errors import InvalidValueError
from shared.photos.decoding import Rgb
from shared.pipeline import preprocess
from shared.styles import Style
from worker.engines.base import PLENTY
from worker.engines.int8 import Int8Recipe, Quality, Range
from worker.engines.openvino_engine import MODEL, OpenVinoEngine
from worker.engines.openvino_model import compiled, convert, convolutions, multiply_adds, quantise, with_inputs
from worker.engines.probe import draw, psnr_db
from worker.engines.torch_engine import TorchEngine
from worker.weights import load_generator

MIN_PHOTOS: Final = 4
GOAL_DB: Final = 41.0  # against single precision, of the convolutions' errors together
_SAMPLES: Final = 100_000  # values of a tensor, of each photo
_BINS: Final = 4096
_JUDGED: Final = 3  # photos on which layers are compared
_SHRINKS: Final = np.linspace(0.1, 1, 46)

Values = npt.NDArray[np.float32]
StatusCallback = Callable[[str], None]


def make_recipe(style: Style, photos: Sequence[Rgb], report: StatusCallback = lambda _: None) -> Int8Recipe:
    """Calibrate a style on every second photo, (H, W, 3) 8-bit, and measure the loss on the others.

    Raises:
        InvalidValueError: there are too few photos.
        WeightsError: the style's weights cannot be used.
    """
    if len(photos) < MIN_PHOTOS:
        raise InvalidValueError(f"8 bit needs at least {MIN_PHOTOS} photos; give 20 or more.")
    generator = load_generator(style)
    reference = TorchEngine(generator, memory=PLENTY)
    model = convert(generator)
    calibration = [preprocess(photo, reference)[0] for photo in photos[::2]]
    report(f"Calibrating on {len(calibration)} photos")
    ranges = _ranges(model, calibration)
    report(f"Comparing {len(ranges)} convolutions")
    kept = _sensitive(model, ranges, calibration[:_JUDGED])
    for name in kept:
        del ranges[name]
    report(f"Evaluating on {len(photos[1::2])} other photos")
    quality = _quality(quantise(model, ranges), reference, style, photos[1::2])
    return Int8Recipe(
        weights_sha256=style.sha256,
        photos=len(calibration),
        higher_precision=kept,
        quality=quality,
        ranges=ranges,
    )


def best_range(values: Values, lowest: float, highest: float) -> Range:
    """The range of 256 levels with the least squared error over `values`, which lie in lowest..highest."""
    counts, edges = np.histogram(values, _BINS, (lowest, highest))
    middles, share = (edges[1:] + edges[:-1]) / 2, counts / counts.sum()
    lows = lowest * _SHRINKS if lowest < 0 else np.zeros(1)
    best = (np.inf, lowest, highest)
    for low in lows:
        for high in highest * _SHRINKS:
            beyond = np.maximum(low - middles, 0) + np.maximum(middles - high, 0)
            rounding = ((high - low) / 255) ** 2 / 12
            error = float((share * np.where(beyond > 0, beyond**2, rounding)).sum())
            best = min(best, (error, float(low), float(high)))
    return best[1], best[2]


def ssim(picture: Rgb, reference: Rgb) -> float:
    """Mean structural similarity of 8-bit pictures over 7x7 windows and the colours (Wang et al. 2004, unweighted)."""
    pair = (torch.from_numpy(one.astype(np.float64).transpose(2, 0, 1)) for one in (picture, reference))
    first, second = pair
    count = 7 * 7

    def mean(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, 7, stride=1)

    unbiased = count / (count - 1)
    mean_1, mean_2 = mean(first), mean(second)
    variance_1 = (mean(first * first) - mean_1**2) * unbiased
    variance_2 = (mean(second * second) - mean_2**2) * unbiased
    covariance = (mean(first * second) - mean_1 * mean_2) * unbiased
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similar = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return float((similar / ((mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2))).mean())


def _ranges(model: Model, photos: Sequence[Tensor]) -> dict[str, Range]:
    names = list(convolutions(model))
    run = compiled(with_inputs(model, names))
    seen: dict[str, list[Values]] = {name: [] for name in names}
    extremes = dict.fromkeys(names, (0.0, 0.0))
    for photo in photos:
        outputs = run(photo)
        for index, name in enumerate(names):
            values = outputs[index].ravel()
            seen[name].append(values[:: max(1, values.size // _SAMPLES)].copy())
            low, high = extremes[name]
            extremes[name] = min(low, float(values.min())), max(high, float(values.max()))
    return {name: best_range(np.concatenate(seen[name]), *extremes[name]) for name in names}


def _sensitive(model: Model, ranges: Mapping[str, Range], photos: Sequence[Tensor]) -> tuple[str, ...]:
    """The convolutions to keep out of 8 bit: idle ones, then the one that costs most for what it saves first."""
    kept = [name for name, (low, high) in ranges.items() if low == high]  # another photo may wake them
    awake = {name: limits for name, limits in ranges.items() if name not in kept}
    wanted = [_levels(compiled(model)(photo)[0]) for photo in photos]
    errors = {name: _error(quantise(model.clone(), {name: limits}), photos, wanted) for name, limits in awake.items()}
    sized = model.clone()
    sized.reshape(list(photos[0].shape))
    work = {name: multiply_adds(node) for name, node in convolutions(sized).items()}
    goal = 255**2 / 10 ** (GOAL_DB / 10)
    for name in sorted(errors, key=lambda name: -errors[name] / work[name]):
        if sum(errors.values()) <= goal:
            break
        kept.append(name)
        errors[name] = 0.0
    return tuple(kept)


def _error(model: Model, photos: Sequence[Tensor], wanted: Sequence[Values]) -> float:
    run = compiled(model)
    found = (_levels(run(photo)[0]) for photo in photos)
    return float(np.mean([np.mean((one - other) ** 2) for one, other in zip(found, wanted, strict=True)]))


def _levels(generated: Tensor) -> Values:
    return (generated.clip(-1, 1) + np.float32(1)) * np.float32(127.5)


def _quality(model: Model, reference: TorchEngine, style: Style, photos: Sequence[Rgb]) -> Quality:
    """Measure as the service draws: pictures of the engine against pictures of the reference."""
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder, MODEL), compress_to_fp16=False)
        engine = OpenVinoEngine(
            Path(folder), style.size, EngineName.OPENVINO_INT8, threads=torch.get_num_threads(), memory=PLENTY
        )
        pairs = [(draw(engine, photo), draw(reference, photo)) for photo in photos]
    psnrs, ssims = ([measure(*pair) for pair in pairs] for measure in (psnr_db, ssim))
    return Quality(
        photos=len(photos),
        psnr_db=round(float(np.mean(psnrs)), 2),
        ssim=round(float(np.mean(ssims)), 4),
        worst_psnr_db=round(min(psnrs), 2),
        worst_ssim=round(min(ssims), 4),
    )
