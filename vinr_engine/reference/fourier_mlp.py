"""An MLP of Fourier features whose amplitudes and frequencies are read from maps, mixed over neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vinr_engine.reference.mlp import Layer, mlp


def _read(rows: Tensor, index: Tensor, inside: Tensor) -> Tensor:
    """Rows [B, P, D] at [B, N, k] -> [B, N, k, D], zeros outside."""
    B, _, D = rows.shape
    at = torch.where(inside, index, 0).flatten(1)[..., None].expand(-1, -1, D)
    read = rows.gather(1, at).view(B, *index.shape[1:], D) if rows.shape[1] else rows.new_zeros(*index.shape, D)
    return torch.where(inside[..., None], read, 0)


def fourier_mlp(
    coef: Tensor,
    freq: Tensor,
    index: Tensor,
    relative: Tensor,
    phase: Tensor | None,
    layers: Sequence[Layer],
    weights: Tensor | None = None,
    cell: Tensor | None = None,
) -> Tensor:
    """See `vinr_engine.ops.fourier_mlp`; arguments are taken as checked."""
    inside = (index >= 0) & (index < coef.shape[1])
    a, f = _read(coef, index, inside), _read(freq, index, inside)  # [B, N, k, D]
    f_y, f_x = f.chunk(2, -1)
    theta = f_y * relative[..., :1] + f_x * relative[..., 1:]
    if phase is not None:
        theta = theta + (phase if cell is None else cell @ phase.T)[..., None, :].to(theta.dtype)
    theta = math.pi * theta
    out = mlp(a * torch.cat([theta.cos(), theta.sin()], -1), layers, "relu")
    return out[:, :, 0] if weights is None else (out * weights[..., None]).sum(2)
