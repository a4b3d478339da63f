"""Which input pixel is nearest to an output pixel along one axis, as BF-STVSR and MoTIF find it."""

from __future__ import annotations

import torch
from torch import Tensor

TIE = 1e-6  # in half pictures: places on the border of two pixels go to the second


def _centres(out: int, device: torch.device | None) -> Tensor:
    """The centres of `out` pixels, in [-1, 1]. In float64 whatever else is computed in: a pixel decides."""
    return (torch.arange(out, device=device, dtype=torch.float64) * 2 + 1) / out - 1


def nearest_index(out: int, n: int, device: torch.device | None = None) -> Tensor:
    """[out] whole numbers: of each of `out` pixels along an axis, the nearest of the `n` pixels of the input.

    k = floor((min(c + 1e-6, 1 - 1e-6) + 1) n / 2) of the centre c = (2 i + 1) / out - 1. 1e-6 decides ties; it moves
    pixels that are no ties only where n out > 10^6, at scales that are not whole.
    """
    return torch.floor((torch.clamp(_centres(out, device) + TIE, max=1 - TIE) + 1) * n / 2).long()


def relative_position(out: int, n: int, device: torch.device | None = None) -> Tensor:
    """[out] in float64: where in its nearest pixel's each of `out` pixels lies, in half input pixels, in [-1, 1)."""
    return (_centres(out, device) - ((2 * nearest_index(out, n, device).double() + 1) / n - 1)) * n
