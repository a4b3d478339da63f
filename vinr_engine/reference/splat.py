"""Forward splatting in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

MODES = ("sum", "avg", "linear", "soft")
ENDINGS = ("add", "zero", "clip")
EPSILON = 1e-7


def splat_sum(
    x: Tensor, flow: Tensor, weight: Tensor | None = None, *, count: bool = False, maximum: bool = False
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """See `vinr_engine.ops.splat_sum`."""
    B, C, H, W = x.shape
    one = torch.ones_like(x[:, :1]) if weight is None else weight
    # [B H W, C + 1]: what each source throws
    thrown = torch.cat([x if weight is None else x * weight, one], 1).permute(0, 2, 3, 1).reshape(-1, C + 1)
    sums = thrown.new_zeros(B * H * W, C + 1)
    received, largest = (thrown.new_full((B * H * W,), float(start)) for start in (0, 1))
    for place, share, inside in _taps(flow):
        to, part = place[inside], share[inside]
        sums = sums.index_add(0, to, part[:, None] * thrown[inside])
        if count:
            received = received.index_add(0, to, torch.ones_like(part))
        if maximum:
            values = (part * thrown[inside, C]).detach()
            # NaN is no largest value.
            largest = largest.scatter_reduce(0, to, values.nan_to_num(0, torch.inf, 0), "amax")
    maps = sums.view(B, H, W, C + 1).permute(0, 3, 1, 2)
    return (
        maps[:, :C],
        maps[:, C:],
        received.view(B, 1, H, W) if count else None,
        largest.view(B, 1, H, W) if maximum else None,
    )


def _taps(flow: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Of each of the four taps: the pixels that sources reach, their shares, and whether they lie inside; [B H W]."""
    B, _, H, W = flow.shape
    rows, columns = (torch.arange(n, dtype=flow.dtype, device=flow.device) for n in (H, W))
    x, y = columns + flow[:, 0], rows[:, None] + flow[:, 1]
    finite = x.isfinite() & y.isfinite()
    x, y = (torch.where(finite, p, -2) for p in (x, y))  # -2 lies outside, and so do its neighbours
    x0, y0 = x.detach().floor(), y.detach().floor()
    a, b = x - x0, y - y0
    # Before they become whole numbers: far places have none.
    column, row = x0.clamp(-2, W).long(), y0.clamp(-2, H).long()
    image = torch.arange(B, device=flow.device)[:, None, None] * (H * W)
    taps = []
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (a if dx else 1 - a) * (b if dy else 1 - b)
        r, c = row + dy, column + dx
        inside = (r >= 0) & (r < H) & (c >= 0) & (c < W)
        taps.append(((image + r * W + c).flatten(), share.flatten(), inside.flatten()))
    return taps


def splat(x: Tensor, flow: Tensor, metric: Tensor | None = None, mode: str = "soft", eps: str = "add") -> Tensor:
    """See `vinr_engine.ops.splat`; as published, so that `soft` overflows where exp(metric) does."""
    weight = None if metric is None else metric.exp() if mode == "soft" else metric
    numerator, denominator, *_ = splat_sum(x, flow, weight)
    if mode == "sum":
        return numerator
    if eps == "add":
        return numerator / (denominator + EPSILON)
    if eps == "zero":
        return numerator / torch.where(denominator == 0, 1, denominator)
    return numerator / denominator.clamp(min=EPSILON)
