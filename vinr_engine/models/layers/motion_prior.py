"""How two frames moved against each other, by pyramidal Lucas-Kanade: what a network then need not learn from nothing.

B. Lucas and T. Kanade, "An iterative image registration technique" (1981), coarse to fine, with weights that fall where
the frames disagree and a smoothing after every step. No parameter of it is learned.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import local_mean, padding_to_multiple
from vinr_engine.models.layers.warped_blend import warp

LEVELS = 4  # each half the size of the one before
STEPS = 3  # a level
WINDOW, SMOOTHING = 7, 5  # pixels each way of what is compared, and of what the flow is averaged over
LARGEST_STEP = 1.0  # pixels of the level: further, the linear model does not reach
FLAT, ISOTROPIC = 1e-4, 0.02  # added to the squared gradients: of their own size, and of their trace
DIFFERENT = 1e-5  # mean squared difference below which all pixels count alike
VELOCITY_UNIT, ERROR_UNIT = 4.0, 0.1  # pixels, colour: what the features count in
VALUES = 6  # a pixel: velocity and disagreement (x, y each), and two differences of colour


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Along x and y, central."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    dx = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    dy = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return dx / 2, dy / 2


def _improved(here: Tensor, other: Tensor, flow: Tensor) -> Tensor:
    """`flow` [N, 2, h, w] from `here` to `other` [N, 3, h, w] after one step of least squares."""
    moved = warp(other, flow)
    gx, gy = _gradient((here + moved) / 2)
    difference = here - moved
    error = difference.square().mean(1, keepdim=True)
    weight = 1 / (1 + error / (local_mean(error, WINDOW) + DIFFERENT))
    products = torch.stack([gx, gx, gy, gx, gy], 1) * torch.stack([gx, gy, gy, difference, difference], 1)
    means = local_mean(weight * products.mean(2), WINDOW)
    xx, xy, yy, xd, yd = means.split(1, 1)
    ridge = FLAT + ISOTROPIC * (xx + yy)
    xx, yy = xx + ridge, yy + ridge
    step = torch.cat([yy * xd - xy * yd, xx * yd - xy * xd], 1) / (xx * yy - xy * xy)
    return local_mean(flow + step.clamp(-LARGEST_STEP, LARGEST_STEP), SMOOTHING)


def optical_flow(here: Tensor, other: Tensor) -> Tensor:
    """The way (x, y), in pixels, from each pixel of `here` to where its content lies in `other`.

    here, other: [N, 3, h, w] in [0, 1], float32 or float64. Returns [N, 2, h, w]. Motions of up to about
    STEPS * 2^LEVELS pixels are found.
    """
    h, w = here.shape[-2:]
    padding = padding_to_multiple(h, w, 2 ** (LEVELS - 1))
    levels = [(F.pad(here, padding, mode="replicate"), F.pad(other, padding, mode="replicate"))]
    for _ in range(LEVELS - 1):
        a, b = levels[-1]
        levels.append((F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)))
    flow = torch.zeros_like(levels[-1][0][:, :2])
    for number, (a, b) in enumerate(reversed(levels)):
        if number:
            flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=False)
        for _ in range(STEPS):
            flow = _improved(a, b, flow)
    return flow[..., :h, :w]


class MotionPrior(nn.Module):
    """Features between two frames from their motion: a 1x1 convolution `conv` of VALUES numbers a pixel.

    These are the velocity halfway between the frames, from the flows of both directions; by how much the two disagree;
    and the difference that is left in colour when either frame is moved to the other.
    """

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(VALUES, nf, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """first, second [B, 3, h, w] in [0, 1] -> [B, nf, h, w]"""
        with torch.autocast(first.device.type, enabled=False):
            values = self.values(first, second)
        return self.conv(values.to(first.dtype, memory_format=torch.channels_last))

    @staticmethod
    def values(first: Tensor, second: Tensor) -> Tensor:
        """[B, VALUES, h, w], each of a size of about one or below."""
        wide = torch.promote_types(first.dtype, torch.float32)
        here = torch.cat([first, second]).to(wide)
        other = torch.cat([second, first]).to(wide)
        flow = optical_flow(here, other)
        error = (here - warp(other, flow)).abs().mean(1, keepdim=True)
        ahead, back = flow.chunk(2)
        velocity = (ahead - back) / 2
        # What is seen halfway left its place half a velocity ago, and will reach it in as much.
        ahead, back = warp(ahead, -velocity / 2), warp(back, velocity / 2)
        flows = torch.cat([(ahead - back) / 2, (ahead + back) / 2], 1)
        return torch.cat([flows / VELOCITY_UNIT, *(error / ERROR_UNIT).chunk(2)], 1)
