"""What FlowINR knows of a frame, and what it makes of two of them at a time between them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.flowinr.enlarge import Decoder, blocks, conv
from vinr_engine.models.layers.convolution import convolve
from vinr_engine.models.layers.warped_blend import warp
from vinr_engine.models.network import Size

GUIDES = 9  # a pixel: both moved frames less their means, the velocity, the time


class KnownFrame(NamedTuple):
    """A frame less its local mean [B, 3, h, w], its contrast [B, 1, h, w], its features [B, nf, h, w], the levels that
    the search for motion compares, and the frame enlarged [B, 3, HH, WW]."""

    detail: Tensor
    contrast: Tensor
    features: Tensor
    levels: list[Tensor]
    enlarged: Tensor | None


class Merge(nn.Module):
    """What a time between two frames needs beside their moved pictures: a finer flow, which frame to trust where, and
    what is left to add."""

    def __init__(self, nf: int, count: int) -> None:
        super().__init__()
        self.head = conv(2 * nf + GUIDES, nf)
        self.body = blocks(count, nf)
        self.flow = nn.Conv2d(nf, 5, 3, 1, 1)
        self.decoder = Decoder(nf)
        nn.init.zeros_(self.decoder.functions)  # it begins with the moved pictures alone
        nn.init.normal_(self.flow.weight, std=1e-3)
        nn.init.zeros_(self.flow.bias)  # type: ignore[arg-type]

    def forward(
        self, first: KnownFrame, second: KnownFrame, times: Tensor, velocity: Tensor, size: Size
    ) -> tuple[Tensor, Tensor, Tensor]:
        """velocity [B, 2, h, w] in input pixels -> flow [B, 4, HH, WW] in output pixels, logit of the first frame's
        weight [B, 1, HH, WW], and what is added [B, 3, HH, WW]."""
        t = times[:, None, None, None]
        moved = [
            warp(torch.cat([known.features, known.detail, known.contrast], 1), way * velocity)
            for known, way in ((first, -t), (second, 1 - t))
        ]
        nf = first.features.shape[1]
        (a, da, ca), (b, db, cb) = (m.split([nf, 3, 1], 1) for m in moved)
        local = (1 - t) * ca + t * cb
        # Contrast in place of ones: what these say of the place counts as much in dark pictures as in bright ones.
        guides = torch.cat([da, db, velocity / 4 * local, t * local], 1)
        x = torch.cat([a, b, guides], 1).contiguous(memory_format=torch.channels_last)
        x = self.body(convolve(self.head, x, slope=0.0))
        change = convolve(self.flow, x / (local + 0.02))
        fine = torch.cat([t * (change[:, :2] - velocity), (1 - t) * (change[:, 2:4] + velocity)], 1)
        HH, WW = size
        h, w = velocity.shape[-2:]
        large = F.interpolate(torch.cat([fine, change[:, 4:]], 1), size, mode="bilinear", align_corners=False)
        unit = velocity.new_tensor([WW / w, HH / h, WW / w, HH / h])[:, None, None]
        return large[:, :4] * unit, large[:, 4:], self.decoder(x, size)
