"""Multilayer perceptrons along the last axis, with the activations of implicit neural representations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# (weight [out, in], bias [out]) of one linear layer
Layer = tuple[Tensor, Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "sine": lambda z, omega: torch.sin(omega * z),
    "relu": lambda z, omega: F.relu(z),
    "gelu": lambda z, omega: F.gelu(z),
}


def hidden_layers(z: Tensor, layers: Sequence[Layer], activation: str = "sine", omega: float = 30.0) -> Tensor:
    """`z` [..., D] before its activation -> the linear output of the last layer, an activation before each layer."""
    for weight, bias in layers:
        z = F.linear(ACTIVATIONS[activation](z, omega), weight, bias)
    return z


def mlp(x: Tensor, layers: Sequence[Layer], activation: str = "sine", omega: float = 30.0) -> Tensor:
    """`x` [..., I] through every layer, an activation between layers and none after the last."""
    return hidden_layers(F.linear(x, *layers[0]), layers[1:], activation, omega)
