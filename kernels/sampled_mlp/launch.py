"""sampled_mlp: the launch of its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vinr_engine.kernels.common.launch import (
    OPERANDS,
    arithmetic,
    capability_of,
    new_scratch,
    programs,
    scratch_columns,
    sine_constants,
    stages,
)
from vinr_engine.kernels.common.packing import Layer, Split, pack, plan
from vinr_engine.kernels.common.runtime import INTERPRETED, passes_32_bits
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.sampled_mlp import forward


def first_layer(maps: Sequence[Tensor], x_weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weight [D, X] and bias of the first layer, with no columns and zeros where they are not given."""
    if x_weight is None:
        x_weight = maps[0].new_empty(maps[0].shape[3], 0)
    return x_weight, x_weight.new_zeros(len(x_weight)) if bias is None else bias


def mlp_constants(
    layers: Sequence[Layer], operands: str, activation: str, omega: float, capability: int
) -> dict[str, Any]:
    """Constants and warps of the forward kernel."""
    _, precision, chunk = arithmetic(operands)
    low = operands in OPERANDS
    scratch = scratch_columns((layers,), operands)
    return dict(
        **sine_constants(omega, operands),
        ACTIVATION=activation,
        PRECISION=precision,
        X_PRECISION="tf32x3" if low else precision,
        CHUNK=chunk,
        M=128 if low or INTERPRETED else 64,
        STAGES=stages((layers,), operands, scratch, capability),
        SCRATCH=scratch,
        num_warps=8,
    )


def sampled_mlp(
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    nearest: Sequence[bool],
    x: Tensor | None,
    x_weight: Tensor | None,
    bias: Tensor | None,
    layers: Sequence[Tensor],
    activation: str,
    omega: float,
    operands: str,
    out: Tensor,
) -> None:
    """The arguments of the torch op, as checked, and its result [B, N, outputs] to fill."""
    if out.numel() == 0:
        return
    dtype = arithmetic(operands)[0]
    first = first_layer(maps, x_weight, bias)
    D, X = first[0].shape
    shapes = tuple(tuple(w.shape) for w in (first[0], *layers[::2]))
    all_layers, first_alone = plan((shapes,), (Split((X,)),)), plan((shapes[:1],), (Split((X,)),))
    constants = mlp_constants(all_layers.networks[0], operands, activation, omega, capability_of(out.device))
    short = omega if constants["SHORT"] and activation == "sine" else None
    matrices, vectors = pack(all_layers, [*first, *layers], dtype, out.device, short)
    x_matrices = matrices if dtype == torch.float32 else pack(first_alone, first, torch.float32, out.device)[0]
    maps = [m.detach().to(dtype).contiguous() for m in maps]
    forward.sampled_mlp[(programs(out.device),)](
        tuple(maps), tuple(p.detach().float().contiguous() for p in positions), tuple(m.shape[1] for m in maps),
        tuple(m.shape[2] for m in maps), x_matrices if x is None else x.detach().contiguous(), x_matrices, matrices,
        vectors, new_scratch(constants, matrices), out, out.shape[0] * out.shape[1], out.shape[1],
        LAYERS=all_layers.networks[0], WIDTH=D, X=X, OUTPUTS=out.shape[2], NEAREST=tuple(nearest),
        LARGE=passes_32_bits(*maps), **constants, **OPTIONS,
    )  # fmt: skip
