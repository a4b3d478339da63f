"""The bidirectional ConvLSTM over the three feature maps, whose state is aligned with its input by PCD fusion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vinr_engine.models.blocks import conv3x3
from vinr_engine.models.pcd_align import PCDFusion


class ConvLSTMCell(nn.Module):
    """A ConvLSTM step; `conv` gives the gates i, f, o and the candidate g, in this order."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv = conv3x3(2 * nf, 4 * nf)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """x, h, c [B, nf, h, w] -> the next h and c"""
        i, f, o, g = self.conv(torch.cat([x, h], 1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class DeformableConvLSTM(nn.Module):
    """A ConvLSTM whose hidden and cell states are each fused with the input before a step."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.cell_list = nn.ModuleList([ConvLSTMCell(nf)])
        self.pcd_h = PCDFusion(nf, groups)
        self.pcd_c = PCDFusion(nf, groups)

    def forward(self, sequence: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps [B, nf, h, w] -> the hidden state after each."""
        h = c = torch.zeros_like(sequence[0])
        outputs = []
        for x in sequence:
            h, c = self.cell_list[0](x, self.pcd_h(x, h), self.pcd_c(x, c))
            outputs.append(h)
        return outputs


class ConvBLSTM(nn.Module):
    """One set of weights runs over the sequence and over its reverse; a 1x1 convolution joins both."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.forward_net = DeformableConvLSTM(nf, groups)
        self.conv_1x1 = nn.Conv2d(2 * nf, nf, 1)

    def forward(self, sequence: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps [B, nf, h, w] -> as many of the same size."""
        forth = self.forward_net(sequence)
        back = self.forward_net(sequence[::-1])[::-1]
        return [self.conv_1x1(torch.cat(pair, 1)) for pair in zip(forth, back, strict=True)]
