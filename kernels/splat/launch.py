"""splat_sum and splat: the launches of their kernels, which are the same at every run. Channels lie last for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.splat import backward, forward

BLOCK = 32  # pixels or sources of a program
PLACES = 256  # sources whose cells a program finds
WIDEST = 64  # channels that a program takes at a time, where it loads four with one instruction; else half


def constants(channels: int) -> dict[str, Any]:
    """Those that the kernels of channels share."""
    widest = WIDEST if channels % 4 == 0 else WIDEST // 2
    return dict(C=channels, CHUNK=min(triton.next_power_of_2(channels), widest), BLOCK=BLOCK)


def _turned(x: Tensor, channels_last: bool) -> Tensor:
    return (x if channels_last else x.permute(0, 2, 3, 1)).detach().contiguous()


def _sorted(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Sources in the order of the cells where they land, of one cell in their own; and where each cell's begin."""
    B, _, H, W = flow.shape
    sources, cells = B * H * W, B * (H + 1) * (W + 1)
    large = passes_32_bits(flow) or cells >= 2**31 - 1
    of_source = torch.empty(sources, dtype=torch.int64 if large else torch.int32, device=flow.device)
    forward.splat_cells[(triton.cdiv(sources, PLACES),)](
        flow, of_source, sources, H, W, cells, BLOCK=PLACES, LARGE=large, num_warps=4, **OPTIONS
    )
    found, order = torch.sort(of_source, stable=True)
    all_cells = torch.arange(cells + 1, dtype=found.dtype, device=flow.device)
    return order, torch.searchsorted(found, all_cells, out_int32=not large)


def _forward(
    x: Tensor, flow: Tensor, weight: Tensor | None, channels_last: bool, exponential: bool, ending: str,
    out: Tensor, maps: dict[str, Tensor],
) -> None:  # fmt: skip
    """Fills out, and what else is wanted: `maps` by the kernel's names."""
    if out.numel() == 0:
        return
    B, _, H, W = flow.shape
    flow = flow.detach().contiguous()
    x = _turned(x, channels_last)
    weight = None if weight is None else weight.detach().contiguous()
    order, start = _sorted(flow)
    result = out if channels_last else torch.empty_like(x)
    constant = constants(x.shape[3])
    forward.splat[(triton.cdiv(B * H * W, BLOCK), triton.cdiv(constant["C"], constant["CHUNK"]))](
        x, flow, x if weight is None else weight, order, start, result,
        *(maps.get(name, result) for name in ("denominator", "count", "largest", "norm")), B * H * W, H, W,
        WEIGHTED=weight is not None, EXPONENTIAL=exponential, ENDING=ending, COUNT="count" in maps,
        MAXIMUM="largest" in maps, LARGE=passes_32_bits(x, flow, start), num_warps=4, **constant, **OPTIONS,
    )  # fmt: skip
    if not channels_last:
        out.copy_(result.permute(0, 3, 1, 2))


def splat_sum(
    x: Tensor, flow: Tensor, weight: Tensor | None, channels_last: bool, count: bool, maximum: bool, numerator: Tensor,
    denominator: Tensor, counts: Tensor, largest: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op, as checked, and its results to fill."""
    maps = (
        {"denominator": denominator} | ({"count": counts} if count else {}) | ({"largest": largest} if maximum else {})
    )
    _forward(x, flow, weight, channels_last, False, "", numerator, maps)


def splat(
    x: Tensor, flow: Tensor, metric: Tensor | None, channels_last: bool, exponential: bool, eps: str, out: Tensor,
    norm: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op, as checked, and its results to fill."""
    _forward(x, flow, metric, channels_last, exponential, eps, out, {"norm": norm})


def _backward(
    grad: Tensor, pull: Tensor, norm: Tensor | None, x: Tensor, flow: Tensor, weight: Tensor | None,
    channels_last: bool, exponential: bool, wanted: Sequence[bool], d_x: Tensor, d_flow: Tensor, d_weight: Tensor,
) -> None:  # fmt: skip
    """grad with its channels last."""
    B, _, H, W = flow.shape
    flow = flow.detach().contiguous()
    x = _turned(x, channels_last)
    weight = None if weight is None else weight.detach().contiguous()
    result = d_x if channels_last or not wanted[0] else torch.empty_like(x)
    backward.splat_backward[(triton.cdiv(B * H * W, BLOCK),)](
        grad, pull, grad if norm is None else norm, x, flow, x if weight is None else weight, result, d_flow, d_weight,
        B * H * W, H, W, WEIGHTED=weight is not None, EXPONENTIAL=exponential, DIVIDED=norm is not None,
        WANTS_X=wanted[0], WANTS_FLOW=wanted[1], WANTS_WEIGHT=wanted[2] and weight is not None,
        LARGE=passes_32_bits(x, flow), num_warps=4, **constants(x.shape[3]), **OPTIONS,
    )  # fmt: skip
    if not channels_last and wanted[0]:
        d_x.copy_(result.permute(0, 3, 1, 2))


def splat_sum_backward(
    grad_numerator: Tensor, grad_denominator: Tensor, x: Tensor, flow: Tensor, weight: Tensor | None,
    channels_last: bool, wanted: Sequence[bool], d_x: Tensor, d_flow: Tensor, d_weight: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op's backward op, and its results to fill."""
    if x.numel() == 0:
        return
    grad, pull = _turned(grad_numerator, channels_last), grad_denominator.detach().contiguous()
    _backward(grad, pull, None, x, flow, weight, channels_last, False, wanted, d_x, d_flow, d_weight)


def splat_backward(
    grad_output: Tensor, out: Tensor, norm: Tensor, x: Tensor, flow: Tensor, metric: Tensor | None,
    channels_last: bool, exponential: bool, wanted: Sequence[bool], d_x: Tensor, d_flow: Tensor, d_weight: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op's backward op, and its results to fill."""
    if x.numel() == 0:
        return
    B, _, H, W = flow.shape
    grad, norm = _turned(grad_output, channels_last), norm.detach().contiguous()
    pull = torch.empty(B * H * W, dtype=grad.dtype, device=grad.device)
    if wanted[1] or wanted[2]:
        backward.splat_pull[(triton.cdiv(B * H * W, BLOCK),)](
            grad, _turned(out, channels_last), norm, pull, B * H * W, H * W, LARGE=passes_32_bits(grad), num_warps=4,
            **constants(grad.shape[3]), **OPTIONS,
        )  # fmt: skip
    _backward(grad, pull, norm, x, flow, metric, channels_last, exponential, wanted, d_x, d_flow, d_weight)
