"""Reading AnimeGANv2's tensors from an ONNX file, of which nothing is run.

Exporters name tensors as they like, rewrite norms and lay out their tensors anew. But AnimeGANv2 is a chain: whoever
exported it, the convolutions follow each other in one order, and the scale and the shift of a convolution's norm are
used before the next convolution. So tensors are found by their place, and checked by their shapes.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, load_model_from_string
from onnx.external_data_helper import uses_external_data
from onnx.numpy_helper import to_array
from torch import Tensor, nn

from shared.errors import WeightsError
from worker.generator import Upsample

Array = npt.NDArray[np.float32]

_MAX_BYTES: Final = 16 << 20  # AnimeGANv2 has 9 MB; a byte of a hostile file can become a hundred in memory
_MAX_NODES: Final = 10_000  # AnimeGANv2 has 500
_ANOTHER: Final = "This ONNX file is for another architecture, or quantised; only AnimeGANv2 is supported."
_AS_GIVEN: Final = {"Identity", "Cast", "Squeeze", "Unsqueeze"}  # for the elements of a vector
_UPSAMPLES: Final = {
    b"align_corners": Upsample.ALIGN_CORNERS,
    b"half_pixel": Upsample.HALF_PIXEL,
    b"pytorch_half_pixel": Upsample.HALF_PIXEL,
    b"asymmetric": Upsample.ASYMMETRIC,
}
_FIRST_WITH_MODES: Final = 11  # the version of ONNX's operators from which on there are others than asymmetric


def read_onnx(file: Path, generator: nn.Module) -> dict[str, Tensor]:
    """Read the tensors of `generator`, an AnimeGANv2, by the names that it has for them.

    Raises:
        WeightsError: the file has another architecture, or keeps its tensors elsewhere.
        ValueError: it is damaged.
    """
    wanted, found = _names(generator), _used(_read(file).graph)
    tensors = {}
    for names, arrays in zip(wanted, found, strict=False):
        for name, (is_factor, array) in zip(names, arrays, strict=False):
            if is_factor == name.endswith("weight"):
                tensors[name] = torch.from_numpy(array)
    if list(map(len, wanted)) != list(map(len, found)) or tensors.keys() != generator.state_dict().keys():
        raise WeightsError(_ANOTHER)
    return tensors


def read_upsample(file: Path) -> Upsample | None:
    """Return how the graph enlarges; None if it does so in no way that is known.

    Raises:
        WeightsError, ValueError: as `read_onnx`.
    """
    model = _read(file)
    version = max((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), default=0)
    found = {_upsample(node, version) for node in model.graph.node if node.op_type in {"Resize", "Upsample"}}
    return found.pop() if len(found) == 1 else None


def _upsample(node: NodeProto, version: int) -> Upsample | None:
    attributes = {attribute.name: attribute.s for attribute in node.attribute}
    if attributes.get("mode") != b"linear":
        return None
    if version < _FIRST_WITH_MODES:
        return Upsample.ASYMMETRIC
    return _UPSAMPLES.get(attributes.get("coordinate_transformation_mode", b"half_pixel"))


def _read(file: Path) -> ModelProto:
    if file.stat().st_size > _MAX_BYTES:
        raise WeightsError(_ANOTHER)
    try:
        model = load_model_from_string(file.read_bytes())
    except DecodeError as error:
        raise ValueError("no ONNX") from error
    if len(model.graph.node) > _MAX_NODES:
        raise WeightsError(_ANOTHER)
    return model


def _names(generator: nn.Module) -> list[list[str]]:
    """The names of each convolution's tensors and, where a norm follows, of its scale and shift, in order of use."""
    layers: list[list[str]] = []
    for name, value in generator.state_dict().items():
        if value.ndim == 4:  # noqa: PLR2004  the kernel of a convolution
            layers.append([])
        layers[-1].append(name)
    return layers


def _used(graph: GraphProto) -> list[list[tuple[bool, Array]]]:
    """Return what the graph multiplies with (True) and adds, of as many elements as a convolution has outputs.

    One list for each convolution, in the order in which they are used. What a graph does with vectors of other
    lengths, such as the sizes of pictures, is none of the weights' business.
    """
    constants = _Constants(graph)
    layers: list[list[tuple[bool, Array]]] = []
    for node in graph.node:
        inputs = [constants.get(name) for name in node.input]
        if node.op_type == "Conv":
            _, kernel, *biases = inputs
            if kernel is None:
                raise WeightsError(_ANOTHER)
            layers.append([(True, kernel), *((False, bias) for bias in biases if bias is not None)])
        elif node.op_type in {"Mul", "Add", "Sub"} and layers:
            outputs = len(layers[-1][0][1])
            operands = inputs[:1] if node.op_type == "Sub" else inputs  # a shift is what something is taken from
            vectors = [array.reshape(-1) for array in operands if array is not None and array.size == outputs]
            layers[-1] += [(node.op_type == "Mul", vector) for vector in vectors]
    return layers


class _Constants:
    """The values of a graph that do not depend on the photo, each read once."""

    def __init__(self, graph: GraphProto) -> None:
        self._stored = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._known: dict[str, Array | None] = {}

    def get(self, name: str) -> Array | None:
        """Return a value; None if it is none of those."""
        if name not in self._known:
            stored = self._stored.get(name)
            self._known[name] = _array(stored) if stored else self._made(name)
        return self._known[name]

    def _made(self, name: str) -> Array | None:
        node = self._makers.get(name)
        if node is None:
            return None
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Constant" and "value" in attributes:
            return _array(attributes["value"].t)
        if node.op_type in _AS_GIVEN:
            return self.get(node.input[0])
        if node.op_type == "Transpose" and (source := self.get(node.input[0])) is not None:
            return source.transpose(tuple(attributes["perm"].ints))
        return None


def _array(tensor: TensorProto) -> Array:
    if uses_external_data(tensor):
        raise WeightsError("This ONNX file keeps its tensors in another file; save it as one file.")
    return np.array(to_array(tensor), np.float32)
