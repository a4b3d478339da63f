"""A linear function of the pixel that holds a place, by where in it the place lies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vinr_engine import reference


def phase_linear(maps: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """maps [B, K, h, w], weights [Py, Px, C, K], size (H, W) -> [B, C, H, W]."""
    h, w = maps.shape[-2:]
    Py, Px, C, K = weights.shape
    if size == (Py * h, Px * w) and Py == Px:
        kernel = weights.permute(2, 0, 1, 3).reshape(C * Py * Px, K, 1, 1)
        return F.pixel_shuffle(F.conv2d(maps, kernel), Py)
    return reference.phase_linear(maps, weights, size)
