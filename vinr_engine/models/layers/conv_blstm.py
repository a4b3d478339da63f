"""The bidirectional ConvLSTM over the three feature maps, whose state is aligned with its input by PCD fusion.

Both directions have the same weights and run as one batch; what follows from the inputs alone is computed once, before
the first step. That takes memory, and saves a few per cent: inference on large maps runs one direction after the other.
States start at zero, which makes the first step a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from vinr_engine.models.layers.blocks import conv3x3
from vinr_engine.models.layers.convolution import is_fused_inference, pointwise, share
from vinr_engine.models.layers.pcd_align import Known, PCDFusion
from vinr_engine.ops.conv_lstm import conv_lstm

T = TypeVar("T")
At = Callable[[int], T]  # what belongs to a step
Step = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]  # h and c after step k

TOGETHER_BYTES = 4 << 20  # largest map for which both directions run as one; together they hold some 60 maps


class ConvLSTMCell(nn.Module):
    """A ConvLSTM step; `conv`, on [x, h], gives the gates i, f, o and the candidate g, in this order."""

    def __init__(self, nf: int) -> None:
        super().__init__()
        self.conv = conv3x3(2 * nf, 4 * nf)

    def know(self, x: Tensor) -> Tensor:
        """x [B, nf, h, w] -> its share of the gates, [B, 4 nf, h, w]"""
        return share(self.conv, x, 0)

    def joined(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """x, h, c [B, nf, h, w] -> the next h and c, without holding what is known of x."""
        if is_fused_inference(h):
            return conv_lstm([x.float(), h.float()], self.conv.weight, self.conv.bias, None, c.float())
        return self(self.know(x), h, c)

    def forward(self, known: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """`know(x)`, h, c [B, nf, h, w] -> the next h and c"""
        if is_fused_inference(h):
            return conv_lstm([h.float()], self.conv.weight.chunk(2, 1)[1], None, known.float(), c.float())
        i, f, o, g = share(self.conv, h, 1, add=known).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class DeformableConvLSTM(nn.Module):
    """A ConvLSTM whose hidden and cell states are each fused with the input before a step."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.cell_list = nn.ModuleList([ConvLSTMCell(nf)])
        self.pcd_h = PCDFusion(nf, groups)
        self.pcd_c = PCDFusion(nf, groups)

    def _states(self, steps: int, known_h: At[Known], known_c: At[Known], step: Step) -> Iterator[Tensor]:
        """The hidden state after each step, from what is known of the input that step k meets."""
        h, c = self.pcd_h.with_zeros(known_h(0)), self.pcd_c.with_zeros(known_c(0))
        h, c = step(0, h, c)
        yield h
        for k in range(1, steps):
            h, c = self.pcd_h(known_h(k), h), self.pcd_c(known_c(k), c)
            h, c = step(k, h, c)
            yield h

    def _apart(self, sequence: Sequence[Tensor]) -> Iterator[Tensor]:
        """One direction, which holds nothing longer than it must."""
        cell = self.cell_list[0]
        assert isinstance(cell, ConvLSTMCell)
        return self._states(
            len(sequence),
            lambda k: self.pcd_h.know(sequence[k], often=False),
            lambda k: self.pcd_c.know(sequence[k], often=False),
            lambda k, h, c: cell.joined(sequence[k], h, c),
        )

    def _together(self, sequence: Sequence[Tensor]) -> Iterator[Tensor]:
        """Both directions as one batch, the forward one first: [2*B, nf, h, w] after each step."""
        n, B = len(sequence), len(sequence[0])
        cell = self.cell_list[0]
        assert isinstance(cell, ConvLSTMCell)
        x = torch.cat(list(sequence))
        known_h, known_c, known_gates = self.pcd_h.know(x, often=True), self.pcd_c.know(x, often=True), cell.know(x)

        def met(maps: Tensor, k: int) -> Tensor:
            """Of maps [n*B, ...], those that the two directions meet in step k: [2*B, ...]."""
            return torch.cat([maps.narrow(0, k * B, B), maps.narrow(0, (n - 1 - k) * B, B)])

        return self._states(
            n,
            lambda k: known_h.map(lambda maps: met(maps, k)),
            lambda k: known_c.map(lambda maps: met(maps, k)),
            lambda k, h, c: cell(met(known_gates, k), h, c),
        )

    def forward(self, sequence: Sequence[Tensor]) -> tuple[list[Tensor], Iterable[Tensor]]:
        """n feature maps [B, nf, h, w] -> the hidden state at each, running forward; and running backward, from the
        last map to the first."""
        x = sequence[0]
        if not torch.is_grad_enabled() and x.numel() * x.element_size() > TOGETHER_BYTES:
            return list(self._apart(sequence)), self._apart(sequence[::-1])
        states, B = list(self._together(sequence)), len(x)
        return [h.narrow(0, 0, B) for h in states], [h.narrow(0, B, B) for h in states]


class ConvBLSTM(nn.Module):
    """One set of weights runs over the sequence and over its reverse; a 1x1 convolution joins both."""

    def __init__(self, nf: int, groups: int) -> None:
        super().__init__()
        self.forward_net = DeformableConvLSTM(nf, groups)
        self.conv_1x1 = nn.Conv2d(2 * nf, nf, 1)

    def forward(self, sequence: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps [B, nf, h, w] -> as many of the same size."""
        forward, backward = self.forward_net(sequence)
        joined = [pointwise(self.conv_1x1, forward.pop(), h) for h in backward]
        return joined[::-1]
