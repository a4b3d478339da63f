"""What a sample is, and what makes one."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

FRAMES = 9  # consecutive frames of a sample: its inputs are the first and the last
Batch = dict[str, Tensor]
"""frames [B, 2, 3, h, w], target [B, T, 3, HH, WW], times [T, B]; procedural: also flow [B, T, 4, HH, WW];
stills at a teacher's scale: also taught, of the shape of target."""


class Source(Protocol):
    """What makes a sample of `Batch` (no B), all of it drawn from `rng`; `times` [T], of which 8 t is whole."""

    def sample(
        self, rng: np.random.Generator, times: Tensor, input_crop: int, scale: float, target_shrink: float
    ) -> Batch: ...
