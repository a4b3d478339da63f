"""Alignment of two feature pyramids by deformable convolution, coarse to fine (PCD, after EDVR).

A half of the alignment moves a target towards a guide. Its first offset layers see both, joined: a convolution of
joined inputs is the sum of two, so that each pyramid's share of it is computed on its own, once for all that it meets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vinr_engine.models.blocks import (
    DeformConvPack,
    Pyramid,
    PyramidLevels,
    constant_map,
    conv3x3,
    joined,
    lrelu,
    share,
    upsample2,
)

LEVELS = ("L1", "L2", "L3")


class Known(NamedTuple):
    """A pyramid, and what it adds to L1, L2 and L3_offset_conv1 of both halves, before their activation."""

    pyramid: Pyramid
    share_1: Pyramid
    share_2: Pyramid

    def map(self, function: Callable[[Tensor], Tensor]) -> Known:
        return Known(*(pyramid.map(function) for pyramid in self))


class PCDAlign(nn.Module):
    """Aligns two pyramids with each other; each direction has parameters of its own, told apart by their suffix."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        for suffix in ("_1", "_2"):
            layers = {
                "L3_offset_conv1": conv3x3(2 * nf, nf),
                "L3_offset_conv2": conv3x3(nf, nf),
                "L3_dcnpack": DeformConvPack(nf, groups),
                "L2_offset_conv1": conv3x3(2 * nf, nf),
                "L2_offset_conv2": conv3x3(2 * nf, nf),
                "L2_offset_conv3": conv3x3(nf, nf),
                "L2_dcnpack": DeformConvPack(nf, groups),
                "L2_fea_conv": conv3x3(2 * nf, nf),
                "L1_offset_conv1": conv3x3(2 * nf, nf),
                "L1_offset_conv2": conv3x3(2 * nf, nf),
                "L1_offset_conv3": conv3x3(nf, nf),
                "L1_dcnpack": DeformConvPack(nf, groups),
                "L1_fea_conv": conv3x3(2 * nf, nf),
            }
            for name, layer in layers.items():
                self.add_module(name + suffix, layer)

    def _layer(self, level: str, name: str, suffix: str) -> nn.Module:
        return self.get_submodule(f"{level}_{name}{suffix}")

    def know(self, pyramid: Pyramid, side: int, zero: bool = False) -> Known:
        """`pyramid` as the first (side 0) or the second (side 1) argument of an alignment.

        `zero` says that level 1 of a second argument is zero.
        """

        def shares(suffix: str, side: int) -> Pyramid:
            convs = [self._layer(level, "offset_conv1", suffix) for level in LEVELS]
            level1 = pyramid.level1 if zero else share(convs[0], pyramid.level1, side)
            return Pyramid(level1, *(share(conv, x, side) for conv, x in zip(convs[1:], pyramid[1:], strict=True)))

        # Half _1 joins [first, second], half _2 [second, first].
        return Known(pyramid, shares("_1", side), shares("_2", 1 - side))

    def _deform(self, level: str, suffix: str, target: Tensor, offset: Tensor) -> Tensor:
        # Convolutions that follow want channels last, whatever format the op gives.
        aligned = self._layer(level, "dcnpack", suffix)(target, offset)
        return aligned.contiguous(memory_format=torch.channels_last)

    def _finer_offset(self, level: str, suffix: str, offset: Tensor, coarse: Tensor) -> Tensor:
        # An offset of one pixel is two pixels one level up.
        finer = joined(self._layer(level, "offset_conv2", suffix), lrelu(offset), 2 * upsample2(coarse))
        return lrelu(self._layer(level, "offset_conv3", suffix)(lrelu(finer)))

    def _align(self, target: Pyramid, shares: tuple[Pyramid, Pyramid], suffix: str, zero: bool) -> Tensor:
        """`target` moved towards its guide: [B, nf, h, w]. `zero` says that level 1 of `target` is."""
        offset1, offset2, offset3 = (a + b for a, b in zip(*shares, strict=True))

        offset3 = lrelu(self._layer("L3", "offset_conv2", suffix)(lrelu(offset3)))
        feature = lrelu(self._deform("L3", suffix, target.level3, offset3))

        offset2 = self._finer_offset("L2", suffix, offset2, offset3)
        aligned = self._deform("L2", suffix, target.level2, offset2)
        feature = lrelu(joined(self._layer("L2", "fea_conv", suffix), aligned, upsample2(feature)))

        fea_conv = self._layer("L1", "fea_conv", suffix)
        if zero:
            # Whatever the offsets, the deformable convolution of zeros is its bias.
            dcnpack = self._layer("L1", "dcnpack", suffix)
            assert isinstance(dcnpack, DeformConvPack)
            bias = constant_map(dcnpack.bias, target.level1)
            return share(fea_conv, upsample2(feature), 1).add_(share(fea_conv, bias, 0))
        offset1 = self._finer_offset("L1", suffix, offset1, offset2)
        return joined(fea_conv, self._deform("L1", suffix, target.level1, offset1), upsample2(feature))

    def forward(self, first: Known, second: Known, second_is_zero: bool = False) -> Tensor:
        """-> [B, 2 nf, h, w]: the first aligned with the second, and the second with the first.

        `second_is_zero` says that level 1 of the second is zero.
        """
        half_1 = self._align(first.pyramid, (first.share_1, second.share_1), "_1", False)
        half_2 = self._align(second.pyramid, (first.share_2, second.share_2), "_2", second_is_zero)
        return torch.cat([half_1, half_2], 1)


class PCDFusion(PyramidLevels):
    """Fuses two feature maps of one size: a pyramid of each, their alignment, a 1x1 convolution."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__(nf)
        self.pcd_align = PCDAlign(nf, groups)
        self.fusion = nn.Conv2d(2 * nf, nf, 1)

    def know(self, first: Tensor) -> Known:
        """What follows from the first map [B, nf, h, w] alone."""
        return self.pcd_align.know(self.build_pyramid(first), 0)

    def forward(self, first: Known, second: Tensor) -> Tensor:
        """`know(first)`, second [B, nf, h, w] -> [B, nf, h, w]"""
        return self.fusion(self.pcd_align(first, self.pcd_align.know(self.build_pyramid(second), 1)))

    def with_zeros(self, first: Known) -> Tensor:
        """`forward` with a second map of zeros."""
        level1 = first.pyramid.level1
        zeros = self.pcd_align.know(self.zero_pyramid(level1), 1, zero=True)
        zeros = zeros.map(lambda level: level.expand(len(level1), -1, -1, -1))
        return self.fusion(self.pcd_align(first, zeros, second_is_zero=True))
