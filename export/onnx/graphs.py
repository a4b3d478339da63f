"""The two graphs of an exported network: the encoder of a pair of frames, and the query.

The interface between them is that of the engine's op: maps projected once for a pair (vinr_engine/ops/hoisting.py), so
that one encoding serves many times. Maps leave the encoder as the op takes them, channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vinr_engine.export.onnx import residual
from vinr_engine.export.onnx.tracing import Coarse, inr_query, layers, mix, sample
from vinr_engine.models import VideoINR
from vinr_engine.ops.hoisting import WIDTH_MULTIPLE, Hoisted, hoist
from vinr_engine.ops.inr_query import OMEGA
from vinr_engine.reference.inr_query import WARP_LIMIT

COLOURS = 6  # both frames' channels; the colour maps of the op hold two more, zeros
LARGEST_SIDE = 1 << 15  # of frames and outputs, in pixels
LARGEST_UPSAMPLE = 16
NETWORKS = ("feat", "flow", "encode")


def hoisted(model: VideoINR, features: Tensor, frames: Tensor, frame_upsample: int) -> Hoisted:
    """The query's arguments for features [B, 3, nf, h', w'] and padded frames [B, 2, 3, h', w']."""
    networks = (model.feat_imnet.layers(), model.flow_imnet.layers(), model.encode_imnet.layers())
    return hoist(features.flatten(1, 2), frames.flatten(1, 2), *networks, frame_upsample=frame_upsample)


class Encoder(nn.Module):
    """frames [1, 2, 3, h', w'] in [0, 1], h' and w' multiples of 4 -> maps [1, h', w', M], colours [1, u h', u w', 8].

    Colours are enlarged by u = `frame_upsample`, or where it is None by a second input, int64 [1] from 2 up. With 1
    there are none: the maps hold them. A residual network gives one more, its detail [1, 2, 3, 4 h', 4 w'].
    """

    def __init__(self, model: VideoINR, frame_upsample: int | None) -> None:
        super().__init__()
        self.model = model
        self.frame_upsample = frame_upsample

    def forward(self, frames: Tensor, frame_upsample: Tensor | None = None) -> tuple[Tensor, ...]:
        u = self.frame_upsample
        if u is None:
            assert frame_upsample is not None
            u = frame_upsample[0].item()  # type: ignore[assignment]  # int() would fix it
            assert u is not None
            torch._check(u >= 2)
            torch._check(u <= LARGEST_UPSAMPLE)
        with Coarse():
            features = self.model.encode(frames)
            detail = (self.model.detail(features),) if self.model.config["residual"] else ()
            (maps, colours), _ = hoisted(self.model, features, frames, u)
        return (maps, *detail) if colours is None else (maps, colours, *detail)

    @property
    def output_names(self) -> list[str]:
        names = ["maps"] if self.frame_upsample == 1 else ["maps", "colours"]
        return [*names, "detail"] if self.model.config["residual"] else names


class Given(NamedTuple):
    """A query's inputs; `detail` and `frames` belong to residual networks, `colours` to an upsampling above 1."""

    maps: Tensor
    times: Tensor
    lr_size: Tensor
    colours: Tensor | None = None
    detail: Tensor | None = None
    frames: Tensor | None = None
    size: Tensor | None = None


