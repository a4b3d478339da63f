"""deform_attention: the launches of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from vinr_engine.kernels.common.gradients import fixed_point_scale
from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.deform_attention import backward, forward

Pair = tuple[int, int]


FORWARD_WARPS, BACKWARD_WARPS = 4, 8  # the backward pass holds so much of a sample that four would spill


def constants(frames: int, channels: int, heads: int, groups: int, kernel_size: Pair, padding: Pair) -> dict[str, Any]:
    """Constants of both kernels: a thread holds few numbers of each sample."""
    wide = triton.next_power_of_2(channels // heads)
    return dict(
        FRAMES=frames, HEADS=heads, D=wide, G=groups, KERNEL=(*kernel_size, *padding),
        BLOCK=max(16, min(64, 1024 // wide)),
    )  # fmt: skip


def _rows(t: Tensor, depth: int, wide: int) -> Tensor:
    """[N, heads * depth, h, w] -> [N, h, w, heads * wide], heads padded with zeros, so that loads are aligned."""
    heads = t.detach().permute(0, 2, 3, 1).unflatten(-1, (-1, depth))
    return F.pad(heads, (0, wide - depth)).flatten(-2).contiguous()


def _to_images(rows: Tensor, depth: int, wide: int, out: Tensor) -> None:
    """The other way, into `out`."""
    out.copy_(rows.unflatten(-1, (-1, wide))[..., :depth].flatten(-2).permute(0, 3, 1, 2))


def deform_attention(
    q: Tensor, kv: Tensor, offset: Tensor, frames: int, heads: int, groups: int, kernel_size: Pair, padding: Pair,
    keys_gradient_scaled_twice: bool, out: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op, as checked, and its result to fill."""
    if out.numel() == 0:
        return
    N, C, h, w = q.shape
    fixed = constants(frames, C, heads, groups, kernel_size, padding)
    sizes = C // heads, fixed["D"]
    query, maps = _rows(q, *sizes), _rows(kv, *sizes)
    found = torch.empty_like(query)
    forward.deform_attention[(triton.cdiv(h * w, fixed["BLOCK"]), heads, N)](
        query, maps, offset.detach().contiguous(), found, h, w, (C // heads) ** -0.5,
        LARGE=passes_32_bits(maps[0]), num_warps=FORWARD_WARPS, **fixed, **OPTIONS,
    )  # fmt: skip
    _to_images(found, *sizes, out)


def _steps(grad: Tensor, q: Tensor, kv: Tensor, depth: int) -> Tensor:
    """Of sums of whole numbers: how many make 1, of the gradients of keys and of values. No term of a score's gradient
    is larger than twice that of a weight."""
    largest, of_q, of_kv = (t.abs().amax() for t in (grad, q, kv))
    of_keys = 2 * depth * largest * of_kv * of_q * depth**-0.5
    return torch.stack([fixed_point_scale(of_keys), fixed_point_scale(largest)])


def deform_attention_backward(
    grad_output: Tensor, q: Tensor, kv: Tensor, offset: Tensor, frames: int, heads: int, groups: int,
    kernel_size: Pair, padding: Pair, keys_gradient_scaled_twice: bool, wanted: Sequence[bool], d_q: Tensor,
    d_kv: Tensor, d_offset: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op's backward op, and its results to fill.

    Sums of float32 in d_kv depend on their order; where torch asks for deterministic algorithms, whole numbers are
    summed.
    """
    if q.numel() == 0:
        return
    N, C, h, w = q.shape
    depth, taps = C // heads, kernel_size[0] * kernel_size[1]
    fixed = constants(frames, C, heads, groups, kernel_size, padding)
    sizes = depth, fixed["D"]
    grad, query, maps = (_rows(t, *sizes) for t in (grad_output, q, kv))
    exact = torch.are_deterministic_algorithms_enabled() and wanted[1]
    steps = _steps(grad, query, maps, depth) if exact else grad
    to_q = torch.empty_like(query)
    to_kv = torch.zeros_like(maps, dtype=torch.int64 if exact else maps.dtype) if wanted[1] else grad
    to_offset = q.new_empty(N, frames, 2 * heads, taps, 2, h, w) if wanted[2] else grad
    backward.deform_attention_backward[(triton.cdiv(h * w, fixed["BLOCK"]), heads, N)](
        grad, query, maps, offset.detach().contiguous(), to_q, to_kv, to_offset, steps, h, w, depth**-0.5,
        depth**-0.5 if keys_gradient_scaled_twice else 1.0, LARGE=passes_32_bits(maps[0]), WANTS_KV=bool(wanted[1]),
        WANTS_OFFSET=bool(wanted[2]), FIXED=exact, num_warps=BACKWARD_WARPS, **fixed, **OPTIONS,
    )  # fmt: skip
    if wanted[0]:
        _to_images(to_q, *sizes, d_q)
    if wanted[1]:
        if exact:
            parts = to_kv.double().chunk(2, -1)
            to_kv = torch.cat([part / step for part, step in zip(parts, steps, strict=True)], -1)
        _to_images(to_kv, *sizes, d_kv)
    if wanted[2]:
        d_offset.copy_(to_offset.unflatten(2, (groups, -1)).sum(3).flatten(1, 4))
