"""The encoder's small parts: residual blocks, feature pyramids, deformable convolution with its offsets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.convolution import convolve, is_fused_inference, new_maps, residual_blocks
from vinr_engine.ops import deform_conv2d_packed
from vinr_engine.ops.deform_conv2d import deform_conv2d_guided


def padding_to_multiple(h: int, w: int, multiple: int) -> tuple[int, int, int, int]:
    """What `F.pad` adds to pictures of h x w, right and below, to make their sides multiples."""
    # Not -w % multiple: of negative numbers, runtimes of exported networks take other remainders.
    right, below = ((multiple - side % multiple) % multiple for side in (w, h))
    return 0, right, 0, below


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def lrelu(x: Tensor) -> Tensor:
    """In place: for what a layer has just made, whose backward does not read its own output."""
    return F.leaky_relu(x, 0.1, inplace=True)


def constant_map(values: Tensor, like: Tensor) -> Tensor:
    """values [C] at every pixel of one map of the size of `like`: [1, C, h, w]"""
    maps = values.reshape(1, -1, 1, 1).expand(-1, -1, *like.shape[2:])
    return maps.contiguous(memory_format=torch.channels_last)


def upsample2(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 2h, 2w], bilinear."""
    if is_fused_inference(x):
        B, C, h, w = x.shape
        out: Tensor = torch.ops.aten.upsample_bilinear2d.out(
            x, [2 * h, 2 * w], False, 2.0, 2.0, out=new_maps(x, B, C, 2 * h, 2 * w)
        )
        return out
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def local_mean(x: Tensor, side: int) -> Tensor:
    """The mean over side x side pixels; at the edges, over those there are."""
    x = F.avg_pool2d(x, (1, side), 1, (0, side // 2), count_include_pad=False)
    return F.avg_pool2d(x, (side, 1), 1, (side // 2, 0), count_include_pad=False)


class ResidualBlock(nn.Module):
    """x + conv2(relu(conv1(x)))

    Both begin with He's initialisation, the first times `first_gain`, the second times a tenth: that keeps a long chain
    of blocks near the identity at first.
    """

    def __init__(self, nf: int, bias: bool = True, first_gain: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(nf, nf, 3, 1, 1, bias=bias)
        self.conv2 = nn.Conv2d(nf, nf, 3, 1, 1, bias=bias)
        for conv, gain in ((self.conv1, first_gain), (self.conv2, 0.1)):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(gain)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.conv2, convolve(self.conv1, x, slope=0.0, rounds=True), add=x, rounds=True)


class ResidualBlocks(nn.Sequential):
    """A chain of blocks; under autocast the sum that runs through it stays float32."""

    def __init__(self, count: int, nf: int, bias: bool = True, first_gain: float = 0.1) -> None:
        super().__init__(*(ResidualBlock(nf, bias, first_gain) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        if len(self) and is_fused_inference(x):
            return residual_blocks(x, self.convs())
        low = x.dtype in (torch.bfloat16, torch.float16) and torch.is_autocast_enabled(x.device.type)
        return super().forward(x.float() if low else x)

    def stacked(self, maps: list[Tensor]) -> Tensor:
        """Of n maps [B, nf, h, w], which leave the list as they are done with: [n*B, nf, h, w]."""
        if not len(self) or not is_fused_inference(maps[0]):
            return self.forward(torch.cat(maps))
        convs, (B, *sizes) = self.convs(), maps[0].shape
        out = new_maps(convs[0][0].weight, len(maps) * B, *sizes)
        for k in range(len(maps)):
            residual_blocks(maps.pop(0), convs, out.narrow(0, k * B, B))
        return out

    def convs(self) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
        """Both of each block."""
        return [(block.conv1, block.conv2) for block in cast("list[ResidualBlock]", list(self))]


class Pyramid(NamedTuple):
    """A feature map at full, half and quarter size: [B, nf, h, w], [B, nf, h/2, w/2], [B, nf, h/4, w/4]."""

    level1: Tensor
    level2: Tensor
    level3: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Pyramid:
        return Pyramid(*map(function, self))


class PyramidLevels(nn.Module):
    """The four convolutions that make levels 2 and 3; a base class, since its users hold them under their own name."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.fea_L2_conv1 = conv3x3(nf, nf, stride=2)
        self.fea_L2_conv2 = conv3x3(nf, nf)
        self.fea_L3_conv1 = conv3x3(nf, nf, stride=2)
        self.fea_L3_conv2 = conv3x3(nf, nf)

    def build_pyramid(self, level1: Tensor) -> Pyramid:
        return Pyramid(level1, *self._coarse_levels(lrelu(self.fea_L2_conv1(level1))))

    def zero_pyramid(self, like: Tensor) -> Pyramid:
        """The pyramid of one map of zeros, [1, nf, h, w] if `like` is [B, nf, h, w].

        The first convolution gives its bias everywhere; zero padding makes the others' results vary near borders.
        """
        bias = self.fea_L2_conv1.bias
        assert bias is not None
        half = constant_map(F.leaky_relu(bias, 0.1), like[:, :, ::2, ::2])
        return Pyramid(like.new_zeros(()).expand(1, *like.shape[1:]), *self._coarse_levels(half))

    def _coarse_levels(self, half: Tensor) -> tuple[Tensor, Tensor]:
        level2 = convolve(self.fea_L2_conv2, half, slope=0.1)
        return level2, convolve(self.fea_L3_conv2, lrelu(self.fea_L3_conv1(level2)), slope=0.1)


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
        conv = self.conv_offset_mask
        if is_fused_inference(x):
            return deform_conv2d_guided(x.float(), guide.float(), conv.weight, conv.bias, self.weight, self.bias)
        device = x.device.type
        if torch.is_autocast_enabled(device):
            # Offsets in bfloat16 would be exact to 1/64 pixel only.
            with torch.autocast(device, enabled=False):
                raw = convolve(conv, guide.float())
        else:
            raw = convolve(conv, guide)
        return deform_conv2d_packed(x, raw, self.weight, self.bias, padding=1)
