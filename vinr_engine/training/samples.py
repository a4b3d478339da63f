"""What a sample is, and what makes one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from vinr_engine.evaluation.metrics import quantise
from vinr_engine.evaluation.resize import resize

FRAMES = 9  # consecutive frames of a sample: its inputs are the first and the last
Batch = dict[str, Tensor]
"""frames [B, 2, 3, h, w], target [B, T, 3, HH, WW], times [T, B]; procedural: also flow [B, T, 4, HH, WW];
with a teacher, at its scale: also taught, of the shape of target."""


def inputs_of(targets: Tensor, side: int) -> Tensor:
    """targets [N, 3, n, n] -> the inputs [N, 3, side, side] that show the same, of 8 bits."""
    return quantise(resize(targets, side / targets.shape[-1], (side, side)).clamp(0, 1))


class Source(Protocol):
    """What makes a sample of `Batch` (no B), all of it drawn from `rng`; `times` [T], of which 8 t is whole."""

    def sample(
        self, rng: np.random.Generator, times: Tensor, input_crop: int, scale: float, target_shrink: float
    ) -> Batch: ...
