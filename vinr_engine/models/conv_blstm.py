"""The bidirectional ConvLSTM over the three feature maps, whose state is aligned with its input by PCD fusion.

Both directions have the same weights and run as one batch, the forward direction's maps first. What follows from the
inputs alone is computed once, before the first step; states start at zero, which makes the first step a short one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vinr_engine.models.blocks import conv3x3, share
from vinr_engine.models.pcd_align import PCDFusion


class ConvLSTMCell(nn.Module):
    """A ConvLSTM step; `conv`, on [x, h], gives the gates i, f, o and the candidate g, in this order."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv = conv3x3(2 * nf, 4 * nf)

    def know(self, x: Tensor) -> Tensor:
        """x [B, nf, h, w] -> its share of the gates, [B, 4 nf, h, w]"""
        return share(self.conv, x, 0)

    def forward(self, known: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """`know(x)`, h, c [B, nf, h, w] -> the next h and c"""
        i, f, o, g = share(self.conv, h, 1).add_(known).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class DeformableConvLSTM(nn.Module):
    """A ConvLSTM whose hidden and cell states are each fused with the input before a step."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.cell_list = nn.ModuleList([ConvLSTMCell(nf)])
        self.pcd_h = PCDFusion(nf, groups)
        self.pcd_c = PCDFusion(nf, groups)

    def forward(self, sequence: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """n feature maps [B, nf, h, w] -> the hidden state at each, running forward and running backward."""
        n, B = len(sequence), len(sequence[0])
        cell = self.cell_list[0]
        assert isinstance(cell, ConvLSTMCell)
        x = torch.cat(list(sequence))
        known_h, known_c, known_gates = self.pcd_h.know(x), self.pcd_c.know(x), cell.know(x)
        states = []
        for k in range(n):

            def met(maps: Tensor, k: int = k) -> Tensor:
                """Of maps [n*B, ...], those that both directions meet in step k: [2*B, ...]."""
                return torch.cat([maps.narrow(0, k * B, B), maps.narrow(0, (n - 1 - k) * B, B)])

            x_h, x_c = known_h.map(met), known_c.map(met)
            if k == 0:
                h, c = self.pcd_h.with_zeros(x_h), self.pcd_c.with_zeros(x_c)
            else:
                h, c = self.pcd_h(x_h, h), self.pcd_c(x_c, c)
            h, c = cell(met(known_gates), h, c)
            states.append(h.split(B) if B else (h, h))
        forth, back = zip(*states, strict=True)
        return list(forth), list(back[::-1])


class ConvBLSTM(nn.Module):
    """One set of weights runs over the sequence and over its reverse; a 1x1 convolution joins both."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.forward_net = DeformableConvLSTM(nf, groups)
        self.conv_1x1 = nn.Conv2d(2 * nf, nf, 1)

    def forward(self, sequence: Sequence[Tensor]) -> Tensor:
        """n feature maps [B, nf, h, w] -> [n*B, nf, h, w]"""
        forth, back = self.forward_net(sequence)
        return self.conv_1x1(torch.cat([torch.cat(forth), torch.cat(back)], 1))
