"""What a file of cases declares: `CASES`, a list of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.common.measure import Task


@dataclass(frozen=True)
class Forms:
    """One computation in several forms, on inputs that they share; each call gives a tensor, or several.

    straight: as it is published, in plain torch: `vinr_engine.reference`, nothing of the engine.
    ours: through the public function or drop-in that a user calls.
    rounded: ours where products multiply bfloat16; None where that does not pay.
    """

    straight: Task
    ours: Task
    rounded: Task | None = None


def rounded(task: Task) -> Task:
    """The task with products that multiply bfloat16."""

    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return task()

    return run


@dataclass(frozen=True)
class Case:
    """A computation of one size.

    make: its forms, inputs drawn.
    wanted: how many times faster than the straight form in float32 ours shall be on two cores; None where that is open.
    tolerance: the largest relative error of ours in float32 against the straight form in float32.
    step: gradients are wanted: nothing runs in inference mode.
    compiles: whether torch.compile is measured; not where it would unroll tens of chunks or tiles, which takes it
        more than ten minutes, or where what it makes crashes.
    """

    name: str
    make: Callable[[], Forms]
    wanted: float | None = None
    tolerance: float = 1e-4
    step: bool = False
    compiles: bool = True
