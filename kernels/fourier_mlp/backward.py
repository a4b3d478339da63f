"""Gradients of fourier_mlp: sines once more as rows, the network backwards, and from rows to what they were made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from vinr_engine.kernels.common.gradients import ROWS, chunk_of, mlp_gradients
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.fourier_mlp import rows as kernels
from vinr_engine.kernels.fourier_mlp.launch import row_arguments, row_outputs


def fourier_mlp_backward(
    grad: Tensor,
    coef: Tensor,
    freq: Tensor,
    index: Tensor,
    relative: Tensor,
    phase: Tensor,
    cell: Tensor | None,
    layers: Sequence[Tensor],
    weights: Tensor | None,
    wanted: Sequence[bool],
    operands: str,
    d_coef: Tensor,
    d_freq: Tensor,
    d_relative: Tensor,
    d_phase: Tensor,
    d_cell: Tensor,
    d_layers: Tensor,
    d_weights: Tensor,
) -> None:
    """The arguments of the torch op's backward op, and its results to fill; all is computed in float32."""
    for gradient in (d_coef, d_freq, d_relative, d_phase, d_cell, d_layers, d_weights):
        gradient.zero_()
    B, N, k = index.shape
    if index.numel() == 0:
        return
    D = coef.shape[2]
    grad = grad.detach().float()
    given = coef, freq, index, relative, phase, cell
    if wanted[5]:
        of_rows = row_outputs(*given, layers, operands).view(B, N, k, -1)
        d_weights.copy_(torch.einsum("bno,bnko->bnk", grad, of_rows))
    if not any(wanted[:5]):
        return
    tensors, sizes, constants = row_arguments(*given)
    grid, more = (triton.cdiv(index.numel(), ROWS),), dict(M=ROWS, C=chunk_of(D // 2), num_warps=4, **OPTIONS)
    x = grad.new_empty(index.numel(), D)
    kernels.fourier_rows[grid](*tensors, x, *sizes, **constants, **more)
    of_each = grad[:, :, None].expand(-1, -1, k, -1)
    if weights is not None:
        of_each = of_each * weights.detach().float()[..., None]
    _, d, flat = mlp_gradients(
        of_each.reshape(index.numel(), -1).contiguous(), None, x, layers, "relu", 1.0, operands, wants_sums=False,
        wants_x=any(wanted[:4]),
    )  # fmt: skip
    if wanted[4]:
        d_layers.copy_(flat)
    if d is None:
        return
    d_theta = x.new_empty(index.numel(), D // 2)
    kernels.fourier_rows_backward[grid](
        d, *tensors, d_theta, d_relative if wanted[1] else d_theta, *sizes, WANTS_RELATIVE=wanted[1], **constants,
        **more,
    )  # fmt: skip
    if wanted[0]:
        # Rows outside have gradients of zero. index_add_ has one order where torch must be deterministic.
        pixels = coef.shape[1]
        inside = (index >= 0) & (index < pixels)
        base = torch.arange(B, device=index.device)[:, None, None] * pixels
        to = (torch.where(inside, index, 0) + base).flatten()
        if pixels > 0:
            at = relative.detach().reshape(-1, 2).float()
            d_coef.view(-1, D).index_add_(0, to, d)
            d_freq.view(-1, D).index_add_(0, to, torch.cat([d_theta * at[:, :1], d_theta * at[:, 1:]], 1))
    of_points = d_theta.view(B, N, k, -1).sum(2)
    if wanted[2]:
        d_phase.copy_(
            of_points.sum((0, 1))[:, None] if cell is None
            else torch.einsum("bnm,bnx->mx", of_points, cell.detach().float().expand(B, N, -1))
        )  # fmt: skip
    if wanted[3]:
        d_cell.copy_(of_points @ phase.detach().float())
