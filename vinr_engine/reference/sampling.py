"""Reading maps at positions: exact pixel grids, and sampling with zeros outside."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class AxisGrid(NamedTuple):
    """Where output pixels fall on one axis of a map; every quotient is taken of whole numbers.

    nearest: [n_out] the map pixel that holds the output pixel's centre
    relative: [n_out] signed distance from that pixel's centre in half pixels, in [-1, 1)
    position: [n_out] the same place in pixels, centres at whole numbers
    """

    nearest: Tensor
    relative: Tensor
    position: Tensor


def axis_grid(n_in: int, n_out: int, dtype: torch.dtype, device: torch.device) -> AxisGrid:
    """Positions of `n_out` output pixel centres on an axis of `n_in` map pixels that covers the same extent."""
    numerator = (2 * torch.arange(n_out, device=device) + 1) * n_in  # centre = numerator / (2 n_out), from the edge
    nearest = numerator // (2 * n_out)
    relative = (numerator - (2 * nearest + 1) * n_out).to(dtype) / n_out
    return AxisGrid(nearest, relative, nearest.to(dtype) + relative / 2)


def sample_bilinear(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """maps [B, C, H, W] read at y, x [B, *N], in pixels, centres at whole numbers -> [B, C, *N].

    Of the four corners those outside the map read zero, whatever the map holds; those inside count even where their
    weight is zero, so that their NaN shows. A NaN position reads as outside. Differentiable in maps, y and x.
    """
    B, C, H, W = maps.shape
    inside = (y > -1) & (y < H) & (x > -1) & (x < W)
    y, x = torch.where(inside, y, 0), torch.where(inside, x, 0)
    y0, x0 = y.detach().floor(), x.detach().floor()
    fy, fx = y - y0, x - x0
    flat = maps.reshape(B, C, H * W)
    out = torch.zeros((), dtype=maps.dtype, device=maps.device)
    for dy in (0, 1):
        for dx in (0, 1):
            yi, xi = y0.long() + dy, x0.long() + dx
            valid = inside & (yi >= 0) & (yi < H) & (xi >= 0) & (xi < W)
            weight = torch.where(valid, (fy if dy else 1 - fy) * (fx if dx else 1 - fx), 0)
            index = yi.clamp(0, max(H - 1, 0)) * W + xi.clamp(0, max(W - 1, 0))
            corner = flat.gather(2, index.flatten(1).unsqueeze(1).expand(B, C, -1)).reshape(B, C, *index.shape[1:])
            corner = torch.where(valid.unsqueeze(1), corner, 0)  # a weight of zero would let NaN through
            out = out + corner * weight.to(maps.dtype).unsqueeze(1)
    return out


def sample_nearest(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """maps [B, C, H, W] read at the pixels nearest to y, x [B, *N], halves rounded up -> [B, C, *N].

    Zero outside the map and at NaN. Differentiable in maps alone.
    """
    B, C, H, W = maps.shape
    yi, xi = (y.detach() + 0.5).floor(), (x.detach() + 0.5).floor()
    inside = (yi >= 0) & (yi < H) & (xi >= 0) & (xi < W)
    index = torch.where(inside, yi, 0).long() * W + torch.where(inside, xi, 0).long()
    read = maps.reshape(B, C, H * W).gather(2, index.flatten(1).unsqueeze(1).expand(B, C, -1))
    return torch.where(inside.unsqueeze(1), read.reshape(B, C, *index.shape[1:]), 0)


SAMPLERS = {"bilinear": sample_bilinear, "nearest": sample_nearest}


def enlarge_colours(frames: Tensor, factor: int) -> Tensor:
    """frames [B, C, h, w] -> [B, C, factor h, factor w], bilinear, edges repeated."""
    if factor == 1:
        return frames
    # A size, not a factor: torch.compile takes no symbolic factor.
    size = (factor * frames.shape[2], factor * frames.shape[3])
    return F.interpolate(frames, size=size, mode="bilinear", align_corners=False)
