"""The query on hoisted maps: launches of the two passes of `_query`, and of the gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from vinr_engine.kernels import _query
from vinr_engine.kernels._gradients import Source, add_samples, mlp_gradients, scatter
from vinr_engine.kernels._launch import arithmetic, capability_of, launch_constants, new_scratch, programs
from vinr_engine.kernels._packing import Plan, Split, pack, padded, plan
from vinr_engine.kernels._runtime import passes_32_bits
from vinr_engine.kernels._tuning import OPTIONS

from vinr_engine.reference.sampling import axis_grid

HR_BYTES = 1 << 28  # images are decoded together as long as their HR features take no more than this
ROWS_TOGETHER = 1 << 18  # pixels that go back through the networks together: about 2.5 kB each
EDGE = _query.EDGE.value
HOISTED_MULTIPLE = 16  # vinr_engine.ops.hoisting pads each map to it


def layout(feat: Sequence[Tensor], flow: Sequence[Tensor], encode: Sequence[Tensor], colours: bool) -> Plan:
    """How the three networks' weights and biases are packed."""
    F, c = feat[-1].shape[0], 6 if colours else 0
    shapes = tuple(tuple(tuple(w.shape) for w in network[::2]) for network in (feat, flow, encode))
    splits = (Split((), leading=2, trailing=1), Split((F, c), trailing=1), Split((F, F, c, c), trailing=1))
    return plan(shapes, splits)


