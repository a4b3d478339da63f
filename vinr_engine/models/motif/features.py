"""MoTIF's motion features: flow between both frames, how far it can be trusted, and what convolutions make of that."""

from __future__ import annotations

from torch import Tensor, nn

from vinr_engine import reference
from vinr_engine.models.layers.blocks import conv3x3
from vinr_engine.models.layers.convolution import convolve
from vinr_engine.ops.checks import check_rank, check_shape

OP = "MoTIF's motion features"


def motion_input(frames: Tensor, flow: Tensor) -> Tensor:
    """What `MotionEncoder` sees of both frames: [2, B, 14, h, w]; arguments as of `MoTIFQuery.motion_features`."""
    check_rank(OP, "frames", frames, "[B, 2, 3, h, w]")
    B, _, _, h, w = frames.shape
    check_shape(OP, "frames", frames, "[B, 2, 3, h, w]", (B, 2, 3, h, w))
    check_rank(OP, "flow", flow, "[2, 2, B, 2, HH, WW]")
    check_shape(OP, "flow", flow, "[2, 2, B, 2, HH, WW]", (2, 2, B, 2, *flow.shape[4:]))
    return reference.motif_motion_input(frames, flow)


class _Block(nn.Module):
    """x + conv(lrelu(conv(x))), its convolutions under the published names."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv3x3(nf, nf), nn.LeakyReLU(0.1), conv3x3(nf, nf))

    def forward(self, x: Tensor) -> Tensor:
        first, _, second = self.layers
        return convolve(second, convolve(first, x, slope=0.1), add=x)


class MotionEncoder(nn.Sequential):
    """[B, 14, h, w] -> [B, 64, h, w]; modules are numbered as in the published checkpoints."""

    def __init__(self, nf: int = 64) -> None:
        super().__init__(
            nn.Conv2d(14, nf, 3, padding=1, groups=2),
            nn.Conv2d(nf, nf, 3, padding=1, groups=2),
            nn.LeakyReLU(0.1),
            *(_Block(nf) for _ in range(5)),
            nn.LeakyReLU(0.1),
            nn.Conv2d(nf, nf, 3, padding=1, padding_mode="reflect"),
        )
