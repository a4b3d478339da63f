"""The building block of a hoisted query: sampled, already projected maps start an MLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from vinr_engine.reference.mlp import Layer, hidden_layers
from vinr_engine.reference.sampling import SAMPLERS


def sampled_mlp(
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    layers: Sequence[Layer],
    *,
    x: Tensor | None = None,
    x_weight: Tensor | None = None,
    bias: Tensor | None = None,
    modes: Sequence[str] | None = None,
    activation: str = "sine",
    omega: float = 30.0,
) -> Tensor:
    """See `vinr_engine.ops.sampled_mlp`; arguments are taken as checked."""
    z: Tensor | None = None
    for m, p, mode in zip(maps, positions, modes or ["bilinear"] * len(maps), strict=True):
        sampled = SAMPLERS[mode](m, p[..., 0], p[..., 1]).transpose(1, 2)  # [B, N, D]
        z = sampled if z is None else z + sampled
    if x is not None and x_weight is not None:
        projected = F.linear(x, x_weight)
        z = projected if z is None else z + projected
    assert z is not None  # checked by the public function: some map or x is there
    if bias is not None:
        z = z + bias
    return hidden_layers(z, layers, activation, omega)
