"""What the queries of V3 and of Thera share: a layer that makes fields of features, and pictures read off them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine import reference
from vinr_engine.models.v3.checkpoint import FREQUENCIES, FlaxCheckpoint
from vinr_engine.ops.fourier_field import checked_size
from vinr_engine.ops.v3_query import v3_query


class FlaxLinear(nn.Module):
    """A linear layer with its weight as flax keeps it, [in, out]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.kernel.t(), self.bias)


Query = TypeVar("Query", bound="FieldQuery")


class FieldQuery(nn.Module):
    """The parameters under the checkpoint's names, and pictures.

    network: as `FlaxCheckpoint` calls it, which tells the frequencies' name and axes.
    mean, std: of the colours that the network was trained on.

    Args:
        channels: of the features.
        functions: sines of a pixel's field.
    """

    network: ClassVar[str]
    mean: ClassVar[Sequence[float]]
    std: ClassVar[Sequence[float]]
    k: Tensor

    def __init__(self, channels: int, functions: int) -> None:
        super().__init__()
        self.out_conv = FlaxLinear(channels, 4 * functions)
        name, axes = FREQUENCIES[self.network]
        # As training begins with them: up to 16 pi in space.
        radius, angle, time = torch.pi * 16 * torch.rand(functions).sqrt(), *(2 * torch.pi * torch.rand(2, functions))
        drawn = torch.stack([radius * angle.cos(), radius * angle.sin(), radius * time.cos()][:axes])
        self.register_parameter(name, nn.Parameter(drawn))
        self.register_parameter("k", nn.Parameter(torch.tensor(0.06)))

    @classmethod
    def from_checkpoint(cls: type[Query], path: str | os.PathLike[str]) -> Query:
        """With the parameters of a published checkpoint, whose pickle runs no code. Raises FileNotFoundError,
        CheckpointError."""
        state = FlaxCheckpoint(path).query(cls.network)
        query = cls(state["out_conv.kernel"].shape[0], state[FREQUENCIES[cls.network][0]].shape[1])
        query.load_state_dict(state)
        return query

    def pictures(
        self,
        features: Tensor,
        base: Tensor,
        size: tuple[int, int],
        times: tuple[Tensor, Tensor] | None,
        *,
        inverse_square: float | None = None,
        clip: bool = True,
    ) -> Tensor:
        """The field times `std`, plus `mean` and `base` enlarged by nearest pixel.

        The deviation goes into the layer's amplitudes, and mean and base are one picture, so that the query is all
        there is to do for an output pixel. `inverse_square` is 1 / s^2 of the scale s; by default of the areas.
        """
        size = checked_size("v3_query", size)
        wide = torch.float64 if features.dtype == torch.float64 else torch.float32
        frequencies = self.get_parameter(FREQUENCIES[self.network][0]).to(wide)
        deviation = torch.tensor(self.std, dtype=wide, device=features.device)
        functions = frequencies.shape[1]
        factors = torch.cat([deviation.repeat(functions), deviation.new_ones(functions)])
        weight, bias = (t.to(wide) for t in (self.out_conv.kernel.t(), self.out_conv.bias))
        if inverse_square is None:
            inverse_square = features.shape[1] * features.shape[2] / (size[0] * size[1])
        damping = reference.field_damping(frequencies, self.k.to(wide), inverse_square)
        if times is not None:
            times = times[0], times[1].to(wide)
        base = base.to(wide) + torch.tensor(self.mean, dtype=wide, device=base.device)
        head = weight * factors[:, None], bias * factors
        out = v3_query(features, head, frequencies, damping, size, times, base)
        if not clip:
            return out
        return out.clamp(0, 1) if out.requires_grad else out.clamp_(0, 1)
