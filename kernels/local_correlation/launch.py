"""local_correlation: the launches of its kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import triton
from torch import Tensor

from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.local_correlation import backward, forward

BLOCK = 64  # pixels of a program


def forward_constants(channels: int, radius: int) -> dict[str, Any]:
    """Constants and warps of the forward kernel. Few threads share a pixel: their sums are added between them."""
    return dict(
        RADIUS=radius, C=channels, CHUNK=max(math.gcd(channels, 32), 8),
        COLUMNS=triton.next_power_of_2(2 * radius + 1), BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip


def backward_constants(channels: int, radius: int) -> dict[str, Any]:
    """Those of the backward kernel. Each chunk of the channels reads the output's gradient once more."""
    chunk = min(max(triton.next_power_of_2(channels), 8), 32)
    return dict(RADIUS=radius, C=channels, CHUNK=chunk, BLOCK=BLOCK, num_warps=4)


def local_correlation(first: Tensor, second: Tensor, times: Tensor, radius: int, out: Tensor) -> None:
    """The arguments of the torch op, as checked, and its result [B, h, w, (2 radius + 1)^2] to fill."""
    B, h, w, C = first.shape
    if out.numel() == 0:
        return
    maps = [m.detach().contiguous() for m in (first, second)]
    forward.local_correlation[(triton.cdiv(B * h * w, BLOCK) * (2 * radius + 1),)](
        *maps, times.contiguous(), out, B * h * w, h, w, LARGE=passes_32_bits(*maps, out),
        **forward_constants(C, radius), **OPTIONS,
    )  # fmt: skip


def local_correlation_backward(
    grad_output: Tensor, first: Tensor, second: Tensor, times: Tensor, radius: int, wanted: Sequence[bool],
    d_first: Tensor, d_second: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op's backward op, and its results to fill; the same at every run."""
    B, h, w, C = first.shape
    if first.numel() == 0:
        return
    grad, times = grad_output.detach().contiguous(), times.contiguous()
    constants = backward_constants(C, radius)
    grid = triton.cdiv(B * h * w, BLOCK), triton.cdiv(C, constants["CHUNK"])
    for of_second, other, d_map in ((False, second, d_first), (True, first, d_second)):
        if wanted[of_second]:
            other = other.detach().contiguous()
            backward.local_correlation_backward[grid](
                grad, other, times, d_map, B * h * w, h, w, SECOND=of_second, LARGE=passes_32_bits(grad, other),
                **constants, **OPTIONS,
            )  # fmt: skip
