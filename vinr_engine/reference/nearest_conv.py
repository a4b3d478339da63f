"""A 3x3 convolution of a picture enlarged by nearest neighbour, in plain torch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.nearest import nearest_index


def nearest_conv(x: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int]) -> Tensor:
    """See `vinr_engine.ops.nearest_conv`: x is enlarged, then convolved at output size."""
    rows, columns = (nearest_index(out, n, x.device) for out, n in zip(size, x.shape[2:], strict=True))
    return F.conv2d(x[:, :, rows][:, :, :, columns], weight, bias, padding=1)
