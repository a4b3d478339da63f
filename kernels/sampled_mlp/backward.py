"""Gradients of sampled_mlp: samples once more, the network backwards, and its gradients scattered into the maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vinr_engine.kernels.common.gradients import Source, add_samples, mlp_gradients, scatter
from vinr_engine.kernels.sampled_mlp.launch import first_layer


def sampled_mlp_backward(
    grad: Tensor,
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    nearest: Sequence[bool],
    x: Tensor | None,
    x_weight: Tensor | None,
    bias: Tensor | None,
    layers: Sequence[Tensor],
    activation: str,
    omega: float,
    wanted: Sequence[bool],
    operands: str,
    d_maps: Sequence[Tensor],
    d_positions: Sequence[Tensor],
    d_x: Tensor,
    d_weights: Tensor,
) -> None:
    """The arguments of the torch op's backward op, and its results to fill; all is computed in float32."""
    B, N, outputs = grad.shape
    tensors = [*first_layer(maps, x_weight, bias), *layers]
    D = len(tensors[0])
    for gradient in (*d_maps, *d_positions, d_x, d_weights):
        gradient.zero_()
    if B * N == 0:
        return
    sources = [Source(m.detach().contiguous(), 0, D, N) for m in maps]
    rows = [p.detach().float().reshape(B * N, 2).contiguous() for p in positions]
    sums = torch.empty(B * N, D if maps else 0, device=grad.device)
    for i, source in enumerate(sources):
        add_samples(source, rows[i], sums, 0, add=i > 0, nearest=nearest[i])
    d_sums, of_x, of_weights = mlp_gradients(
        grad.detach().float().reshape(B * N, outputs).contiguous(), sums if maps else None,
        None if x is None else x.detach().float().reshape(B * N, -1).contiguous(), tensors, activation, omega,
        operands, wants_sums=bool(maps), wants_x=wanted[2],
    )  # fmt: skip
    for i, source in enumerate(sources):
        moves = wanted[1] and not nearest[i]
        if d_sums is not None and (wanted[0] or moves):
            d_at = scatter(source, rows[i], d_sums, 0, d_maps[i] if wanted[0] else None, moves, nearest=nearest[i])
            if moves:
                d_positions[i].copy_(d_at.view(B, N, 2))
    if of_x is not None and d_x.numel() > 0:
        d_x.copy_(of_x.view(d_x.shape))
    if wanted[3]:
        d_weights.copy_(of_weights)
