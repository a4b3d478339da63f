"""Muon for the kernels of convolutions, Adam for everything else.

The step of a kernel, seen as a matrix from its inputs to its outputs, is the nearest orthogonal matrix to the average
of its gradients: all directions are learned at one speed, the weak ones too. Written from K. Jordan et al., "Muon: an
optimizer for hidden layers in neural networks", 2024; PyTorch's own takes matrices alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

LEAST_SIDE = 24
"""Inputs and outputs that a convolution has for its kernel to be a matrix worth turning: first and last layers, which
meet pictures, flows and the like, are Adam's."""
MOMENTUM = 0.95
DECAY = 0.2
"""Of a kernel, times the learning rate, in each step. No singular value then passes 1 / DECAY for long: without it they
grow as long as the run goes on, and residual blocks drown what they are to correct."""
_ROUNDS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether `Muon` takes it for a matrix."""
    return parameter.dim() == 4 and min(parameter.shape[:2]) >= LEAST_SIDE


def orthogonal(matrix: Tensor) -> Tensor:
    """matrix [n, m] -> about the nearest one whose singular values are all 1: between 0.7 and 1.2, by a Newton-Schulz
    iteration that is quick rather than exact."""
    a, b, c = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(_ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide is matrix else x.T


class Muon(torch.optim.Adam):
    """Groups that have `matrices: True` hold kernels, the others what Adam takes; `betas` are Adam's.

    Its state of a kernel is `exp_avg` alone.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__([{"matrices": False, **group} for group in groups], betas=betas)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; the gradients of the kernels are gone after it. A closure is refused."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            if group["matrices"]:
                for kernel in group["params"]:
                    self._turn(kernel, group["lr"])
        super().step()

    def _turn(self, kernel: nn.Parameter, rate: float) -> None:
        if kernel.grad is None:
            return
        state = self.state[kernel]
        if not state:
            state["exp_avg"] = torch.zeros_like(kernel)
        average = state["exp_avg"]
        average.lerp_(kernel.grad, 1 - MOMENTUM)
        ahead = kernel.grad.lerp(average, MOMENTUM).flatten(1)
        # A tall matrix cannot be orthogonal in its rows: a step of the same size for each output all the same.
        size = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        kernel.mul_(1 - rate * DECAY).sub_(orthogonal(ahead).view_as(kernel), alpha=rate * size)
        kernel.grad = None  # for Adam, which passes over it
