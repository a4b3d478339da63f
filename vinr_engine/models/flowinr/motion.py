"""The flow at any time between two frames, coarse to fine, seen from that time.

Both frames' features are moved to time t along the velocity found so far, and compared there with each other's
neighbourhoods: a candidate d is what a pixel at time t shows if its content comes from t d before and goes to
(1 - t) d ahead. So one search serves any t, and the flow needs no filling of holes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import padding_to_multiple
from vinr_engine.models.layers.convolution import convolve
from vinr_engine.models.layers.warped_blend import warp
from vinr_engine.ops import local_correlation

FINEST, COARSEST = 2, 8  # the levels' input pixels, doubled from level to level
RADII = (3, 3, 4)  # pixels of the level, finest first
SHARPNESS = 8.0  # at first, of the choice among candidates
HIDDEN = 32
CARRIED = 16  # features from a level to the next finer one
FEATURE_FLOOR = 0.1  # against the features' norm: flat pictures look like nothing


def velocity_scale(level: int) -> float:
    """Input pixels of a pixel of a level, 0 the finest."""
    return float(FINEST * 2**level)


def candidates(radius: int, like: Tensor) -> Tensor:
    """[2, (2 radius + 1)^2]: the displacements, x and y, in the order of `local_correlation`."""
    offsets = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(offsets, offsets, indexing="xy")).flatten(1)


class MotionPyramid(nn.Module):
    """What the search compares of a frame: features of about unit length at three levels."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = widths
        pairs = [(6, first), (first, second), (second, third)]
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.refine = nn.ModuleList(nn.Conv2d(b, b, 3, 1, 1) for _, b in pairs)

    def forward(self, frame: Tensor, detail: Tensor) -> list[Tensor]:
        """frame [B, 3, h, w], and it as of `without_mean` -> the levels, finest first, of sides padded to COARSEST."""
        x = torch.cat([10 * detail, 2 * frame - 1], 1)
        x = F.pad(x, padding_to_multiple(frame.shape[-2], frame.shape[-1], COARSEST))
        x = x.contiguous(memory_format=torch.channels_last)
        levels = []
        for shrink, refine in zip(self.shrink, self.refine, strict=True):
            x = F.leaky_relu(shrink(x), 0.1)
            x = convolve(refine, x, slope=0.1)
            levels.append(x / (x.square().mean(1, keepdim=True).sqrt() + FEATURE_FLOOR))
        return levels


class MotionStep(nn.Module):
    """One level: how far the velocity is off, from the comparison.

    The candidates' mean, each by how well it matches, is the first guess: what is far off is found by what looks alike,
    and convolutions have but to judge the matches and to correct the guess.
    """

    def __init__(self, width: int, radius: int, carried: int) -> None:
        super().__init__()
        self.radius = radius
        count = (2 * radius + 1) ** 2
        self.judge = nn.Conv2d(count, count, 3, 1, 1)
        inputs = count + 2 * width + 6 + carried
        self.conv1 = nn.Conv2d(inputs, 2 * CARRIED + HIDDEN // 2, 3, 1, 1)
        self.conv2 = nn.Conv2d(2 * CARRIED + HIDDEN // 2, HIDDEN, 3, 1, 1)
        self.conv3 = nn.Conv2d(HIDDEN, 2 + CARRIED, 3, 1, 1)
        nn.init.zeros_(self.judge.weight)
        nn.init.zeros_(self.judge.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.conv3.weight, std=1e-3)
        nn.init.zeros_(self.conv3.bias)  # type: ignore[arg-type]

    def forward(
        self, first: Tensor, second: Tensor, times: Tensor, velocity: Tensor, carried: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """first, second [B, C, h, w], times [B], velocity [B, 2, h, w] in pixels of this level -> the new velocity, and
        what is carried on."""
        t = times.to(velocity.dtype)[:, None, None, None]
        first, second = warp(first, -t * velocity), warp(second, (1 - t) * velocity)
        matches = local_correlation(first, second, times, self.radius).contiguous(memory_format=torch.channels_last)
        shares = (SHARPNESS * convolve(self.judge, matches, add=matches)).softmax(1)
        guess = F.conv2d(shares, candidates(self.radius, shares)[..., None, None])
        certainty = shares.amax(1, keepdim=True)
        at = t.expand(-1, 1, *velocity.shape[2:])
        known = [matches, first, second, velocity / 4, guess / 4, certainty, at]
        if carried is not None:
            known.append(carried)
        x = convolve(self.conv1, torch.cat(known, 1).contiguous(memory_format=torch.channels_last), slope=0.1)
        x = convolve(self.conv3, convolve(self.conv2, x, slope=0.1))
        return velocity + guess + x[:, :2], F.leaky_relu(x[:, 2:], 0.1)


class Motion(nn.Module):
    """The velocity seen at a time between two frames, from their pyramids."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.pyramid = MotionPyramid(widths)
        coarsest = len(widths) - 1
        self.steps = nn.ModuleList(
            MotionStep(width, RADII[level], CARRIED if level < coarsest else 0) for level, width in enumerate(widths)
        )

    def forward(self, first: list[Tensor], second: list[Tensor], times: Tensor) -> list[Tensor]:
        """Pyramids, times [B] -> velocities [B, 2, h, w] from the first frame to the second, finest first, each in
        pixels of its level."""
        velocity = torch.zeros_like(first[-1][:, :2])
        carried = None
        found = []
        for level in reversed(range(len(self.steps))):
            if carried is not None:
                velocity = 2 * F.interpolate(velocity, scale_factor=2, mode="bilinear", align_corners=False)
                carried = F.interpolate(carried, scale_factor=2, mode="bilinear", align_corners=False)
            velocity, carried = self.steps[level](first[level], second[level], times, velocity, carried)
            found.append(velocity)
        return found[::-1]
