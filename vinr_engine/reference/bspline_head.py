"""A head of cubic B-splines in time, in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cubic_bspline(x: Tensor) -> Tensor:
    """The cubic B-spline, which is 2/3 at 0 and 0 from 2 on."""
    u = x.abs()
    outer = torch.where(u <= 2, (2 - u) ** 3 / 6, 0)
    return torch.where(u <= 1, (4 - 6 * u**2 + 3 * u**3) / 6, outer)


def bspline_head(
    coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """See `vinr_engine.ops.bspline_head`."""
    t = t.reshape(*t.shape, *(1,) * (coef.dim() + 1 - t.dim()))  # [T, B or 1, 1, ..., 1]
    return F.linear(coef * cubic_bspline(dilation * (t - knot)), weight, bias)
