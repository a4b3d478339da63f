"""Thera's query, under its checkpoint's names."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from vinr_engine.drop_in.v3 import FlaxLinear, field_parameters, pictures
from vinr_engine.models.v3.checkpoint import FlaxCheckpoint
from vinr_engine.ops.checks import check, check_floating, check_rank, check_shape

OP = "TheraQuery"
MEAN, STD = (0.4488, 0.4371, 0.4040), (0.5, 0.5, 0.5)


class TheraQuery(nn.Module):
    """Pictures of any size from Thera's features: what follows its encoder.

    Args:
        channels: of the features.
        functions: sines of a pixel's field: 32 of Thera Air, 512 of Thera Plus and Pro.

    Parameters bear the checkpoint's names: `out_conv.kernel` [C, 4 D], `out_conv.bias`, `components` [2, D], `k`.
    """

    def __init__(self, channels: int = 64, functions: int = 512) -> None:
        super().__init__()
        self.out_conv = FlaxLinear(channels, 4 * functions)
        self.components = nn.Parameter(field_parameters(2, functions))
        self.k = nn.Parameter(torch.tensor(0.06))

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str]) -> TheraQuery:
        """With the parameters of a published checkpoint, whose pickle runs no code. Raises FileNotFoundError,
        CheckpointError."""
        state = FlaxCheckpoint(path).query("Thera")
        query = cls(state["out_conv.kernel"].shape[0], state["components"].shape[1])
        query.load_state_dict(state)
        return query

    def forward(
        self,
        features: Tensor,
        source: Tensor,
        size: tuple[int, int],
        t: float | Tensor | None = None,
        *,
        clip: bool = True,
    ) -> Tensor:
        """Pictures [B, HH, WW, 3].

        Args:
            features: [B, h, w, C], what the encoder gives.
            source: [B, h, w, 3] in [0, 1], what it saw, before mean and deviation were taken out.
            size: (HH, WW).
            t: 1 / scale^2, of all pictures or [B] of each; by default of the areas. Thera's script takes that of the
                widths.
            clip: to [0, 1]; for training, do not.

        Raises ValueError: shapes or sizes that do not fit, a t that is negative or no number.
        """
        check_rank(OP, "features", features, "[B, h, w, C]")
        B, h, w, _ = features.shape
        check_shape(OP, "features", features, "[B, h, w, C]", (B, h, w, self.out_conv.kernel.shape[0]))
        check_shape(OP, "source", source, "[B, h, w, 3]", (B, h, w, 3))
        check_floating(OP, "source", source)
        given = [t] * B if not torch.is_tensor(t) else t.tolist() if t.dim() else [float(t)] * B
        check(len(given) == B, OP, "t must be one number, or [B] = [{}] of them, got {}", B, len(given))
        for value in given:
            check(value is None or 0 <= value < float("inf"), OP, "t must be a number of at least 0, got {}", value)
        if len(set(given)) > 1:
            return torch.cat(
                [self(f[None], s[None], size, v, clip=clip) for f, s, v in zip(features, source, given, strict=True)]
            )
        return pictures(
            features, source, self.out_conv, self.components, self.k, size, None, MEAN, STD,
            inverse_square=given[0] if given else None, clip=clip,
        )  # fmt: skip