class Query(nn.Module):
    """The query of hoisted maps, in one form or the other (`decode`); what a residual network adds to it is the same.

    maps [1, h', w', M], colours [1, u h', u w', 8] unless u is 1, times [T] float32 in [0, 1], lr_size (h, w) and size
    (HH, WW), both int64 [2], HH and WW from 2 up -> colour [1, T, 3, HH, WW] and flow [1, T, 4, HH, WW]. Of a residual
    network also detail and the padded frames [1, 2, 3, h', w'].
    """

    times: Tensor | None

    def __init__(
        self, model: VideoINR, frame_upsample: int | None, times: Sequence[float] | None, size: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.folded = frame_upsample == 1
        self.residual: bool = model.config["residual"]
        self.size = size
        self.register_buffer("times", None if times is None else torch.tensor(times, dtype=torch.float32))
        like = next(model.parameters())
        features, frames = like.new_zeros(1, 3, model.config["nf"], 4, 4), like.new_zeros(1, 2, 3, 4, 4)
        networks = hoisted(model, features, frames, frame_upsample or 2).networks
        self.widths = [[n[0].shape[1], *(weight.shape[0] for weight in n[::2])] for n in networks]
        for name, network in zip(NETWORKS, networks, strict=True):
            for i, tensor in enumerate(network):
                self.register_buffer(f"{name}_{i}", tensor.detach().clone())

    def layers_of(self, network: str) -> list[Tensor]:
        """Weight and bias of each of its layers in turn."""
        return [self.get_buffer(f"{network}_{i}") for i in range(2 * len(self.widths[NETWORKS.index(network)]) - 2)]

    @property
    def input_names(self) -> list[str]:
        names = ["maps", "lr_size"] if self.folded else ["maps", "colours", "lr_size"]
        if self.residual:
            names += ["detail", "frames"]
        if self.times is None:
            names.append("times")
        return names if self.size is not None else [*names, "size"]

    def forward(self, *values: Tensor) -> tuple[Tensor, Tensor]:
        named = dict(zip(self.input_names, values, strict=True))
        given = Given(**named if self.times is None else {**named, "times": self.times})
        size = output_size(self.size, given.size)
        with Coarse():
            image, flow = self.decode(given, size)
        if self.residual:
            assert given.frames is not None
            assert given.detail is not None
            frames = residual.enlarged(given.frames, given.detail, given.lr_size, size)
            image = image + residual.warped_blend(frames, given.times, flow[0])
        return image, flow

    def decode(self, given: Given, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The networks' colour and flow, float32."""
        raise NotImplementedError

    def as_one(
        self, maps: Tensor, given: Given, parameters: list[Tensor], omega: float, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """The same by one operation of the graph, of these maps and parameters."""
        sides = given.size if given.size is not None else torch.tensor(size)
        read = maps, given.colours, given.times, given.lr_size, sides, parameters
        return inr_query(*read, *self.widths, omega, *size)


def output_size(fixed: tuple[int, int] | None, size: Tensor | None) -> tuple[int, int]:
    """HH and WW, which a graph with an input for them learns when it runs."""
    if fixed is not None:
        return fixed
    assert size is not None
    HH, WW = size[0].item(), size[1].item()  # int() would fix them
    for side in (HH, WW):
        torch._check(side >= 2)
        torch._check(side <= LARGEST_SIDE)
    return HH, WW  # type: ignore[return-value]


def _axis(n_in: Tensor, n_out: int) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest map pixel, position in map pixels, relative position of `n_out` output pixels (docs/network.md).

    As `vinr_engine.reference.sampling.axis_grid`, with the number of map pixels known when the graph runs.
    """
    numerator = (2 * torch.arange(n_out) + 1) * n_in
    nearest = numerator // (2 * n_out)
    relative = (numerator - (2 * nearest + 1) * n_out).float() / n_out
    return nearest, nearest.float() + relative / 2, relative


def _warped(n: int, flow: Tensor, dim: int) -> Tensor:
    """Normalised positions of the output pixels of an axis, moved by `flow` [T, HH, WW] output pixels."""
    index = torch.arange(n, dtype=torch.float32)
    base = -1 + 2 * index.reshape((1, n, 1) if dim == 1 else (1, 1, n)) / (n - 1)
    return (base + flow.float() / ((n - 1) / 2)).clamp(-WARP_LIMIT, WARP_LIMIT)


def _by_time(read: Tensor, T: int) -> Tensor:
    """What one map gave for all times, [1, C, T HH, WW] -> [T, C, HH WW]."""
    return read.reshape(read.shape[1], T, -1).transpose(0, 1)


def _mixed(weight: Tensor, read: Sequence[Tensor]) -> Tensor:
    """A first layer's weight [D, X] times what was read, [N, X_i, P] each, X together: [N, D, P]."""
    if weight.dtype == torch.float16:  # one product of them all is what TensorRT-RTX 1.7 fails to build
        parts = weight.split([part.shape[1] for part in read], 1)
        return sum((mix(w, part) for w, part in zip(parts[1:], read[1:], strict=True)), mix(parts[0], read[0]))
    return mix(weight, torch.cat(list(read), 1))


def scale_phases(query: Query) -> None:
    """Let the weights of what a sine follows give phases, with no product of their own."""
    for name in NETWORKS:
        for tensor in query.layers_of(name)[:-2]:
            tensor.mul_(OMEGA)


class PortableQuery(Query):
    """The query in standard operations, for all pixels at once.

    Maps are channels first, as GridSample has them, up to the sum of each first layer, and the layers that follow have
    channels last: convolutions instead would make ONNX Runtime copy between layouts before and after each. What does
    not change with the time is computed once for all times. In float16, maps, products and the HR feature are float16;
    positions, phases, times and flow float32.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        scale_phases(self)

    def _first(self, network: str) -> tuple[Tensor, Tensor]:
        """Weight [D, X] and bias [D, 1] of a first layer."""
        return self.get_buffer(f"{network}_0"), self.get_buffer(f"{network}_1")[:, None]

    def _rest(self, network: str, phases: Tensor) -> Tensor:
        """The layers after the first, which gave `phases` [N, D, HH, WW]: [N, outputs, HH, WW]."""
        return layers(phases, self.layers_of(network)[2:])

    def decode(self, given: Given, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        maps, times, lr_size, colours, *_ = given
        HH, WW = size
        T, padded_h, padded_w = times.shape[0], maps.shape[1], maps.shape[2]
        feat_map, flow_map, *side_maps = self._planes(maps)
        fine = None if colours is None else colours.permute(0, 3, 1, 2)[:, :COLOURS]
        t = times.reshape(T, 1, 1).to(maps.dtype)
        nearest_y, y, rel_y = _axis(lr_size[0], HH)
        nearest_x, x, rel_x = _axis(lr_size[1], WW)

        # the HR feature: nearest maps, relative position, time
        weight, bias = self._first("feat")
        rows = weight[:, 0, None] * rel_y.to(maps.dtype) + (weight[:, 2:] * t + bias)
        phases = (feat_map.index_select(2, nearest_y) + rows[..., None]).index_select(3, nearest_x)
        phases = phases + (weight[:, 1, None] * rel_x.to(maps.dtype))[:, None]
        feature = self._rest("feat", phases)
        HR = feature.shape[1]

        # the flow; a normalised position is the same place in the maps and in the enlarged colours
        weight, bias = self._first("flow")
        grid_x, grid_y = (2 * x + 1) / padded_w - 1, (2 * y + 1) / padded_h - 1
        grid = torch.stack([grid_x[None].expand(HH, WW), grid_y[:, None].expand(HH, WW)], -1)[None]
        still = sample(flow_map, grid).reshape(1, -1, HH * WW)
        read = [feature.reshape(T, HR, HH * WW)]
        if fine is not None:
            read.append(sample(fine, grid).reshape(1, COLOURS, HH * WW).expand(T, -1, -1))
        phases = _mixed(weight[:, :-1], read) + still + (weight[:, -1:] * t + bias)
        flow = self._rest("flow", phases.reshape(T, -1, HH, WW)).float()
        if self.residual:
            flow = flow * residual.flow_unit(lr_size, size).reshape(1, 4, 1, 1)

        # the colour
        weight, bias = self._first("encode")
        read, colour, sums = [], [], weight[:, -1:] * t + bias
        for side, side_map in enumerate(side_maps):
            gx, gy = _warped(WW, flow[:, 2 * side], 2), _warped(HH, flow[:, 2 * side + 1], 1)
            warped = sample(feature, torch.stack([gx, gy], -1))  # of one time each
            read.append(warped.reshape(T, HR, HH * WW))
            gx, gy = (gx + 1) * lr_size[1] / padded_w - 1, (gy + 1) * lr_size[0] / padded_h - 1
            grid = torch.stack([gx, gy], -1).reshape(1, T * HH, WW, 2)  # of the one map, for all times
            sums = sums + _by_time(sample(side_map, grid), T)
            if fine is not None:
                colour.append(_by_time(sample(fine, grid), T))
        phases = _mixed(weight[:, :-1], [*read, *colour]) + sums
        image = self._rest("encode", phases.reshape(T, -1, HH, WW)).float()
        return image[None], flow[None]

    def _planes(self, maps: Tensor) -> list[Tensor]:
        """The maps of feat, flow, encode at A and at B, channels first, as phases, without what pads their widths."""
        widths = [self.widths[k][1] for k in (0, 1, 2, 2)]
        padded = [width + -width % WIDTH_MULTIPLE for width in widths]
        parts = (OMEGA * maps.permute(0, 3, 1, 2)).split(padded, 1)
        return [part[:, :width] for part, width in zip(parts, widths, strict=True)]


class BlockQuery(Query):
    """The query as one operation, which lowering_blocks.py makes standard nodes.

    Of float16 graphs maps, colours, frames and weights are float16, all between float32.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        scale_phases(self)

    def decode(self, given: Given, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        feat, flow, encode = (self.layers_of(name) for name in NETWORKS)
        if self.residual:
            unit = residual.flow_unit(given.lr_size, size)
            flow[-2:] = flow[-2].float() * unit[:, None], flow[-1].float() * unit
        return self.as_one(OMEGA * given.maps.float(), given, [*feat, *flow, *encode], 1.0, size)


class PluginQuery(Query):
    """The query as one node, `vinr::InrQuery`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.register_buffer("weights", torch.cat([t.flatten() for name in NETWORKS for t in self.layers_of(name)]))

    def decode(self, given: Given, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        weights = self.get_buffer("weights")
        if self.residual:
            weights = self._in_output_pixels(weights, residual.flow_unit(given.lr_size, size).to(weights.dtype))
        return self.as_one(given.maps, given, [weights], OMEGA, size)

    def _in_output_pixels(self, weights: Tensor, unit: Tensor) -> Tensor:
        """The weights, with those of the flow network's last layer times `unit` [4]."""
        feat, flow, _ = (sum(a * b + b for a, b in pairwise(widths)) for widths in self.widths)
        last = 4 * self.widths[1][-2]
        first = feat + flow - last - 4
        before, weight, bias, after = weights.split([first, last, 4, len(weights) - first - last - 4])
        return torch.cat([before, (weight.view(4, -1) * unit[:, None]).flatten(), bias * unit, after])
