"""A linear function of the pixel that holds a place, by where in it the place lies; in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from vinr_engine.reference.sampling import axis_grid


def phases(n_in: int, n_out: int) -> int:
    """How many different places in its input pixel an output pixel's centre has, along an axis."""
    divisor, rest = n_out, n_in
    while rest != 0:  # torch.compile does not take math.gcd of sizes that it keeps open
        divisor, rest = rest, divisor % rest
    return n_out // divisor


def phase_linear(maps: Tensor, weights: Tensor, size: tuple[int, int], base: Tensor | None = None) -> Tensor:
    """See `vinr_engine.ops.phase_linear`."""
    B, K = maps.shape[:2]
    Py, Px, C, _ = weights.shape
    rows, columns = (
        axis_grid(n, m, maps.dtype, maps.device).nearest for n, m in zip(maps.shape[-2:], size, strict=True)
    )
    read = maps.index_select(2, rows).index_select(3, columns)
    read = read.view(B, K, size[0] // Py, Py, size[1] // Px, Px)
    out = torch.einsum("bkypxq,pqck->bcypxq", read, weights.to(maps.dtype)).reshape(B, C, *size)
    return out if base is None else out + base
