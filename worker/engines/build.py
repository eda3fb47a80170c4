"""Making artefacts: the model of a style for one engine, and the probe it is checked with. Needs torch."""

import warnings
from pathlib import Path

import torch

from shared.engines import EngineName
from shared.errors import WeightsError
from shared.styles import Style
from worker.engines import probe
from worker.engines.base import PLENTY
from worker.engines.int8 import usable_recipe
from worker.engines.torch_engine import TorchEngine
from worker.generator import AnimeGanV2, LightGenerator
from worker.weights import load_generator

_OPSET = 20


def build(style: Style, name: EngineName, folder: Path) -> None:
    """Write what the engine `name` needs to draw `style` into `folder`.

    Raises:
        WeightsError: the weights cannot be used, or not in this precision.
    """
    generator = load_generator(style)
    if name is EngineName.ONNXRUNTIME:
        _export_onnx(generator, folder)
    else:
        _convert_for_openvino(generator, style, name, folder)
    probe.write_probe(TorchEngine(generator, memory=PLENTY), folder)


def _export_onnx(generator: AnimeGanV2 | LightGenerator, folder: Path) -> None:
    from worker.engines.onnxruntime_engine import MODEL

    with warnings.catch_warnings():  # that this exporter will go some day, and of constants it does not fold
        warnings.simplefilter("ignore")
        torch.onnx.export(
            generator,
            (torch.zeros(1, 3, 64, 96),),
            folder / MODEL,
            input_names=["photo"],
            output_names=["picture"],
            dynamic_axes={name: {2: "height", 3: "width"} for name in ("photo", "picture")},
            opset_version=_OPSET,
            dynamo=False,  # the newer one needs onnxscript
        )


def _convert_for_openvino(generator: AnimeGanV2 | LightGenerator, style: Style, name: EngineName, folder: Path) -> None:
    import openvino

    from worker.engines.openvino_engine import MODEL
    from worker.engines.openvino_model import convert, convolutions, quantise

    model = convert(generator)
    if name.is_quantised:
        recipe = usable_recipe(style)
        if missing := convolutions(model).keys() - recipe.ranges.keys() - set(recipe.higher_precision):
            raise WeightsError(f"The 8-bit recipe of {style.name} is missing {', '.join(sorted(missing))}.")
        quantise(model, recipe.ranges)
    openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
