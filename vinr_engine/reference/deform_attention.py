"""Guided deformable attention (Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable
Attention", NeurIPS 2022) in plain torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_columns(
    maps: Tensor, offset: Tensor, groups: int, kernel_size: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """maps [N, C, h, w] where a deformable convolution reads them -> [N, C, K, h, w].

    offset [N, 2*G*K, h, w]. Bilinear with zeros outside; a NaN position reads as outside.
    """
    N, C, h, w = maps.shape
    (kh, kw), (py, px) = kernel_size, padding
    K, G = kh * kw, groups
    row, column = (torch.arange(n, device=maps.device, dtype=maps.dtype) for n in (h, w))
    tap_y = torch.arange(kh, device=maps.device, dtype=maps.dtype).repeat_interleave(kw).reshape(K, 1, 1) - py
    tap_x = torch.arange(kw, device=maps.device, dtype=maps.dtype).repeat(kh).reshape(K, 1, 1) - px
    offset = offset.reshape(N * G, K, 2, h, w)
    y = offset[:, :, 0] + tap_y + row.reshape(h, 1)  # [N*G, K, h, w]
    x = offset[:, :, 1] + tap_x + column
    inside = (y > -1) & (y < h) & (x > -1) & (x < w)
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], -1)
    grid = torch.where(inside.unsqueeze(-1), grid, -3).reshape(N * G, K * h, w, 2)
    columns = F.grid_sample(maps.reshape(N * G, C // G, h, w), grid, "bilinear", "zeros", align_corners=False)
    return columns.reshape(N, C, K, h, w)


def deform_attention(
    q: Tensor,
    kv: Tensor,
    offset: Tensor,
    heads: int,
    groups: int,
    kernel_size: tuple[int, int] = (3, 3),
    padding: tuple[int, int] = (1, 1),
    keys_gradient_scaled_twice: bool = False,
) -> Tensor:
    """See `vinr_engine.ops.deform_attention`; arguments are taken as checked."""
    B, c, C2, h, w = kv.shape
    N, C, K = B * c, C2 // 2, kernel_size[0] * kernel_size[1]
    if q.numel() == 0:
        return q + kv.sum() + offset.sum()  # of which gradients can be asked
    d = C // heads
    offsets = offset.reshape(N, c, 2 * groups * K, h, w)
    keys, values = [], []
    for n in range(c):
        frames = kv[:, [(n + b) % c for b in range(c)]].reshape(N, C2, h, w)
        columns = sampled_columns(frames, offsets[:, n], groups, kernel_size, padding)
        k, v = columns.reshape(N, 2, heads, d, K, h, w).unbind(1)
        if keys_gradient_scaled_twice:
            k = k.detach() + d**-0.5 * (k - k.detach())
        keys.append(k)
        values.append(v)
    query = q.reshape(N, heads, d, 1, h, w) * d**-0.5
    scores = torch.cat([(query * k).sum(2) for k in keys], 2)  # [N, heads, c K, h, w]
    wide = torch.float64 if scores.dtype == torch.float64 else torch.float32
    weights = scores.softmax(2, dtype=wide).to(scores.dtype)
    out = torch.zeros((), dtype=q.dtype, device=q.device)
    for weight, v in zip(weights.split(K, 2), values, strict=True):
        out = out + (weight.unsqueeze(2) * v).sum(3)
    return out.reshape(N, 1, C, h, w)
