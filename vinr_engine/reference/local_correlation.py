"""Local correlation of two maps, in plain torch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def offsets(radius: int, time: float) -> list[tuple[int, int, int, int]]:
    """For each displacement (dy, dx), rows first: how far back it is in the first map and ahead in the second."""
    steps = range(-radius, radius + 1)
    # Halves go up, as floor(t d + 1/2).
    back = {d: math.floor(time * d + 0.5) for d in steps}
    return [(back[dy], back[dx], dy - back[dy], dx - back[dx]) for dy in steps for dx in steps]


def local_correlation(first: Tensor, second: Tensor, times: Tensor, radius: int) -> Tensor:
    """See `vinr_engine.ops.local_correlation`."""
    B, _, h, w = first.shape
    r = radius
    if first.numel() == 0:
        nothing = first.sum() + second.sum()  # of which a gradient can be asked
        return nothing.expand(B, (2 * r + 1) ** 2, h, w)
    first, second = (F.pad(m, (r, r, r, r)) for m in (first, second))
    found = []
    for a, b, t in zip(first, second, times.tolist(), strict=True):
        products = [
            a[:, r - ay : r - ay + h, r - ax : r - ax + w] * b[:, r + by : r + by + h, r + bx : r + bx + w]
            for ay, ax, by, bx in offsets(r, t)
        ]
        found.append(torch.stack(products).mean(1))
    return torch.stack(found)
