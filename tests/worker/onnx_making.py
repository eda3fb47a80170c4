"""AnimeGANv2 as ONNX in the form in which its authors publish it: converted by tf2onnx from TensorFlow 1.

Norms are spelled out, gammas and betas have the shape (1, C, 1, 1), a beta is what something is subtracted from, and
no name tells what a tensor is.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper, save

Tensors = dict[str, torch.Tensor]
Array = npt.NDArray[np.float32]


class Chain:
    """The nodes and constants so far; operations return the name of their output."""

    def __init__(self, tensors: Tensors) -> None:
        self._left = iter(tensors.values())  # in the order in which they are used
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operation: str, *inputs: str, **attributes: float | str | list[int]) -> str:
        output = f"node_{len(self.nodes)}"
        node = helper.make_node(operation, inputs, [output])
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output

    def constant(self, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(value, f"const_fold_opt__{len(self.constants)}"))
        return self.constants[-1].name

    def next_tensor(self) -> Array:
        return next(self._left).numpy()

    def convolution(self, photo: str, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> str:
        before = kernel // 2 if stride == 1 else 0
        pads = [0, 0, before, before, 0, 0, kernel // 2, kernel // 2]
        padded = self.add("Pad", photo, mode="reflect", pads=pads) if kernel > 1 else photo
        weights = [self.constant(self.next_tensor())]
        if groups > 1:
            weights.append(self.constant(self.next_tensor()))
        return self.add("Conv", padded, *weights, group=groups, kernel_shape=[kernel] * 2, strides=[stride] * 2)

    def norm(self, features: str) -> str:
        gamma, beta = (self.constant(self.next_tensor().reshape(1, -1, 1, 1)) for _ in range(2))
        mean = self.add("ReduceMean", features, axes=[1, 2, 3])
        difference = self.add("Sub", features, mean)
        variance = self.add("ReduceMean", self.add("Mul", difference, difference), axes=[1, 2, 3])
        deviation = self.add("Sqrt", self.add("Add", variance, self.constant(np.full((1, 1, 1, 1), 1e-5, np.float32))))
        factor = self.add("Mul", self.add("Reciprocal", deviation), gamma)
        shift = self.add("Sub", beta, self.add("Mul", mean, factor))
        return self.add("Add", self.add("Mul", features, factor), shift)

    def block(self, features: str, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> str:
        return self.rectified(self.norm(self.convolution(features, kernel=kernel, stride=stride, groups=groups)))

    def rectified(self, features: str) -> str:
        return self.add("LeakyRelu", features, alpha=0.2)

    def residual(self, features: str, *, wide: int, is_added: bool) -> str:
        inner = self.block(self.block(features, kernel=1), groups=wide)
        inner = self.norm(self.convolution(inner, kernel=1))
        return self.add("Add", features, inner) if is_added else inner

    def doubled(self, features: str) -> str:
        return self.add("Upsample", features, self.constant(np.array([1, 1, 2, 2], np.float32)), mode="linear")


def write_as_tensorflow(tensors: Tensors, path: Path) -> Path:
    """Write the tensors of an AnimeGANv2 as such a file, which maps `photo` (1, 3, H, W) to `picture`."""
    chain = Chain(tensors)
    features = chain.block("photo", kernel=7)
    for stride in (2, 1, 2, 1, 1):
        features = chain.block(features, stride=stride)
    features = chain.residual(features, wide=256, is_added=False)
    for _ in range(3):
        features = chain.residual(features, wide=512, is_added=True)
    features = chain.doubled(chain.block(features))
    features = chain.doubled(chain.block(chain.block(features)))
    features = chain.block(chain.block(chain.block(features)), kernel=7)
    chain.nodes.append(helper.make_node("Tanh", [chain.convolution(features, kernel=1)], ["picture"]))
    sides = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "height", "width"])
        for name in ("photo", "picture")
    ]
    graph = helper.make_graph(chain.nodes, "tf2onnx", sides[:1], sides[1:], chain.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], producer_name="tf2onnx", ir_version=4)
    save(model, path)
    return path
