"""A 3x3 convolution of joined maps, with what usually follows it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def conv3x3(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None, add: Tensor | None = None, slope: float = 1.0
) -> Tensor:
    """Maps [B, C_i, h, w], joined, weight [O, sum C_i, 3, 3] -> [B, O, h, w], plus `add`; then what is not positive,
    times `slope`."""
    out = F.conv2d(maps[0] if len(maps) == 1 else torch.cat(list(maps), 1), weight, bias, padding=1)
    if add is not None:
        out = out + add
    return out if slope == 1 else F.leaky_relu(out, slope)
