"""SIREN: an MLP with sine activations (Sitzmann et al., "Implicit Neural Representations with Periodic Activation
Functions", NeurIPS 2020)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

OMEGA = 30.0


class SineLayer(nn.Module):
    """Holds the linear layer whose output goes through sin(OMEGA z)."""

    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        bound = 1 / inputs if first else math.sqrt(6 / inputs) / OMEGA
        nn.init.uniform_(self.linear.weight, -bound, bound)


class Siren(nn.Module):
    """The parameters of a SIREN; the query op evaluates it."""

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        widths = [inputs, *hidden]
        layers: list[nn.Module] = [SineLayer(a, b, first=i == 0) for i, (a, b) in enumerate(itertools.pairwise(widths))]
        last = nn.Linear(widths[-1], outputs)
        bound = math.sqrt(6 / widths[-1]) / OMEGA
        nn.init.uniform_(last.weight, -bound, bound)
        self.net = nn.Sequential(*layers, last)

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """(weight [out, in], bias [out]) of every layer, in order."""
        linears = [layer.linear if isinstance(layer, SineLayer) else layer for layer in self.net]
        return [(linear.weight, linear.bias) for linear in linears]  # type: ignore[misc]
