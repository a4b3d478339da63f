"""A step of a ConvLSTM: the convolution that makes its gates, and what they do, in one pass on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def conv_lstm(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None, add: Tensor | None, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """`conv3x3(maps, weight, bias, add)` makes the gates i, f, o and the candidate g, in this order, in bands of rows:
    as a whole they are never held. On the CPU, without derivatives; under autocast too products are of float32.

    Args:
        maps: [B, C_i, h, w] each, float32 as all.
        weight: [4*C, sum C_i, 3, 3].
        bias: [4*C], or None.
        add: [B, 4*C, h, w], or None.
        cell: [B, C, h, w].

    Returns:
        The hidden state `sigmoid(o) * tanh(c)`, and the cell `c = sigmoid(f) * cell + sigmoid(i) * tanh(g)`: [B, C, h,
        w] both, channels-last. Activations are exact to 4e-7.

    Raises RuntimeError: shapes, dtypes or devices that do not fit.

    Source: X. Shi et al., "Convolutional LSTM Network", NeurIPS 2015, without its peepholes.
    """
    hidden, new_cell = torch.ops.vinr.conv_lstm(list(maps), weight, bias, add, cell)
    return hidden, new_cell
