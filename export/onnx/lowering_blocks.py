"""The query as standard nodes for processors: what the layers make of a block of pixels stays in a cache.

A Loop over times holds two Loops over blocks of pixels. The first gives the HR feature and the flow; the second, which
reads that feature anywhere, the colour. Between layers a block is [pixels, channels]. What GridSample reads is
[channels, pixels], and a product with its first operand transposed turns it on the way: so one product takes all that
GridSample read for a first layer, and the projected maps, which need none, meet an identity there. That is 8 % more
multiplications of a query, for less than a pass over 128 channels would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir
from onnx_ir import Value
from onnxscript import opset20 as op

from vinr_engine.export.onnx.graphs import COLOURS
from vinr_engine.export.onnx.nodes import FLOAT, Body, constant, ints, loop_of_two, part, real, single
from vinr_engine.ops.hoisting import WIDTH_MULTIPLE
from vinr_engine.reference.inr_query import WARP_LIMIT

PIXELS = 2048  # of a block: 2 MB with 256 channels, about what a second cache holds; fewer leave a second thread idle


class _Axis:
    """Of one axis of the output: where its `n_out` [1] pixels read the maps (docs/network.md).

    Of the `padded` [1] pixels of the maps, `n_in` [1] count. As `graphs._axis` and `graphs._warped`.
    """

    def __init__(self, n_in: Value, padded: Value, n_out: Value) -> None:
        self.n_in, self.padded = op.Cast(n_in, to=FLOAT), op.Cast(padded, to=FLOAT)
        index = op.Range(constant(0), op.Squeeze(n_out), constant(1))
        numerator = op.Mul(op.Add(op.Mul(index, ints(2)), ints(1)), n_in)
        self.nearest = op.Div(numerator, op.Mul(n_out, ints(2)))  # [n_out], a pixel of the maps
        rest = op.Sub(numerator, op.Mul(op.Add(op.Mul(self.nearest, ints(2)), ints(1)), n_out))
        relative = op.Div(op.Cast(rest, to=FLOAT), op.Cast(n_out, to=FLOAT))
        position = op.Add(op.Cast(self.nearest, to=FLOAT), op.Div(relative, real(2)))
        normal = op.Sub(op.Div(op.Add(op.Mul(position, real(2)), real(1)), self.padded), real(1))
        self.places = op.Concat(*(op.Unsqueeze(v, ints(1)) for v in (relative, normal)), axis=1)  # [n_out, 2]
        last = op.Cast(op.Sub(n_out, ints(1)), to=FLOAT)
        base = op.Sub(op.Div(op.Mul(op.Cast(index, to=FLOAT), real(2)), last), real(1))
        self.base = op.Unsqueeze(base, ints(1))  # [n_out, 1], normalised, before a flow moves it
        self.half = op.Div(last, real(2))  # [1], output pixels to a normalised unit


class _Query:
    """One query's graph, and the parts of it that its bodies share."""

    def __init__(
        self, maps: Value, colours: Value | None, times: Value, lr_size: Value, size: Value,
        networks: Sequence[Sequence[Value]],
    ) -> None:  # fmt: skip
        self.feat, self.flow, self.encode = networks
        self.times, self.size = times, size
        self.HR, self.colours = self.feat[-2].shape[0], self.encode[-2].shape[0]
        h, w, lr_h, lr_w = (part(s, 0, k, k + 1) for s in (op.Shape(maps, start=1, end=3), lr_size) for k in (0, 1))
        HH, self.WW = (part(size, 0, k, k + 1) for k in (0, 1))
        x, y = self.x, self.y = _Axis(lr_w, w, self.WW), _Axis(lr_h, h, HH)
        self.row_start = op.Mul(y.nearest, w)
        # of both ends' x and y
        self.half = op.Concat(x.half, y.half, x.half, y.half, axis=0)
        self.n_in = op.Concat(x.n_in, y.n_in, x.n_in, y.n_in, axis=0)
        self.padded = op.Concat(x.padded, y.padded, x.padded, y.padded, axis=0)

        self.pixels = op.Mul(HH, self.WW)
        self.last = op.Sub(self.pixels, ints(1))
        self.in_block = ints(*range(PIXELS))
        self.blocks = op.Squeeze(op.Div(op.Add(self.pixels, ints(PIXELS - 1)), ints(PIXELS)))
        self.always = constant(True, np.bool_)

        planes = op.Transpose(maps, perm=[0, 3, 1, 2])
        widths = [network[0].shape[0] for network in (*networks, self.encode)]
        starts = [sum(n + -n % WIDTH_MULTIPLE for n in widths[:k]) for k in range(4)]
        self.feat_map = op.Reshape(part(maps, 3, 0, widths[0]), ints(-1, widths[0]))
        self.flow_map, *sides = (part(planes, 1, starts[k], starts[k] + widths[k]) for k in (1, 2, 3))
        self.side_maps = op.Concat(*sides, axis=0)
        self.fine = None if colours is None else part(op.Transpose(colours, perm=[0, 3, 1, 2]), 1, 0, COLOURS)
        self._first_layers()

    def _first_layers(self) -> None:
        """Their weights, for what the bodies read in its order."""
        HR, fine = self.HR, self.fine is not None
        feat, flow, encode = (network[0] for network in (self.feat, self.flow, self.encode))
        # Columns are relative y, relative x, time, and here zeros; `places` are relative x, normalised x, relative y,
        # normalised y, of which the normalised ones are there for the grid.
        columns = op.Concat(feat, real(np.zeros((feat.shape[0], 1))), axis=1)
        self.feat_place = op.Gather(columns, ints(1, 3, 0, 3), axis=1)
        self.flow_feature = part(flow, 1, 0, HR)
        eye = real(np.eye(flow.shape[0]))
        self.flow_read = eye
        if fine:
            self.flow_read = op.Concat(eye, op.Transpose(part(flow, 1, HR, HR + COLOURS), perm=[1, 0]), axis=0)
        D = encode.shape[0]
        rows = []
        for start, n in [(0, HR), (2 * HR, COLOURS)] if fine else [(0, HR)]:
            # [D, both ends, n] to [n, both ends, D], as GridSample reads both ends of one map
            both = op.Reshape(part(encode, 1, start, start + 2 * n), ints(D, 2, n))
            rows.append(op.Reshape(op.Transpose(both, perm=[2, 1, 0]), ints(2 * n, D)))
        eye = real(np.eye(D))
        self.encode_read = op.Concat(*rows, eye, eye, axis=0)

    def outputs(self) -> tuple[Value, Value]:
        """Colour [1, T, 3, HH, WW] and flow [1, T, 4, HH, WW]."""
        image, flow = loop_of_two(op.Squeeze(op.Shape(self.times)), self.always, body=self._of_time())
        return op.Unsqueeze(image, ints(0)), op.Unsqueeze(flow, ints(0))

    def _of_time(self) -> ir.Graph:
        """A time's colour [3, HH, WW] and flow [4, HH, WW]."""
        body = Body("of_time")
        t = body.Gather(self.times, body.index)
        feat_map = body.Add(self.feat_map, _at(body, self.feat, t))
        moved = self._moved(feat_map, _at(body, self.flow, t))
        feature, flow = body.Loop(self.blocks, self.always, body=moved, outputs=2)
        whole = body.Unsqueeze(self._picture(body, feature, self.HR), ints(0))
        coloured = self._coloured(whole, flow, _at(body, self.encode, t))
        image = body.Loop(self.blocks, self.always, body=coloured)
        return body.graph(self._picture(body, image, self.colours), self._picture(body, flow, 4))

    def _picture(self, body: Body, blocks: Value, channels: int) -> Value:
        """[blocks, PIXELS, channels] -> [channels, HH, WW]"""
        pixels = body.Slice(body.Reshape(blocks, ints(-1, channels)), ints(0), self.pixels, ints(0))
        return body.Reshape(body.Transpose(pixels, perm=[1, 0]), op.Concat(ints(channels), self.size, axis=0))

    def _places(self, body: Body) -> tuple[Value, Value]:
        """y and x [PIXELS] of a block's pixels; past the picture's last one, that one again."""
        start = body.Mul(body.index, constant(PIXELS))
        index = body.Min(body.Add(start, self.in_block), self.last)
        y = body.Div(index, self.WW)
        return y, body.Sub(index, body.Mul(y, self.WW))

    def _moved(self, feat_map: Value, flow_bias: Value) -> ir.Graph:
        """A block's HR feature [PIXELS, HR] and flow [PIXELS, 4]."""
        body = Body("moved")
        y, x = self._places(body)
        near = body.Add(body.Gather(self.row_start, y), body.Gather(self.x.nearest, x))
        place = body.Concat(body.Gather(self.x.places, x), body.Gather(self.y.places, y), axis=1)
        phases = body.Gemm(place, self.feat_place, body.Gather(feat_map, near), transB=1)
        feature = _layers(body, self.feat, phases)
        grid = body.Unsqueeze(body.Gather(place, ints(1, 3), axis=1), ints(0, 1))
        read = [_sampled(body, maps, grid) for maps in (self.flow_map, self.fine) if maps is not None]
        still = body.Gemm(_columns(body, read), self.flow_read, flow_bias, transA=1)
        flow = _layers(body, self.flow, body.Gemm(feature, self.flow_feature, still, transB=1))
        return body.graph(feature, flow)

    def _coloured(self, feature: Value, flows: Value, encode_bias: Value) -> ir.Graph:
        """A block's colour [PIXELS, 3], of the feature [1, HR, HH, WW] and the flows of all blocks."""
        body = Body("coloured")
        y, x = self._places(body)
        x, y = body.Gather(self.x.base, x), body.Gather(self.y.base, y)
        moved = body.Add(body.Concat(x, y, x, y, axis=1), body.Div(body.Gather(flows, body.index), self.half))
        there = body.Clip(moved, real(-WARP_LIMIT), real(WARP_LIMIT))
        in_maps = body.Sub(body.Div(body.Mul(body.Add(there, real(1)), self.n_in), self.padded), real(1))
        # [both ends, PIXELS, (x, y)]
        there, in_maps = (body.Transpose(body.Reshape(g, ints(-1, 2, 2)), perm=[1, 0, 2]) for g in (there, in_maps))
        read = [_sampled(body, feature, body.Unsqueeze(there, ints(0)))]
        if self.fine is not None:
            read.append(_sampled(body, self.fine, body.Unsqueeze(in_maps, ints(0))))
        read.append(_sampled(body, self.side_maps, body.Unsqueeze(in_maps, ints(1))))  # each end reads its own map
        phases = body.Gemm(_columns(body, read), self.encode_read, encode_bias, transA=1)
        return body.graph(_layers(body, self.encode, phases))


