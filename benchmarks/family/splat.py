"""Softmax splatting, beside a form by `index_add`: BF-STVSR's 130 channels, its 64 when projected before, and RGB."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.family.case import Case, Forms
from vinr_engine import reference
from vinr_engine.ops.splat import splat, splat_sum

H, W = 180, 320


def draw(channels: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """x, flow and metric: motion of up to some ten pixels, smooth but for a third of a pixel."""
    coarse = torch.randn(1, 2, size[0] // 16 + 1, size[1] // 16 + 1) * 4
    flow = F.interpolate(coarse, size, mode="bilinear") + torch.randn(1, 2, *size) * 0.3
    return torch.randn(1, channels, *size), flow, torch.randn(1, 1, *size)


def soft(channels: int, size: tuple[int, int] = (H, W), step: bool = False, memory: str = "nchw") -> Forms:
    x, flow, metric = draw(channels, size)
    if memory == "nhwc":
        x = x.contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(x)

    def run(function: object) -> Tensor | tuple[Tensor, ...]:
        assert callable(function)
        if not step:
            return function(x, flow, metric)  # type: ignore[no-any-return]
        leaves = [t.detach().requires_grad_() for t in (x, flow, metric)]
        return torch.autograd.grad(function(*leaves), leaves, gradient)

    return Forms(lambda: run(reference.splat), lambda: run(splat))


def two_directions(channels: int, size: tuple[int, int]) -> Forms:
    """As BF-STVSR adds both frames' sums before it divides, with the count and the largest weight."""
    both = [(x.contiguous(memory_format=torch.channels_last), flow, metric.exp())
            for x, flow, metric in (draw(channels, size), draw(channels, size))]  # fmt: skip

    def run(function: object) -> tuple[Tensor, ...]:
        assert callable(function)
        first, second = (function(*arguments, count=True, maximum=True) for arguments in both)
        numerator, denominator, count, largest = zip(first, second, strict=True)
        return sum(numerator) / (sum(denominator) + 1e-7), sum(count), torch.maximum(*largest)

    return Forms(lambda: run(reference.splat_sum), lambda: run(splat_sum))


CASES = [
    Case("splat soft 130 channels 180x320", lambda: soft(130), wanted=5),
    Case("splat soft 130 channels 180x320 channels-last", lambda: soft(130, memory="nhwc"), wanted=5),
    Case("splat soft 130 channels 180x320 step", lambda: soft(130, step=True), step=True, tolerance=1e-3),
    Case("splat soft RGB 360x640", lambda: soft(3, (360, 640))),
    Case("splat soft RGB 360x640 step", lambda: soft(3, (360, 640), step=True), step=True, tolerance=1e-3),
    Case("splat_sum two directions 64 channels 180x320", lambda: two_directions(64, (H, W))),
]
