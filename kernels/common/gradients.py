"""Launches of the pieces that the backward passes are put together from, on rows of numbers in plain order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from vinr_engine.kernels.common.launch import programs
from vinr_engine.kernels.common.mlp_backward import mlp_backward
from vinr_engine.kernels.common.packing import Plan, Split, pack, padded, plan, unpack
from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.sample_rows import sample_rows, sample_rows_backward
from vinr_engine.kernels.common.sine import half_turns
from vinr_engine.kernels.common.tuning import OPTIONS

ROWS = 64  # of a tile
FIXED_POINT_BITS = 38  # of the largest number, where sums must not depend on their order: 2^25 such fit into 64 bits


class Source(NamedTuple):
    """Maps [_, H, W, stride], of which `channels` from `first` on are read.

    Rows come in groups of `points`; `repeat` groups in turn read one map, and row 0 is in group `group`.
    """

    maps: Tensor
    first: int
    channels: int
    points: int
    repeat: int = 1
    group: int = 0

    def span(self) -> tuple[int, int, int]:
        return self.first, self.channels, self.maps.shape[3]


def _grid(rows: int) -> tuple[int]:
    return (triton.cdiv(rows, ROWS),)


def chunk_of(count: int) -> int:
    return min(padded(count), 64)


def add_samples(source: Source, positions: Tensor, out: Tensor, column: int, add: bool, nearest: bool = False) -> None:
    """Samples at positions [rows, 2] into out [rows, _], from `column` on."""
    height, width = source.maps.shape[1:3]
    sample_rows[_grid(len(out))](
        source.maps, positions, out, len(out), source.points, source.group, source.repeat, height, width,
        FROM=source.span(), OUT=(column, out.shape[1]), ADD=add, NEAREST=nearest,
        LARGE=passes_32_bits(source.maps), M=ROWS, C=chunk_of(source.channels), num_warps=4, **OPTIONS,
    )  # fmt: skip


def fixed_point_scale(d: Tensor) -> Tensor:
    """A power of two that leaves FIXED_POINT_BITS before the point of the largest of d; NaN if one is not finite."""
    largest = d.abs().amax()
    exponent = (FIXED_POINT_BITS - torch.frexp(largest).exponent).clamp(max=126)
    return torch.where(largest.isfinite(), torch.ldexp(torch.ones_like(largest), exponent), torch.nan)


def scatter(
    source: Source, positions: Tensor, d_rows: Tensor, column: int, d_maps: Tensor | None, wants_positions: bool,
    nearest: bool = False,
) -> Tensor:  # fmt: skip
    """Add the gradient of `add_samples` to d_maps, float32 and like the maps, and return that of the positions, [0, 2]
    if it is not wanted.

    Sums of float32 depend on their order; where torch asks for deterministic algorithms, whole numbers are summed.
    """
    rows = len(d_rows)
    d_positions = d_rows.new_empty(rows if wants_positions else 0, 2, dtype=torch.float32)
    to, scale, fixed = d_rows if d_maps is None else d_maps, d_rows, torch.are_deterministic_algorithms_enabled()
    if d_maps is not None and fixed:
        scale = fixed_point_scale(d_rows[:, column : column + source.channels])
        to = torch.zeros_like(d_maps, dtype=torch.int64)
    height, width = source.maps.shape[1:3]
    sample_rows_backward[_grid(rows)](
        d_rows, source.maps, positions, to, d_positions if wants_positions else d_rows,
        scale, rows, source.points, source.group, source.repeat, height, width, FROM=source.span(),
        D=(column, d_rows.shape[1]), WANTS_MAPS=d_maps is not None, WANTS_POSITIONS=wants_positions,
        FIXED=d_maps is not None and fixed, NEAREST=nearest, LARGE=passes_32_bits(source.maps), M=ROWS,
        C=chunk_of(source.channels), num_warps=4, **OPTIONS,
    )  # fmt: skip
    if d_maps is not None and fixed:
        d_maps += (to.double() / scale).to(d_maps.dtype)
    return d_positions


def backward_constants(
    layout: Plan, X: int, D: int, outputs: int, sums: bool, wants_sums: bool, wants_x: bool, activation: str,
    omega: float, precision: str,
) -> dict[str, Any]:  # fmt: skip
    """Constants of `_mlp_backward.mlp_backward` for the one network of `layout`."""
    (layers,) = layout.networks
    activations = [width for layer in layers[:-1] for width in (layer.outputs, layer.outputs)]
    widest = max(layer.outputs for layer in layers)
    *places, scratch = itertools.accumulate([layers[0].inputs, *activations, widest, widest], initial=0)
    return dict(
        LAYERS=layers, X=X, WIDTH=D, OUTPUTS=outputs, PLACES=tuple(places), SCRATCH=scratch, MATRICES=layout.matrices,
        VECTORS=layout.vectors, SUMS=sums, WANTS_SUMS=wants_sums, WANTS_X=wants_x, ACTIVATION=activation,
        OMEGA=half_turns(omega), FREQUENCY=omega, PRECISION=precision, M=ROWS,
    )  # fmt: skip


def mlp_gradients(
    grad: Tensor, sums: Tensor | None, x: Tensor | None, tensors: Sequence[Tensor], activation: str, omega: float,
    precision: str, wants_sums: bool = True, wants_x: bool = True,
) -> tuple[Tensor | None, Tensor | None, Tensor]:  # fmt: skip
    """Gradients of a network of x, whose first layer's output `sums` are added to.

    grad [rows, outputs], sums [rows, D] or None, x [rows, X] or None, all float32 and contiguous; tensors: weight [out,
    in] and bias of each layer in turn, the first layer's weight [D, X] too.

    Returns gradients of sums (also if there are none: those of the first layer's output), of x, and of all tensors,
    flat, in their order.
    """
    rows, D, X = len(grad), tensors[0].shape[0], tensors[0].shape[1]
    shapes = tuple(tuple(w.shape) for w in tensors[::2])
    layout = plan((shapes,), (Split((X,)),))
    matrices, vectors = pack(layout, tensors, torch.float32, grad.device)
    count = min(triton.cdiv(rows, ROWS), 2 * programs(grad.device))
    d_sums = grad.new_empty(rows, D) if wants_sums else None
    d_x = grad.new_empty(rows, X) if wants_x and X > 0 else None
    d_matrices = grad.new_zeros(count, layout.matrices)
    d_vectors = grad.new_zeros(count, layout.vectors)
    constants = backward_constants(
        layout, X, D, grad.shape[1], sums is not None, wants_sums, d_x is not None, activation, omega, precision
    )
    mlp_backward[(count,)](
        grad, grad if sums is None else sums, grad if x is None else x, matrices, vectors,
        grad if d_sums is None else d_sums, grad if d_x is None else d_x, d_matrices, d_vectors,
        grad.new_empty(count, constants["SCRATCH"], ROWS), rows, **constants, num_warps=4, **OPTIONS,
    )  # fmt: skip
    return d_sums, d_x, unpack(layout, d_matrices.sum(0), d_vectors.sum(0))
