"""Thera's query, under its checkpoint's names."""

from __future__ import annotations

import torch
from torch import Tensor

from vinr_engine.models.v3.field import FieldQuery
from vinr_engine.ops.checks import check, check_floating, check_rank, check_shape

OP = "TheraQuery"


class TheraQuery(FieldQuery):
    """Pictures of any size from Thera's features: what follows its encoder.

    Parameters bear the checkpoint's names: `out_conv.kernel` [C, 4 D], `out_conv.bias`, `components` [2, D], `k`.
    Of Thera Air D is 32, of Thera Plus and Pro 512.
    """

    components: Tensor
    network = "Thera"
    mean, std = (0.4488, 0.4371, 0.4040), (0.5, 0.5, 0.5)

    def __init__(self, channels: int = 64, functions: int = 512) -> None:
        super().__init__(channels, functions)

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
        return self.pictures(features, source, size, None, inverse_square=given[0] if given else None, clip=clip)
