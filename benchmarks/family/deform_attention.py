"""Guided deformable attention with the sizes of V3's encoder: 180 channels, 12 heads, 12 groups, clips of 2 frames."""

from __future__ import annotations

import torch

from benchmarks.family.case import Case, Forms
from vinr_engine import reference
from vinr_engine.ops import deform_attention

CHANNELS, HEADS, GROUPS, FRAMES = 180, 12, 12, 2


def inputs(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, kv, and offsets of a few pixels around a flow that all share.

    None is almost a whole number, where rounding in float32 may give the straight form the other side's derivative.
    """
    q = torch.randn(FRAMES, 1, CHANNELS, size, size)
    kv = torch.randn(1, FRAMES, 2 * CHANNELS, size, size)
    offset = torch.randn(FRAMES, FRAMES * 2 * GROUPS * 9, size, size) * 2 + 3.4
    offset = offset.floor() + 0.01 + 0.98 * offset.frac().abs()
    return q, kv, offset


def forward(size: int) -> Forms:
    tensors = inputs(size)
    return Forms(
        lambda: reference.deform_attention(*tensors, HEADS, GROUPS),
        lambda: deform_attention(*tensors, HEADS, GROUPS),
    )


def step(size: int) -> Forms:
    tensors = [t.requires_grad_() for t in inputs(size)]
    grad = torch.randn(FRAMES, 1, CHANNELS, size, size)

    def straight() -> list[torch.Tensor]:
        return list(torch.autograd.grad(reference.deform_attention(*tensors, HEADS, GROUPS), tensors, grad))

    def ours() -> list[torch.Tensor]:
        return list(torch.autograd.grad(deform_attention(*tensors, HEADS, GROUPS), tensors, grad))

    return Forms(straight, ours)


CASES = [
    *(Case(f"deform_attention {n}x{n}", lambda n=n: forward(n), wanted=5) for n in (64, 96)),
    Case("deform_attention step 64x64", lambda: step(64), tolerance=1e-3, step=True),
]