def _at(body: Body, network: Sequence[Value], t: Value) -> Value:
    """[D]: what a first layer adds at time `t`, its bias among it."""
    weight, bias = network[:2]
    share = op.Gather(weight, constant(weight.shape[1] - 1), axis=1)
    return body.Add(body.Mul(share, t), bias)


def _layers(body: Body, network: Sequence[Value], z: Value) -> Value:
    """Those after the first, whose phases are z [PIXELS, D]."""
    for weight, bias in zip(network[2::2], network[3::2], strict=True):
        z = body.Gemm(body.Sin(z), weight, bias, transB=1)
    return z


def _sampled(body: Body, maps: Value, grid: Value) -> Value:
    return body.GridSample(maps, grid, align_corners=0, mode="linear", padding_mode="zeros")


def _columns(body: Body, read: Sequence[Value]) -> Value:
    """What GridSample gave of one map and the other, [channels of them all, PIXELS]."""
    flat = [body.Reshape(r, ints(-1, PIXELS)) for r in read]
    return body.Concat(*flat, axis=0) if len(flat) > 1 else flat[0]


def inr_query_by_blocks(
    maps: Value, colours: Value | None, times: Value, lr_size: Value, size: Value, parameters: Sequence[Value],
    feat_widths: Sequence[int], flow_widths: Sequence[int], encode_widths: Sequence[int], omega: float, HH: Value,
    WW: Value,
) -> tuple[Value, Value]:  # fmt: skip
    """Maps and parameters hold the frequency of the sines: `omega` is 1."""
    assert omega == 1
    layers = iter(map(single, parameters))
    networks = [list(islice(layers, 2 * len(w) - 2)) for w in (feat_widths, flow_widths, encode_widths)]
    colours = None if colours is None else single(colours)
    return _Query(single(maps), colours, times, lr_size, size, networks).outputs()
