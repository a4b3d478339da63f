"""fourier_mlp: the launch of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vinr_engine.kernels.common.launch import OPERANDS, arithmetic, new_scratch, programs
from vinr_engine.kernels.common.packing import Layer, Plan, Split, pack, padded, plan
from vinr_engine.kernels.common.runtime import INTERPRETED
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.fourier_mlp import forward


def layout(shapes: Sequence[Sequence[int]]) -> tuple[Plan, tuple[Layer, ...]]:
    """Of layers' weights of `shapes`, the first of which takes cosines and sines; and the layers as the kernel sees
    them: behind one that is as wide as both."""
    half = shapes[0][1] // 2
    packed = plan((tuple((a, b) for a, b in shapes),), (Split((half, half)),))
    (layers,) = packed.networks
    return packed, (Layer(0, 0, layers[0].inputs, 0), *layers)


def mlp_constants(layers: Sequence[Layer], operands: str) -> dict[str, Any]:
    """Constants and warps of the forward kernel, for the layers as it sees them."""
    _, precision, chunk = arithmetic(operands)
    return dict(
        PRECISION=precision,
        CHUNK=chunk,
        M=128 if operands in OPERANDS or INTERPRETED else 64,
        SCRATCH=max(layer.outputs for layer in layers[:-1]),
        num_warps=8,
    )


def row_arguments(
    coef: Tensor, freq: Tensor, index: Tensor, relative: Tensor, phase: Tensor, cell: Tensor | None
) -> tuple[list[Tensor], list[int], dict[str, Any]]:
    """What all kernels take that read rows: tensors, sizes and strides, and constants.

    Maps may be parts of one tensor: their rows are contiguous.
    """
    coef, freq = (m.detach() if m.stride(2) == 1 else m.detach().contiguous() for m in (coef, freq))
    _, N, k = index.shape
    plain = [t.detach().contiguous() for t in (index, relative, phase, phase if cell is None else cell)]
    sizes = [index.numel(), N, coef.shape[1], *coef.stride()[:2], *freq.stride()[:2]]
    constants = dict(
        HALF=coef.shape[2] // 2,
        NEIGHBOURS=k,
        CELLS=0 if cell is None else cell.shape[2],
        CELL_PER_POINT=cell is not None and cell.shape[1] == N and N > 1,
    )
    return [coef, freq, *plain], sizes, constants


def row_outputs(
    coef: Tensor, freq: Tensor, index: Tensor, relative: Tensor, phase: Tensor, cell: Tensor | None,
    layers: Sequence[Tensor], operands: str,
) -> Tensor:  # fmt: skip
    """The network's outputs of each neighbour, float32 [B N k, outputs], before they are mixed."""
    shapes = [tuple(w.shape) for w in layers[::2]]
    packed, seen = layout(shapes)
    dtype = arithmetic(operands)[0]
    matrices, vectors = pack(packed, layers, dtype, coef.device)
    constants = mlp_constants(seen, operands)
    tensors, sizes, more = row_arguments(coef, freq, index, relative, phase, cell)
    out = torch.empty(index.numel(), shapes[-1][0], device=coef.device)
    forward.fourier_mlp[(programs(coef.device),)](
        *tensors, matrices, vectors, new_scratch(constants, matrices), out, *sizes, LAYERS=seen,
        PADDED_HALF=padded(more["HALF"]), OUTPUTS=out.shape[1], **more, **constants, **OPTIONS,
    )  # fmt: skip
    return out


def fourier_mlp(
    coef: Tensor,
    freq: Tensor,
    index: Tensor,
    relative: Tensor,
    phase: Tensor,
    cell: Tensor | None,
    layers: Sequence[Tensor],
    weights: Tensor | None,
    operands: str,
    out: Tensor,
) -> None:
    """The arguments of the torch op, as checked, and its result [B, N, outputs] to fill."""
    if out.numel() == 0:
        return
    rows = row_outputs(coef, freq, index, relative, phase, cell, layers, operands).view(*index.shape, -1)
    out.copy_(rows[:, :, 0] if weights is None else torch.einsum("bnko,bnk->bno", rows, weights.detach().float()))
