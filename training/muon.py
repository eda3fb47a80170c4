"""The Muon optimiser, for the weights of convolutions."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# A quintic whose iteration drives singular values towards 1. Source: Jordan et al., "Muon" (2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Steps along the momentum with its singular values made about equal, so that rare directions are learned as well.

    PyTorch's own accepts matrices only; here a convolution's (outputs, inputs, height, width) counts as a matrix of
    `outputs` rows. Steps are as large as AdamW's usually are at the same rate. Sources: Jordan et al., "Muon" (2024);
    Liu et al., "Muon is scalable for LLM training" (2025).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no closure: the gradients are there already
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    direction = self._direction(parameter, parameter.grad, group["momentum"])
                    parameter.add_(direction, alpha=-group["lr"])

    def _direction(self, parameter: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(gradient)
        average = state["average"].lerp_(gradient, 1 - momentum)
        matrix = gradient.lerp(average, momentum).flatten(1)
        return orthogonalised(matrix).view(parameter.shape) * (0.2 * math.sqrt(max(matrix.shape)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """Bring the singular values of a (rows, columns) matrix to about 0.5 to 1.5 by Newton-Schulz iteration.

    Those below about a thousandth of the largest stay smaller. The iteration runs in bfloat16, which is precise enough
    for a direction.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if tall else matrix
    wide = (wide / (wide.norm() + 1e-12)).bfloat16()
    linear, cubic, quintic = QUINTIC
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), wide, beta=linear)
    found = wide.to(matrix.dtype)
    return found.T if tall else found
