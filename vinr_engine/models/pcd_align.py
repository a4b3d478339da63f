"""Alignment of two feature pyramids by deformable convolution, coarse to fine (PCD, after EDVR)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vinr_engine.models.blocks import DeformConvPack, Pyramid, PyramidLevels, conv3x3, lrelu, upsample2


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

    def _align(self, target: Pyramid, guide: Pyramid, suffix: str) -> Tensor:
        """`target` moved towards `guide`: [B, nf, h, w]"""

        def layer(name: str) -> nn.Module:
            return self.get_submodule(name + suffix)

        offset = lrelu(layer("L3_offset_conv1")(torch.cat([target.level3, guide.level3], 1)))
        offset = lrelu(layer("L3_offset_conv2")(offset))
        feature = lrelu(layer("L3_dcnpack")(target.level3, offset))
        for level, f, g in (("L2", target.level2, guide.level2), ("L1", target.level1, guide.level1)):
            finer = lrelu(layer(level + "_offset_conv1")(torch.cat([f, g], 1)))
            # An offset of one pixel is two pixels one level up.
            finer = lrelu(layer(level + "_offset_conv2")(torch.cat([finer, 2 * upsample2(offset)], 1)))
            offset = lrelu(layer(level + "_offset_conv3")(finer))
            aligned = layer(level + "_dcnpack")(f, offset)
            feature = layer(level + "_fea_conv")(torch.cat([aligned, upsample2(feature)], 1))
            if level == "L2":
                feature = lrelu(feature)
        return feature

    def forward(self, first: Pyramid, second: Pyramid) -> Tensor:
        """-> [B, 2 nf, h, w]: the first aligned with the second, and the second with the first."""
        return torch.cat([self._align(first, second, "_1"), self._align(second, first, "_2")], 1)


class PCDFusion(PyramidLevels):
    """Fuses two feature maps of one size: a pyramid of each, their alignment, a 1x1 convolution."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__(nf)
        self.pcd_align = PCDAlign(nf, groups)
        self.fusion = nn.Conv2d(2 * nf, nf, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """first, second [B, nf, h, w] -> [B, nf, h, w]"""
        return self.fusion(self.pcd_align(self.build_pyramid(first), self.build_pyramid(second)))
