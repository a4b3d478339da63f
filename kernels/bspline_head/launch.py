"""bspline_head: the launches of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from vinr_engine.kernels.bspline_head import backward, forward
from vinr_engine.kernels.common.tuning import OPTIONS

TILE = 1024  # splines of a program, of all its pixels


def constants(splines: int, outputs: int) -> dict[str, Any]:
    """Constants and warps that the kernels share."""
    width = triton.next_power_of_2(splines)
    return dict(K=splines, WIDTH=width, O=outputs, BLOCK=max(min(TILE // width, 64), 1), num_warps=4)


def _together(rows: Tensor) -> Tensor:
    rows = rows.detach()
    return rows if rows.stride(2) == 1 else rows.contiguous()


def _sizes(coef: Tensor, knot: Tensor, t: Tensor, block: int) -> tuple[int, ...]:
    """The numbers that the kernels share."""
    tiles = triton.cdiv(coef.shape[1], block)
    return *t.shape, tiles, coef.shape[1], *coef.stride()[:2], *knot.stride()[:2]


def bspline_head(
    coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor
) -> None:
    """The arguments of the torch op, as checked, and its result [T, B, P, out] to fill."""
    if out.numel() == 0:
        return
    coef, knot = _together(coef), _together(knot)
    dilation, t, weight = (x.detach().contiguous() for x in (dilation, t, weight))
    shared = constants(coef.shape[2], weight.shape[0])
    sizes = _sizes(coef, knot, t, shared["BLOCK"])
    forward.bspline_head[(coef.shape[0] * sizes[2],)](
        coef, knot, dilation, t, weight, weight if bias is None else bias.detach().contiguous(), out, *sizes,
        BIAS=bias is not None, **shared, **OPTIONS,
    )  # fmt: skip


def bspline_head_backward(
    grad_output: Tensor, coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor,
    wanted: Sequence[bool], *results: Tensor,
) -> None:  # fmt: skip
    """The arguments of the backward op, and its six results to fill; the same at every run."""
    d_coef, d_knot, d_dilation, d_t, d_weight, d_bias = results
    if grad_output.numel() == 0:
        for d in results:
            d.zero_()
        return
    grad, coef, knot = grad_output.detach().contiguous(), _together(coef), _together(knot)
    dilation, t, weight = (x.detach().contiguous() for x in (dilation, t, weight))
    (B, _, K), (T, O) = coef.shape, (t.shape[0], weight.shape[0])
    shared = constants(K, O)
    sizes = _sizes(coef, knot, t, shared["BLOCK"])
    programs = B * sizes[2]
    if any(wanted[:4]):
        partial, partial_t = (torch.empty(programs, n, device=grad.device) for n in (K, T))
        backward.bspline_head_backward[(programs,)](
            grad, coef, knot, dilation, t, weight, d_coef, d_knot, partial, partial_t, *sizes, COEF=wanted[0],
            KNOT=wanted[1], **shared, **OPTIONS,
        )  # fmt: skip
        if wanted[2]:
            torch.sum(partial, 0, out=d_dilation)
        if wanted[3]:
            d_t.copy_(partial_t.view(B, sizes[2], T).sum(1).T)
    if wanted[4]:
        partial = torch.empty(programs, O, K, device=grad.device)
        backward.bspline_head_backward_weight[(programs, O)](
            grad, coef, knot, dilation, t, partial, *sizes, **shared, **OPTIONS
        )
        torch.sum(partial, 0, out=d_weight)
    if wanted[5]:
        torch.sum(grad, (0, 1, 2), out=d_bias)
