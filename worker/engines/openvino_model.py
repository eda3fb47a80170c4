"""From a generator to an OpenVINO model, in the form that its CPU plugin runs fastest, and from there to 8 bit.

Converting the torch module keeps one description of the network. Two rewrites follow, both exact:

* GroupNorm over one group becomes MVN over channels, rows and columns, times a scale, plus a shift. The plugin's own
  decomposition flattens the picture, so it turned every tensor to planar layout and back around every norm.
* With `ranges`, each convolution gets its input and its weights through FakeQuantize, which the plugin turns into 8-bit
  arithmetic. Inputs are quantised before they are padded, so padding moves bytes.
"""

import math
import re
import warnings
from collections.abc import Collection, Mapping, Sized

import numpy as np
import numpy.typing as npt
import openvino
import torch
from openvino import Model, Node, Output
from openvino import opset13 as ops
from torch import nn

from shared.errors import EngineError, WeightsError
from worker.engines.int8 import Range
from worker.engines.openvino_core import core
from worker.generator import AnimeGanV2, LightGenerator

_LAYER = re.compile(r"__module\.([\w.]+)/aten::_convolution")
_NORM = "GroupNormalization"
_CONVOLUTIONS = {"Convolution", "GroupConvolution"}
_INPUT_LEVELS, _WEIGHT_LEVELS = 256, 255  # symmetric weights leave one level unused


def convert(generator: AnimeGanV2 | LightGenerator) -> Model:
    """Convert a generator; the model maps (1, 3, H, W) to the same shape, any H and W the generator takes.

    Raises:
        EngineError: this version of OpenVINO describes the network in a way that is not known here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the converter traces, which torch will drop some day, and sizes are traced too
        model = openvino.convert_model(generator, example_input=torch.zeros(1, 3, 64, 64))
    norms = [node for node in model.get_ordered_ops() if node.get_type_name() == _NORM]
    _require_as_many("norms", norms, generator, nn.GroupNorm)
    _require_as_many("convolutions", convolutions(model), generator, nn.Conv2d)
    for norm in norms:
        _spell_out(norm)
    model.reshape([1, 3, -1, -1])
    return model


def quantise(model: Model, ranges: Mapping[str, Range]) -> Model:
    """Put the convolutions that `ranges` names into 8 bit.

    Inputs are asymmetric per tensor, weights symmetric per channel.

    Raises:
        WeightsError: the model has no convolution of such a name.
    """
    inputs: dict[tuple[str, int], Output] = {}
    layers = convolutions(model)
    if unknown := sorted(ranges.keys() - layers.keys()):
        raise WeightsError(f"There are 8-bit ranges for unknown convolutions: {', '.join(unknown)}.")
    for name in ranges:
        _quantise_input(layers[name], ranges[name], inputs)
        _quantise_weights(layers[name])
    model.validate_nodes_and_infer_types()
    return model


def convolutions(model: Model) -> dict[str, Node]:
    """The convolutions of a converted model by the name of their torch module, in the order in which they run."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in _CONVOLUTIONS and (match := _LAYER.match(node.get_friendly_name())):
            found[match[1]] = node
    return found


def with_inputs(model: Model, names: Collection[str]) -> Model:
    """A model whose outputs are the inputs of the named convolutions, before padding, in their order."""
    layers = convolutions(model)
    inputs = [_taker(layers[name]).input_value(0) for name in names]
    return Model([ops.result(tensor) for tensor in inputs], model.get_parameters(), "inputs")


def compiled(model: Model) -> openvino.CompiledModel:
    """A model ready to run here in single precision."""
    return core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def multiply_adds(node: Node) -> int:
    """Multiply-adds of a convolution, in a model of one size of picture."""
    height, width = node.output(0).get_shape()[2:]
    return int(math.prod(node.input_value(1).get_shape()) * height * width)


def _require_as_many(what: str, found: Sized, generator: nn.Module, kind: type[nn.Module]) -> None:
    """A rewrite that finds nothing to rewrite would be slow, or not 8 bit at all, and nobody would notice."""
    wanted = sum(isinstance(module, kind) for module in generator.modules())
    if len(found) != wanted:
        raise EngineError(f"OpenVINO found {len(found)} {what} where the network has {wanted}.")


def _spell_out(norm: Node) -> None:
    features, scale, shift = norm.input_values()
    if norm.get_attributes()["num_groups"] != 1:
        raise ValueError("only a norm over the whole picture can be rewritten")
    axes = ops.constant(np.array([1, 2, 3], np.int64))
    even = ops.mvn(features, axes, True, norm.get_attributes()["epsilon"], "INSIDE_SQRT")  # noqa: FBT003  by position alone
    scaled = ops.multiply(even, ops.constant(_per_channel(scale)))
    norm.output(0).replace(ops.add(scaled, ops.constant(_per_channel(shift))).output(0))


def _per_channel(constant: Output) -> npt.NDArray[np.float32]:
    return np.array(constant.get_node().data, np.float32).reshape(1, -1, 1, 1)


def _taker(convolution: Node) -> Node:
    """Return the node that receives the input of a convolution: the padding before it, if there is one."""
    source = convolution.input_value(0).get_node()
    return source if source.get_type_name() == "Pad" else convolution


def _quantise_input(node: Node, limits: Range, inputs: dict[tuple[str, int], Output]) -> None:
    """Quantise what goes into a convolution, once for all that take the same tensor."""
    taker = _taker(node)
    tensor = taker.input_value(0)
    key = (tensor.get_node().get_friendly_name(), tensor.get_index())
    if key not in inputs:
        low, high = (np.float32(limit) for limit in limits)
        inputs[key] = ops.fake_quantize(tensor, low, high, low, high, _INPUT_LEVELS).output(0)
    taker.input(0).replace_source_output(inputs[key])


def _quantise_weights(node: Node) -> None:
    weights = _constant(node.input_value(1))
    own_axes = 1 if node.get_type_name() == "Convolution" else 2  # a depthwise kernel: (groups, outputs, inputs, y, x)
    largest = np.abs(weights).max(axis=tuple(range(own_axes, weights.ndim)), keepdims=True)
    largest[largest == 0] = 1
    quantised = ops.fake_quantize(ops.constant(weights), -largest, largest, -largest, largest, _WEIGHT_LEVELS)
    node.input(1).replace_source_output(quantised.output(0))


def _constant(output: Output) -> npt.NDArray[np.float32]:
    """The values of a constant, or of one that is only reshaped."""
    folded = Model([ops.result(output)], [], "constant")
    return np.array(compiled(folded)([])[0], np.float32)
