"""The part of a first layer that sees only maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def project_maps(maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Maps [B, C_i, h, w], joined, times weight [O, sum C_i] at every pixel: [B, h, w, O]."""
    return F.linear(torch.cat(list(maps), 1).permute(0, 2, 3, 1), weight)
