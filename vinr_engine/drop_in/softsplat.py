"""softsplat's forward warping, under its name and arguments, on CPUs and GPUs, with gradients in one fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

from vinr_engine.ops.checks import check
from vinr_engine.ops.splat import splat
from vinr_engine.reference.splat import ENDINGS, MODES

OP = "softsplat"


def softsplat(tenIn: Tensor, tenFlow: Tensor, tenMetric: Tensor | None, strMode: str) -> Tensor:
    """Warp tenIn forward by tenFlow; see `vinr_engine.ops.splat` for what it computes.

    Args:
        tenIn: [B, C, H, W].
        tenFlow: [B, 2, H, W], (x, y) in pixels.
        tenMetric: [B, 1, H, W], the importance of each pixel for "linear" and "soft"; None for "sum" and "avg".
        strMode: "sum", "avg", "linear" or "soft"; behind it may stand what the sum of weights D becomes before it
            divides: "-addeps", D + 1e-7, which it also is without; "-zeroeps", 1 where it is 0; "-clipeps", at least
            1e-7.

    Returns:
        [B, C, H, W] in float32, or in float64 for such a tenIn. Differentiable in all three.

    Half precision is turned to float32 first. "soft" does not overflow. "avg" takes endings, too.

    Raises ValueError: a mode that is unknown, a metric that is missing or not used, shapes or devices that do not fit.
    """
    mode, dash, ending = strMode.partition("-")
    eps = ending.removesuffix("eps")
    known = mode in MODES and (not dash or (ending.endswith("eps") and eps in ENDINGS))
    check(
        known, OP, "strMode must be sum, avg, linear or soft, and may end in -addeps, -zeroeps or -clipeps, got {!r}",
        strMode,
    )  # fmt: skip
    if mode in ("sum", "avg"):
        check(tenMetric is None, OP, "tenMetric must be None for strMode {!r}", strMode)
    else:
        check(tenMetric is not None, OP, "strMode {!r} needs tenMetric [B, 1, H, W], got None", strMode)
    dtype = torch.float64 if tenIn.dtype == torch.float64 else torch.float32
    metric = None if tenMetric is None else tenMetric.to(dtype)
    return splat(tenIn.to(dtype), tenFlow.to(dtype), metric, mode, eps or "add")
