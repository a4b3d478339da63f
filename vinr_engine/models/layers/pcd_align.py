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
from vinr_engine.models.layers.convolution import convolve, pointwise, share

LEVELS = ("L1", "L2", "L3")


class Known(NamedTuple):
    """A pyramid; and where it meets several others, what it adds to L1, L2 and L3_offset_conv1 of both halves, before
    their activation."""

    pyramid: Pyramid
    shares: tuple[Pyramid, Pyramid] | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Known:
        pyramid = self.pyramid.map(function)
        if self.shares is None:
            return Known(pyramid)
        half_1, half_2 = self.shares
        return Known(pyramid, (half_1.map(function), half_2.map(function)))


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
        """What follows from a first pyramid alone, that meets several second ones."""

        def shares(suffix: str, side: int) -> Pyramid:
            convs = (self._layer(level, "offset_conv1", suffix) for level in LEVELS)
            return Pyramid(*(share(conv, x, side, rounds=True) for conv, x in zip(convs, first, strict=True)))

        return Known(first, (shares("_1", 0), shares("_2", 1)))

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

    def _align(self, first: Known, second: Pyramid, half: int, zero: bool) -> Tensor:
        """The first or the second pyramid, moved towards the other: [B, nf, h, w].

        `zero` says that level 1 of the second is.
        """
        suffix = ("_1", "_2")[half]
        target = (first.pyramid, second)[half]
        # Half _1 joins [first, second], half _2 [second, first].
        side_of_first, side_of_second = (0, 1) if half == 0 else (1, 0)

        def first_offset(i: int) -> Tensor:
            conv, x = self._layer(LEVELS[i], "offset_conv1", suffix), first.pyramid[i]
            if first.shares is None and not zero:
                pair = (x, second[i]) if half == 0 else (second[i], x)
                return convolve(conv, *pair, slope=0.1, rounds=True)
            known = share(conv, x, side_of_first, rounds=True) if first.shares is None else first.shares[half][i]
            if not zero:
                return share(conv, second[i], side_of_second, slope=0.1, add=known, rounds=True)
            if i == 0:
                return F.leaky_relu(known, 0.1)
            # The pyramid of zeros is the same throughout the batch.
            return lrelu(share(conv, second[i][:1], side_of_second, rounds=True) + known)

        offset = convolve(self._layer("L3", "offset_conv2", suffix), first_offset(2), slope=0.1, rounds=True)
        feature = lrelu(self._deform("L3", suffix, target.level3, offset))

        offset = self._finer_offset("L2", suffix, first_offset(1), offset)
        aligned = self._deform("L2", suffix, target.level2, offset)
        feature = convolve(self._layer("L2", "fea_conv", suffix), aligned, upsample2(feature), slope=0.1)

        fea_conv = self._layer("L1", "fea_conv", suffix)
        if zero and half == 1:
            # Whatever the offsets, the deformable convolution of zeros is its bias.
            dcnpack = self._layer("L1", "dcnpack", suffix)
            assert isinstance(dcnpack, DeformConvPack)
            bias = share(fea_conv, constant_map(dcnpack.bias, target.level1), 0)
            return share(fea_conv, upsample2(feature), 1, add=bias.expand(len(feature), -1, -1, -1))
        offset = self._finer_offset("L1", suffix, first_offset(0), offset)
        return convolve(fea_conv, self._deform("L1", suffix, target.level1, offset), upsample2(feature))

    def forward(self, first: Known, second: Pyramid, second_is_zero: bool = False) -> tuple[Tensor, Tensor]:
        """-> [B, nf, h, w] each: the first aligned with the second, and the second with the first.

        `second_is_zero` says that level 1 of the second is zero.
        """
        return self._align(first, second, 0, second_is_zero), self._align(first, second, 1, second_is_zero)


class PCDFusion(PyramidLevels):
    """Fuses two feature maps of one size: a pyramid of each, their alignment, a 1x1 convolution."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__(nf)
        self.pcd_align = PCDAlign(nf, groups)
        self.fusion = nn.Conv2d(2 * nf, nf, 1)

    def know(self, first: Tensor, often: bool) -> Known:
        """What follows from the first map [B, nf, h, w] alone; `often` says whether it meets several second ones."""
        pyramid = self.build_pyramid(first)
        return self.pcd_align.know(pyramid) if often else Known(pyramid)

    def forward(self, first: Known, second: Tensor) -> Tensor:
        """`know(first)`, second [B, nf, h, w] -> [B, nf, h, w]"""
        return pointwise(self.fusion, *self.pcd_align(first, self.build_pyramid(second)))

    def with_zeros(self, first: Known) -> Tensor:
        """`forward` with a second map of zeros."""
        level1 = first.pyramid.level1
        zeros = self.zero_pyramid(level1).map(lambda level: level.expand(len(level1), -1, -1, -1))
        # Whole maps: what reads one of a batch stride of zero gives another memory format. Level 1 is not read.
        level2, level3 = (level.contiguous(memory_format=torch.channels_last) for level in zeros[1:])
        return pointwise(
            self.fusion, *self.pcd_align(first, Pyramid(zeros.level1, level2, level3), second_is_zero=True)
        )
