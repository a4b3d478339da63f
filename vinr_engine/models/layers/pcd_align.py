"""Alignment of two feature pyramids by deformable convolution, coarse to fine (PCD, after EDVR).

A half of the alignment moves a target towards a guide. Its first offset layers see both, joined: a convolution of
joined inputs is the sum of two, so that each pyramid's share of it is computed on its own, once for all that it meets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import (
    DeformConvPack,
    Pyramid,
    PyramidLevels,
    constant_map,
    conv3x3,
    lrelu,
    upsample2,
)
from vinr_engine.models.layers.convolution import convolve, share

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

    def know(self, first: Pyramid) -> Known:
        """What follows from the first pyramid alone."""

        def shares(suffix: str, side: int) -> Pyramid:
            convs = (self._layer(level, "offset_conv1", suffix) for level in LEVELS)
            return Pyramid(*(share(conv, x, side, rounds=True) for conv, x in zip(convs, first, strict=True)))

        # Half _1 joins [first, second], half _2 [second, first].
        return Known(first, shares("_1", 0), shares("_2", 1))

    def _deform(self, level: str, suffix: str, target: Tensor, offset: Tensor) -> Tensor:
        # Convolutions that follow want channels last, whatever format the op gives.
        aligned = self._layer(level, "dcnpack", suffix)(target, offset)
        return aligned.contiguous(memory_format=torch.channels_last)

    def _finer_offset(self, level: str, suffix: str, offset: Tensor, coarse: Tensor) -> Tensor:
        # An offset of one pixel is two pixels one level up.
        finer = convolve(
            self._layer(level, "offset_conv2", suffix), offset, upsample2(2 * coarse), slope=0.1, rounds=True
        )
        return convolve(self._layer(level, "offset_conv3", suffix), finer, slope=0.1, rounds=True)

    def _align(self, target: Pyramid, known: Pyramid, second: Pyramid, suffix: str, zero: bool) -> Tensor:
        """`target`, the first or the second pyramid, moved towards the other: [B, nf, h, w].

        `known` is the first pyramid's share of the first offset layers; `zero` says that level 1 of the second is.
        """
        target_is_second = suffix == "_2"

        def first_offset(i: int) -> Tensor:
            if i == 0 and zero:
                return F.leaky_relu(known[i], 0.1)
            conv, side = self._layer(LEVELS[i], "offset_conv1", suffix), 0 if target_is_second else 1
            if zero:  # its pyramid is the same throughout the batch
                return lrelu(share(conv, second[i][:1], side, rounds=True) + known[i])
            return share(conv, second[i], side, slope=0.1, add=known[i], rounds=True)

        offset = convolve(self._layer("L3", "offset_conv2", suffix), first_offset(2), slope=0.1, rounds=True)
        feature = lrelu(self._deform("L3", suffix, target.level3, offset))

        offset = self._finer_offset("L2", suffix, first_offset(1), offset)
        aligned = self._deform("L2", suffix, target.level2, offset)
        feature = convolve(self._layer("L2", "fea_conv", suffix), aligned, upsample2(feature), slope=0.1)

        fea_conv = self._layer("L1", "fea_conv", suffix)
        if zero and target_is_second:
            # Whatever the offsets, the deformable convolution of zeros is its bias.
            dcnpack = self._layer("L1", "dcnpack", suffix)
            assert isinstance(dcnpack, DeformConvPack)
            bias = constant_map(dcnpack.bias, target.level1)
            return share(fea_conv, upsample2(feature), 1) + share(fea_conv, bias, 0)
        offset = self._finer_offset("L1", suffix, first_offset(0), offset)
        return convolve(fea_conv, self._deform("L1", suffix, target.level1, offset), upsample2(feature))

    def forward(self, first: Known, second: Pyramid, second_is_zero: bool = False) -> Tensor:
        """-> [B, 2 nf, h, w]: the first aligned with the second, and the second with the first.

        `second_is_zero` says that level 1 of the second is zero.
        """
        half_1 = self._align(first.pyramid, first.share_1, second, "_1", second_is_zero)
        half_2 = self._align(second, first.share_2, second, "_2", second_is_zero)
        return torch.cat([half_1, half_2], 1)


class PCDFusion(PyramidLevels):
    """Fuses two feature maps of one size: a pyramid of each, their alignment, a 1x1 convolution."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__(nf)
        self.pcd_align = PCDAlign(nf, groups)
        self.fusion = nn.Conv2d(2 * nf, nf, 1)

    def know(self, first: Tensor) -> Known:
        """What follows from the first map [B, nf, h, w] alone."""
        return self.pcd_align.know(self.build_pyramid(first))

    def forward(self, first: Known, second: Tensor) -> Tensor:
        """`know(first)`, second [B, nf, h, w] -> [B, nf, h, w]"""
        return self.fusion(self.pcd_align(first, self.build_pyramid(second)))

    def with_zeros(self, first: Known) -> Tensor:
        """`forward` with a second map of zeros."""
        level1 = first.pyramid.level1
        zeros = self.zero_pyramid(level1).map(lambda level: level.expand(len(level1), -1, -1, -1))
        # Whole maps: what reads one of a batch stride of zero gives another memory format. Level 1 is not read.
        level2, level3 = (level.contiguous(memory_format=torch.channels_last) for level in zeros[1:])
        return self.fusion(self.pcd_align(first, Pyramid(zeros.level1, level2, level3), second_is_zero=True))
