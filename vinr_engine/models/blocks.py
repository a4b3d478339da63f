"""The encoder's small parts: residual blocks, feature pyramids, deformable convolution with its offsets."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.ops import deform_conv2d_packed


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def lrelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


def upsample2(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w], bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x)))"""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(nf, nf)
        self.conv2 = conv3x3(nf, nf)
        for conv in (self.conv1, self.conv2):
            # A tenth of He's initialisation keeps a long chain of blocks near the identity at first.
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(0.1)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


def residual_blocks(count: int, nf: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(nf) for _ in range(count)))


class Pyramid(NamedTuple):
    """A feature map at full, half and quarter size: [B, nf, h, w], [B, nf, h/2, w/2], [B, nf, h/4, w/4]."""

    level1: Tensor
    level2: Tensor
    level3: Tensor


class PyramidLevels(nn.Module):
    """The four convolutions that make levels 2 and 3; a base class, since its users hold them under their own name."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.fea_L2_conv1 = conv3x3(nf, nf, stride=2)
        self.fea_L2_conv2 = conv3x3(nf, nf)
        self.fea_L3_conv1 = conv3x3(nf, nf, stride=2)
        self.fea_L3_conv2 = conv3x3(nf, nf)

    def build_pyramid(self, level1: Tensor) -> Pyramid:
        level2 = lrelu(self.fea_L2_conv2(lrelu(self.fea_L2_conv1(level1))))
        level3 = lrelu(self.fea_L3_conv2(lrelu(self.fea_L3_conv1(level2))))
        return Pyramid(level1, level2, level3)


class DeformConvPack(nn.Module):
    """3x3 modulated deformable convolution whose offsets and masks a convolution computes from a second input."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(nf, nf, 3, 3))
        self.bias = nn.Parameter(torch.zeros(nf))
        self.conv_offset_mask = conv3x3(nf, 3 * groups * 9)
        bound = 1 / math.sqrt(nf * 9)
        nn.init.uniform_(self.weight, -bound, bound)
        # Zeros: training starts from the regular grid.
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """x [B, nf, h, w], guide [B, nf, h, w] -> [B, nf, h, w]"""
        device = x.device.type
        if torch.is_autocast_enabled(device):
            # Offsets in bfloat16 would be exact to 1/64 pixel only.
            with torch.autocast(device, enabled=False):
                raw = self.conv_offset_mask(guide.float())
        else:
            raw = self.conv_offset_mask(guide)
        return deform_conv2d_packed(x, raw, self.weight, self.bias, padding=1)
