"""BF-STVSR's motion: from 64 amplitudes and knots a pixel, at one time or at several."""

from __future__ import annotations

import torch

from benchmarks.common.measure import Task
from benchmarks.family.case import Case, Forms
from vinr_engine import reference
from vinr_engine.ops import bspline_head


def forms(times: int, *, step: bool = False) -> Forms:
    both = torch.rand(1, 360, 640, 128) * 4 - 2  # amplitudes and knots, as the network before gives them
    tensors = [torch.rand(64) * 2, torch.linspace(0, 1, times), (torch.rand(3, 64) * 2 - 1) / 8, torch.rand(3)]
    leaves = [t.requires_grad_(step) for t in (both, *tensors)]
    chosen = torch.rand(times, 1, 360, 640, 3)

    def of(function: Task) -> Task:
        return (lambda: torch.autograd.grad(function(), leaves, chosen)) if step else function

    return Forms(
        of(lambda: reference.bspline_head(*both.chunk(2, -1), *tensors)),
        of(lambda: bspline_head(*both.chunk(2, -1), *tensors)),
    )


CASES = [
    Case("bspline_head 360x640 1 time", lambda: forms(1)),
    Case("bspline_head 360x640 7 times", lambda: forms(7)),
    Case("bspline_head step 360x640 1 time", lambda: forms(1, step=True), step=True),
]
