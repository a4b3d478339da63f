"""BF-STVSR's and MoTIF's query with the published sizes, on features drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.family.case import Case, Forms, rounded
from vinr_engine import reference
from vinr_engine.drop_in.bf_stvsr import BFQuery
from vinr_engine.drop_in.motif import MoTIFQuery

H, W = 90, 160


def _features() -> Tensor:
    return (torch.rand(1, 3, 64, H, W) * 2 - 1).contiguous(memory_format=torch.contiguous_format)


def _times(count: int) -> Tensor:
    return torch.linspace(0, 1, count + 2)[1:-1, None]


def bf_stvsr(scale: float, count: int) -> Forms:
    query, features, times = BFQuery().requires_grad_(False), _features(), _times(count)
    size, state = (int(H * scale), int(W * scale)), query.state_dict()

    def straight() -> Tensor:
        return reference.bf_query(state, features, times, size).rgb.clamp(0, 1)

    def ours() -> Tensor:
        out: Tensor = query(features, times, size)
        return out

    return Forms(straight, ours, rounded(ours))


def motif(scale: float, count: int) -> Forms:
    query, features, times = MoTIFQuery().requires_grad_(False), _features(), _times(count)
    size, state, motion = (int(H * scale), int(W * scale)), query.state_dict(), torch.rand(2, 1, 64, H, W)

    def straight() -> Tensor:
        return reference.motif_query(state, features, motion, times, size).rgb.clamp(0, 1)

    def ours() -> Tensor:
        out: Tensor = query(features, motion, times, size)
        return out

    return Forms(straight, ours, rounded(ours))


# Single pixels on which hardly anything lands: there the straight form's own float32 is as far from float64.
FEW_LAND = 2e-2

CASES = [
    Case(f"bf_stvsr {H}x{W} x4, 1 time", lambda: bf_stvsr(4, 1), wanted=4.0, tolerance=FEW_LAND),
    Case(f"bf_stvsr {H}x{W} x4, 7 times", lambda: bf_stvsr(4, 7), wanted=5.0, tolerance=FEW_LAND),
    Case(f"bf_stvsr {H}x{W} x2.5, 1 time", lambda: bf_stvsr(2.5, 1), tolerance=FEW_LAND),
    Case(f"motif {H}x{W} x4, 1 time", lambda: motif(4, 1), tolerance=FEW_LAND),
    Case(f"motif {H}x{W} x4, 7 times", lambda: motif(4, 7), tolerance=FEW_LAND),
]
