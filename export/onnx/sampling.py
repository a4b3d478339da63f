"""Reading maps at positions, as a node of its own while a graph is traced."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.library.custom_op("vinr_export::sample", mutates_args=())
def sample(maps: Tensor, grid: Tensor, outside: str = "zeros") -> Tensor:
    """GridSample of ONNX: maps [B, C, H, W] and a grid [B, H', W', 2] (x, y) that may differ in dtype.

    Bilinear, align_corners=False; `outside` is "zeros" or "border". A float16 grid could not tell the pixels of a large
    map apart.
    """
    return F.grid_sample(maps.to(grid.dtype), grid, "bilinear", outside, align_corners=False).to(maps.dtype)


@sample.register_fake
def _sample_fake(maps: Tensor, grid: Tensor, outside: str = "zeros") -> Tensor:
    return maps.new_empty(maps.shape[0], maps.shape[1], grid.shape[1], grid.shape[2])
