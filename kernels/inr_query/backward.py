"""Gradients of the query on hoisted maps: its first pass again, and the networks backwards, a few images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vinr_engine.kernels.common.gradients import Source, add_samples, mlp_gradients, scatter
from vinr_engine.kernels.inr_query import forward
from vinr_engine.kernels.inr_query.launch import Query
from vinr_engine.reference.sampling import axis_grid

ROWS_TOGETHER = 1 << 18  # pixels that go back through the networks together: about 2.5 kB each
EDGE = forward.EDGE.value


def inr_query_backward(grad_image: Tensor, grad_flow: Tensor, *call: Any) -> None:
    """The arguments of the torch op's backward op, and its results to fill: of maps, of colours, of weights.

    A few images at a time go back through the network, all in float32.
    """
    *arguments, wants_colours, operands, d_maps, d_colours, d_weights = call
    query = Query(*[*arguments, operands])
    for gradient in (d_maps, d_colours, d_weights):
        gradient.zero_()
    images, pixels = query.B * query.T, query.size[0] * query.size[1]
    together = max(1, min(images, ROWS_TOGETHER // pixels))
    flows = query.maps.new_empty(images, 4, *query.size, dtype=torch.float32)
    for first in range(0, images, together):
        group = ImageGroup(query, first, min(together, images - first))
        group.decode(flows)
        chosen = slice(first, first + group.count)
        d_weights += group.backward(
            grad_image.flatten(0, 1)[chosen],
            grad_flow.flatten(0, 1)[chosen],
            d_maps,
            d_colours if wants_colours and query.colours is not None else None,
        )


class ImageGroup:
    """Images that go back through the networks together, as rows: one for each pixel of each."""

    def __init__(self, query: Query, first: int, count: int) -> None:
        self.query, self.first, self.count, self.networks = query, first, count, query.networks
        self.activation = ("sine", query.omega, query.operands)
        self.pixels = query.size[0] * query.size[1]
        self.rows = count * self.pixels
        self.F = self.networks[0][-1].shape[0]
        self.u, self.lr_size = query.sizes[8], query.sizes[4:6]
        grids = [
            axis_grid(n, m, torch.float32, query.maps.device) for n, m in zip(self.lr_size, query.size, strict=True)
        ]
        self.nearest, self.relative, self.coarse = (self._pairs(*pair) for pair in zip(*grids, strict=True))
        self.fine = self.u * (self.coarse + 0.5) - 0.5
        times = query.times.t().reshape(-1)[first : first + count]
        self.time = times[:, None].expand(count, self.pixels).reshape(self.rows, 1)

    def _pairs(self, of_rows: Tensor, of_columns: Tensor) -> Tensor:
        """Numbers of each of the output's rows and columns -> [rows, 2] of each pixel of each image."""
        grid = torch.stack(torch.meshgrid(of_rows.float(), of_columns.float(), indexing="ij"), -1)
        return grid.expand(self.count, *grid.shape).reshape(self.rows, 2).contiguous()

    def decode(self, flows: Tensor) -> None:
        """Pass 1 again, with the flow into `flows` of all images."""
        self.hr = self.query.new_hr(self.count)
        self.query.decode(self.first, self.count, self.hr, flows)
        self.flow = flows[self.first : self.first + self.count]

    def _map(self, i: int) -> Source:
        width = self.networks[min(i, 2)][0].shape[0]
        return Source(self.query.maps, self.query.channels[i][0], width, self.pixels, self.query.T, self.first)

    def _hr(self) -> Source:
        return Source(self.hr, 0, self.F, self.pixels)

    def _colours(self) -> Source | None:
        colours = self.query.colours
        return None if colours is None else Source(colours, 0, 6, self.pixels, self.query.T, self.first)

    def _warped(self, end: int) -> tuple[Tensor, Tensor]:
        """Where the flow of one end leads, [rows, 2] in parts of the axes, and whether it was not clamped there."""
        axes = []
        for axis, size in enumerate(self.query.size):
            index = torch.arange(size, device=self.flow.device).view((-1, 1) if axis == 0 else (-1,))
            moved = index + self.flow[:, 2 * end + 1 - axis]
            axes.append(moved / (size - 1) if size > 1 else torch.zeros_like(moved))
        q = torch.stack(axes, -1).view(self.rows, 2)
        clamped = q.clamp(EDGE, 1 - EDGE)
        return clamped, (q > EDGE) & (q < 1 - EDGE)

    def backward(self, grad_image: Tensor, grad_flow: Tensor, d_maps: Tensor, d_colours: Tensor | None) -> Tensor:
        """Gradients of the images [count, outputs, HH, WW] and flows -> those of the weights; adds to the others."""
        d_hr = torch.zeros_like(self.hr)
        d_flow, d_encode = self._through_encode(_as_rows(grad_image), d_hr, d_maps, d_colours)
        d_feature, d_flow_net = self._through_flow(d_flow + _as_rows(grad_flow), d_maps, d_colours)
        d_feature += d_hr.view(self.rows, -1)[:, : self.F]
        x = torch.cat([self.relative, self.time], 1)
        sums = self._sample([(self._map(0), self.nearest, True)])
        d_sums, _, d_feat = mlp_gradients(d_feature, sums, x, self.networks[0], *self.activation, wants_x=False)
        assert d_sums is not None
        scatter(self._map(0), self.nearest, d_sums, 0, d_maps, False, nearest=True)
        return torch.cat([d_feat, d_flow_net, d_encode])

    def _sample(self, parts: Sequence[tuple[Source, Tensor, bool]]) -> Tensor:
        """The sum of the parts' samples."""
        out = self.hr.new_empty(self.rows, parts[0][0].channels)
        for i, (source, positions, nearest) in enumerate(parts):
            add_samples(source, positions, out, 0, add=i > 0, nearest=nearest)
        return out

    def _through_encode(
        self, grad: Tensor, d_hr: Tensor, d_maps: Tensor, d_colours: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Gradients of the flow [rows, 4] and of the third network's weights."""
        network, F, colours, (h, w), (HH, WW) = (
            self.networks[2], self.F, self._colours(), self.lr_size, self.query.size,
        )  # fmt: skip
        warps = [self._warped(end) for end in (0, 1)]
        extent = {"hr": (HH, WW), "map": (h, w), "colours": (self.u * h, self.u * w)}
        extents = {name: torch.tensor(n, device=grad.device, dtype=torch.float32) for name, n in extent.items()}
        at = [{name: q * n - 0.5 for name, n in extents.items()} for q, _ in warps]
        x = self.hr.new_empty(self.rows, network[0].shape[1])
        for end in (0, 1):
            add_samples(self._hr(), at[end]["hr"], x, end * F, add=False)
            if colours is not None:
                add_samples(colours, at[end]["colours"], x, 2 * F + 6 * end, add=False)
        x[:, -1:] = self.time
        sums = self._sample([(self._map(2 + end), at[end]["map"], False) for end in (0, 1)])
        d_sums, d_x, d_weights = mlp_gradients(grad, sums, x, network, *self.activation)
        assert d_sums is not None
        assert d_x is not None
        d_flow = []
        for end, (_, passes) in enumerate(warps):
            d_q = scatter(self._hr(), at[end]["hr"], d_x, end * F, d_hr, True) * extents["hr"]
            d_q += scatter(self._map(2 + end), at[end]["map"], d_sums, 0, d_maps, True) * extents["map"]
            if colours is not None:
                d_at = scatter(colours, at[end]["colours"], d_x, 2 * F + 6 * end, d_colours, True)
                d_q += d_at * extents["colours"]
            d_moved = torch.where(passes, d_q, 0) / (extents["hr"] - 1).clamp(min=1)
            d_flow += [d_moved[:, 1:], d_moved[:, :1]]
        return torch.cat(d_flow, 1), d_weights

    def _through_flow(self, grad: Tensor, d_maps: Tensor, d_colours: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gradients of the HR feature [rows, F] and of the second network's weights."""
        network, F, colours = self.networks[1], self.F, self._colours()
        x = self.hr.new_empty(self.rows, network[0].shape[1])
        x[:, :F] = self.hr.view(self.rows, -1)[:, :F]
        if colours is not None:
            add_samples(colours, self.fine, x, F, add=False)
        x[:, -1:] = self.time
        sums = self._sample([(self._map(1), self.coarse, False)])
        d_sums, d_x, d_weights = mlp_gradients(grad.contiguous(), sums, x, network, *self.activation)
        assert d_sums is not None
        assert d_x is not None
        scatter(self._map(1), self.coarse, d_sums, 0, d_maps, False)
        if colours is not None and d_colours is not None:
            scatter(colours, self.fine, d_x, F, d_colours, False)
        return d_x[:, :F].contiguous(), d_weights


def _as_rows(planes: Tensor) -> Tensor:
    """[images, channels, HH, WW] -> [images * HH * WW, channels], float32 and contiguous"""
    return planes.detach().float().permute(0, 2, 3, 1).reshape(-1, planes.shape[1]).contiguous()
