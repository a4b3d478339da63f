"""The losses of the published recipe, each a sum or a mean over everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reduction = Literal["sum", "mean"]
Loss = Callable[[Tensor, Tensor, Reduction], Tensor]
LAPLACIAN_LEVELS = 5


def charbonnier(output: Tensor, target: Tensor, reduction: Reduction = "sum") -> Tensor:
    """sqrt(d^2 + 1e-6) of the difference d."""
    return _reduce((((output - target) ** 2) + 1e-6).sqrt(), reduction)


def l1(output: Tensor, target: Tensor, reduction: Reduction = "sum") -> Tensor:
    """|d|"""
    return _reduce((output - target).abs(), reduction)


def l2(output: Tensor, target: Tensor, reduction: Reduction = "sum") -> Tensor:
    """d^2"""
    return _reduce((output - target) ** 2, reduction)


def laplacian(output: Tensor, target: Tensor, reduction: Reduction = "sum", levels: int = LAPLACIAN_LEVELS) -> Tensor:
    """The sum over the levels of a Laplacian pyramid of the mean absolute difference; [..., 3, H, W].

    It is a mean by its definition: with reduction "sum" it is taken as many times as there are values, so that its size
    is that of the other sums. Sides below 2^levels stop the pyramid early.
    """
    pyramids = [_laplacian_pyramid(x.flatten(0, -4), levels) for x in (output, target)]
    mean = torch.stack([(a - b).abs().mean() for a, b in zip(*pyramids, strict=True)]).sum()
    return mean * output.numel() if reduction == "sum" else mean


def _reduce(values: Tensor, reduction: Reduction) -> Tensor:
    return values.sum() if reduction == "sum" else values.mean()


def _blur(x: Tensor) -> Tensor:
    """5x5, proportional to exp(-i^2/4) + exp(-j^2/4), edges replicated."""
    line = torch.exp(-(torch.arange(-2, 3, dtype=x.dtype, device=x.device) ** 2) / 4)
    kernel = line[:, None] + line
    weight = (kernel / kernel.sum()).expand(x.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), weight, groups=x.shape[1])


def _laplacian_pyramid(x: Tensor, levels: int) -> list[Tensor]:
    pyramid = []
    for _ in range(levels):
        if min(x.shape[-2:]) < 2:
            break
        low = _blur(x)
        pyramid.append(x - low)
        x = F.avg_pool2d(low, 2)
    return [*pyramid, x]


LOSSES: dict[str, Loss] = {"charbonnier": charbonnier, "l1": l1, "l2": l2, "laplacian": laplacian}
