"""A 3x3 convolution of a picture enlarged by nearest neighbour: BF-STVSR's, and upsamplers' of other networks."""

from __future__ import annotations

import torch

from benchmarks.common.measure import Task
from benchmarks.family.case import Case, Forms
from vinr_engine import reference
from vinr_engine.ops import nearest_conv, nearest_conv_table


def forms(size: tuple[int, int], scale: float, *, table: bool = False, step: bool = False) -> Forms:
    h, w = size
    enlarged = round(h * scale), round(w * scale)
    x = (torch.rand(1, 64, h, w) * 2 - 1).contiguous(memory_format=torch.channels_last).requires_grad_(step)
    weight = ((torch.rand(64, 64, 3, 3) * 2 - 1) / 24).requires_grad_(step)
    bias = torch.rand(64).requires_grad_(step)
    chosen = torch.rand(1, 64, *enlarged).contiguous(memory_format=torch.channels_last)

    def of(function: Task) -> Task:
        if not step:
            return function
        return lambda: torch.autograd.grad(function(), (x, weight, bias), chosen)

    if table:  # and one result read, so that the forms can be compared

        def ours() -> torch.Tensor:
            table, index = nearest_conv_table(x, weight, bias, enlarged)
            return table[:, index[0]].permute(0, 2, 1)

        return Forms(lambda: reference.nearest_conv(x, weight, bias, enlarged)[:, :, 0], ours)
    return Forms(
        of(lambda: reference.nearest_conv(x, weight, bias, enlarged)),
        of(lambda: nearest_conv(x, weight, bias, enlarged)),
    )


# The code that torch.compile of PyTorch 2.13 makes of a step's straight form writes where it must not, and crashes.
CASES = [
    Case("nearest_conv 90x160 x4", lambda: forms((90, 160), 4)),
    Case("nearest_conv 90x160 x2", lambda: forms((90, 160), 2)),
    Case("nearest_conv 90x160 x3.5", lambda: forms((90, 160), 3.5)),
    Case("nearest_conv 90x160 x1.5", lambda: forms((90, 160), 1.5)),
    Case("nearest_conv_table 90x160 x4", lambda: forms((90, 160), 4, table=True)),
    Case("nearest_conv step 90x160 x4", lambda: forms((90, 160), 4, step=True), step=True, compiles=False),
    Case("nearest_conv step 90x160 x2", lambda: forms((90, 160), 2, step=True), step=True, compiles=False),
]
