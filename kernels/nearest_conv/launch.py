"""nearest_conv on GPUs: nine products by torch's own matrix product, which follows its switches for TF32, then the
launches of what adds them up, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.nearest_conv import backward, forward

BLOCK = 32  # places of a program


class Axis(NamedTuple):
    """Along it, what `nearest_conv_add` reads.

    places: [3, count]: input row, type and offset in the result of each place
    first: [rows + 1]: the first place of an input row
    most: places of an input row
    """

    places: Tensor
    first: Tensor
    most: int


def enlarged_axis(index: Tensor, pixels: int, step: int) -> Axis:
    """Of output rows, by their input rows."""
    jumps = index[1:] != index[:-1]
    ends = jumps.new_ones(1)
    kinds = torch.cat([ends, jumps]).long() + 2 * torch.cat([jumps, ends]).long()
    places = torch.stack([index, kinds, torch.arange(len(index), device=index.device) * step])
    first = torch.searchsorted(index, torch.arange(pixels + 1, device=index.device))
    return Axis(places, first, triton.cdiv(len(index), pixels) + 1)


def table_axis(types: Sequence[int], pixels: int, pixel_step: int, step: int, like: Tensor) -> Axis:
    """Of all types for each of so many input rows."""
    n = len(types)
    place = torch.arange(pixels * n, device=like.device)
    kinds = torch.tensor(list(types), device=like.device).repeat(pixels)
    places = torch.stack([place // n, kinds, place // n * pixel_step + place % n * step])
    return Axis(places, torch.arange(pixels + 1, device=like.device) * n, n)


def _axes(x: Tensor, rows: Any, columns: Any) -> tuple[Axis, Axis]:
    h, w = x.shape[1:3]
    if isinstance(rows, Tensor):
        return enlarged_axis(rows, h, len(columns)), enlarged_axis(columns, w, 1)
    R, C = len(rows), len(columns)
    return table_axis(rows, h, w * R * C, C, x), table_axis(columns, w, R * C, 1, x)


def constants(outputs: int) -> dict[str, Any]:
    """Constants and warps of both kernels."""
    return dict(O=outputs, CHUNK=min(triton.next_power_of_2(outputs), 32), BLOCK=BLOCK, num_warps=4)


def _differences(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """x, and what is before and behind each of its places along an axis, less x; zeros outside."""
    pad = [0, 0] * (x.dim() - 1 - dim)
    n = x.shape[dim]
    before, behind = F.pad(x, [*pad, 1, 0]).narrow(dim, 0, n), F.pad(x, [*pad, 0, 1]).narrow(dim, 1, n)
    return x, before - x, behind - x


def _nine(x: Tensor) -> Tensor:
    """[B, h, w, C] -> [9, B h w, C]"""
    return torch.stack([d for row in _differences(x, 1) for d in _differences(row, 2)]).flatten(1, 3)


def nearest_conv(x: Tensor, weight: Tensor, bias: Tensor | None, rows: Any, columns: Any, out: Tensor) -> None:
    """The arguments of the torch op, of either, as checked, and its result to fill."""
    if out.numel() == 0:
        return
    B, h, w, _ = x.shape
    O = weight.shape[2]
    products = torch.bmm(_nine(x.detach()), weight.detach().flatten(0, 1).transpose(1, 2))
    if bias is not None:
        products[0] += bias.detach()
    of_rows, of_columns = _axes(x, rows, columns)
    counts = of_rows.places.shape[1], of_columns.places.shape[1]
    shared = constants(O)
    places = B * counts[0] * counts[1]
    forward.nearest_conv_add[(triton.cdiv(places, BLOCK), triton.cdiv(O, shared["CHUNK"]))](
        products, of_rows.places, of_columns.places, out, places, *counts, out[0].numel() // O, h, w, B * h * w,
        **shared, **OPTIONS,
    )  # fmt: skip


def nearest_conv_backward(
    grad_output: Tensor, x: Tensor, weight: Tensor, rows: Any, columns: Any, wanted: Sequence[bool], d_x: Tensor,
    d_weight: Tensor, d_bias: Tensor,
) -> None:  # fmt: skip
    """The arguments of the backward op, of either, and its results to fill; the same at every run."""
    B, h, w, C = x.shape
    O = weight.shape[2]
    if grad_output.numel() == 0:
        for d in (d_x, d_weight, d_bias):
            d.zero_()
        return
    grad, weight = grad_output.detach().contiguous(), weight.detach()
    of_rows, of_columns = _axes(x, rows, columns)
    pixels, shared = B * h * w, constants(O)
    d_products = torch.empty(9, pixels, O, dtype=torch.float32, device=x.device)
    backward.nearest_conv_gather[(triton.cdiv(pixels, BLOCK), triton.cdiv(O, shared["CHUNK"]))](
        grad, of_rows.places, of_columns.places, of_rows.first, of_columns.first, d_products, pixels,
        of_rows.places.shape[1], of_columns.places.shape[1], grad[0].numel() // O, h, w, MOST_ROWS=of_rows.most,
        MOST_COLUMNS=of_columns.most, **shared, **OPTIONS,
    )  # fmt: skip
    if wanted[0]:
        d = torch.bmm(d_products, weight.flatten(0, 1)).view(3, 3, B, h, w, C)
        d_x.copy_(_adjoint([_adjoint(list(row), 2) for row in d], 1))
    if wanted[1]:
        d_weight.copy_(torch.bmm(d_products.transpose(1, 2), _nine(x.detach())).view_as(d_weight))
    if wanted[2]:
        torch.sum(d_products[0], 0, out=d_bias)


def _adjoint(d: Sequence[Tensor], dim: int) -> Tensor:
    """The gradient of x from those of its `_differences`: of what is before a place, the adjoint is what is behind."""
    itself, before, behind = d
    return itself + _differences(before, dim)[2] + _differences(behind, dim)[1]