def map_channels(networks: Sequence[Sequence[Tensor]]) -> list[tuple[int, int, int]]:
    """(first channel, count, stride) of the maps of feat, flow, encode at A and at B."""
    counts = [-(-n[0].shape[0] // HOISTED_MULTIPLE) * HOISTED_MULTIPLE for n in networks]
    counts.append(counts[2])
    stride, first, out = sum(counts), 0, []
    for count in counts:
        out.append((first, count, stride))
        first += count
    return out


def inr_query(
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: Sequence[int],
    size: Sequence[int],
    frame_upsample: int,
    feat: Sequence[Tensor],
    flow: Sequence[Tensor],
    encode: Sequence[Tensor],
    omega: float,
    operands: str,
) -> tuple[Tensor, Tensor]:
    """Colour [B, T, outputs, HH, WW] and flow [B, T, 4, HH, WW], both float32; the op's arguments as checked.

    operands: "ieee", "tf32x3" or "tf32" for float32 ones, or "float16" or "bfloat16".
    """
    B, T = maps.shape[0], times.shape[0]
    image = maps.new_empty(B, T, encode[-1].shape[0], *size, dtype=torch.float32)
    flows = maps.new_empty(B, T, 4, *size, dtype=torch.float32)
    if image.numel() == 0:
        return image, flows
    query = Query(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode, omega, operands)
    together = max(1, min(B * T, HR_BYTES // (query.hr_bytes)))
    hr = query.new_hr(together)
    for first in range(0, B * T, together):
        count = min(together, B * T - first)
        query.decode(first, count, hr, flows)
        query.colour(first, count, hr, flows, image)
    return image, flows


class Query:
    """Arguments of both passes, checked, converted and packed."""

    def __init__(
        self,
        maps: Tensor,
        colours: Tensor | None,
        times: Tensor,
        lr_size: Sequence[int],
        size: Sequence[int],
        frame_upsample: int,
        feat: Sequence[Tensor],
        flow: Sequence[Tensor],
        encode: Sequence[Tensor],
        omega: float,
        operands: str,
    ) -> None:
        self.dtype = arithmetic(operands)[0]
        self.maps = maps.detach().to(self.dtype).contiguous()
        self.colours = None if colours is None else colours.detach().to(self.dtype).contiguous()
        self.times = times.detach().float().contiguous()
        self.B, self.T, self.size = maps.shape[0], times.shape[0], tuple(size)
        self.sizes = (self.B, self.T, *maps.shape[1:3], *lr_size, *size, frame_upsample)
        self.plan = layout(feat, flow, encode, colours is not None)
        passes = {"decode": self.plan.networks[:2], "colour": self.plan.networks[2:]}
        self.constants = {
            which: launch_constants(which, networks, colours is not None, operands, omega, capability_of(maps.device))
            for which, networks in passes.items()
        }
        short = omega if self.constants["decode"]["SHORT"] else None
        self.matrices, self.vectors = pack(self.plan, [*feat, *flow, *encode], self.dtype, maps.device, short)
        self.channels = map_channels((feat, flow, encode))
        self.outputs = encode[-1].shape[0]
        self.features = padded(feat[-1].shape[0])
        self.hr_bytes = size[0] * size[1] * self.features * self.dtype.itemsize
        self.programs = programs(maps.device)

    def new_hr(self, images: int) -> Tensor:
        return self.maps.new_empty(images, *self.size, self.features)

    def _arguments(self, which: str) -> tuple[Tensor, ...]:
        colours = self.maps if self.colours is None else self.colours
        return (
            self.maps,
            colours,
            self.times,
            self.matrices,
            self.vectors,
            new_scratch(self.constants[which], self.maps),
        )

    def _large(self, *tensors: Tensor | None) -> bool:
        h, w = self.sizes[4:6]
        indices = max(2 * self.size[0] * h, 2 * self.size[1] * w)
        return indices >= 2**31 or passes_32_bits(self.maps, self.colours, *tensors)

    def decode(self, first: int, count: int, hr: Tensor, flows: Tensor) -> None:
        feat, flow, _ = self.plan.networks
        _query.decode[(self.programs,)](
            *self._arguments("decode"), hr, flows, first, count, *self.sizes, FEAT=feat, FLOW=flow,
            FEAT_MAP=self.channels[0], FLOW_MAP=self.channels[1], COLOURS=self.colours is not None,
            LARGE=self._large(hr, flows), **self.constants["decode"], **OPTIONS,
        )  # fmt: skip

    def colour(self, first: int, count: int, hr: Tensor, flows: Tensor, image: Tensor) -> None:
        _query.colour[(self.programs,)](
            *self._arguments("colour"), hr, flows, image, first, count, *self.sizes, ENCODE=self.plan.networks[2],
            F=self.features, MAP_A=self.channels[2], MAP_B=self.channels[3], OUTPUTS=self.outputs,
            COLOURS=self.colours is not None, LARGE=self._large(hr, flows, image),
            **self.constants["colour"], **OPTIONS,
        )  # fmt: skip


def inr_query_backward(
    grad_image: Tensor,
    grad_flow: Tensor,
    maps: Tensor,
    colours: Tensor | None,
    times: Tensor,
    lr_size: Sequence[int],
    size: Sequence[int],
    frame_upsample: int,
    feat: Sequence[Tensor],
    flow: Sequence[Tensor],
    encode: Sequence[Tensor],
    omega: float,
    precision: str,
    wants_colours: bool,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Gradients of maps, of colours if wanted, and of all weights and biases, flat; all float32.

    precision: "ieee", "tf32x3" or "tf32". A few images at a time go back through the network, all in float32.
    """
    query = Query(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode, omega, precision)
    d_maps = torch.zeros_like(query.maps)
    d_colours = torch.zeros_like(query.colours) if wants_colours and query.colours is not None else None
    tensors = [*feat, *flow, *encode]
    d_weights = torch.zeros(sum(t.numel() for t in tensors), device=maps.device)
    images, pixels = query.B * query.T, size[0] * size[1]
    together = max(1, min(images, ROWS_TOGETHER // pixels))
    flows = maps.new_empty(images, 4, *size, dtype=torch.float32)
    for first in range(0, images, together):
        group = ImageGroup(query, first, min(together, images - first), (feat, flow, encode), omega, precision)
        group.decode(flows)
        chosen = slice(first, first + group.count)
        d_weights += group.backward(
            grad_image.flatten(0, 1)[chosen], grad_flow.flatten(0, 1)[chosen], d_maps, d_colours
        )
    return d_maps, d_colours, d_weights


class ImageGroup:
    """Images that go back through the networks together, as rows: one for each pixel of each."""

    def __init__(
        self, query: Query, first: int, count: int, networks: Sequence[Sequence[Tensor]], omega: float, precision: str
    ) -> None:
        self.query, self.first, self.count, self.networks = query, first, count, networks
        self.activation = ("sine", omega, precision)
        self.pixels = query.size[0] * query.size[1]
        self.rows = count * self.pixels
        self.F = networks[0][-1].shape[0]
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
        out = self.hr.new_empty(self.rows, parts[0][0].count)
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
