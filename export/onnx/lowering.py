"""What the ops become in an ONNX graph: standard nodes, or nodes of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import Value
from onnxscript import opset20 as op

from vinr_engine.export.onnx import schemas
from vinr_engine.export.onnx.lowering_blocks import inr_query_by_blocks
from vinr_engine.export.onnx.nodes import FLOAT, constant, ints, part, real
from vinr_engine.export.options import Options


def _logits_split(offset_mask: Value, taps: int) -> tuple[Value, Value, int]:
    """Offsets [B, 2 G K, H, W], masks (sigmoid applied) [B, G K, H, W], and G."""
    channels = offset_mask.shape[1]
    offsets = channels // 3 * 2
    mask = op.Sigmoid(part(offset_mask, 1, offsets, channels))
    return part(offset_mask, 1, 0, offsets), mask, offsets // (2 * taps)


def _in_float32(node: Callable[[Value], Value], value: Value, dtype: ir.DataType) -> Value:
    """A node whose input and output have a dtype, and which computes in float32."""
    return node(value) if dtype == FLOAT else op.Cast(node(op.Cast(value, to=FLOAT)), to=dtype)


def _sampled(maps: Value, grid: Value, dtype: ir.DataType, outside: str = "zeros") -> Value:
    """GridSample in the grid's float32: TensorRT wants one type for both, and a float16 grid is too coarse."""
    return _in_float32(
        lambda m: op.GridSample(m, grid, align_corners=0, mode="linear", padding_mode=outside), maps, dtype
    )


def sample(maps: Value, grid: Value, outside: str = "zeros") -> Value:
    return _sampled(maps, grid, maps.dtype, outside)


def grid_sample(
    input: Value, offset_mask: Value, weight: Value, bias: Value | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], operands: str,
) -> Value:  # fmt: skip
    """GridSample, the masks, and a product: for runtimes that have no DeformConv."""
    O, group_channels, kh, kw = weight.shape
    C, taps = input.shape[1], kh * kw
    offset, mask, G = _logits_split(offset_mask, taps)
    # [B, G, taps, 2, H, W] -> two of [B G, taps, H, W]
    in_size, out_size = op.Shape(input, start=2), op.Shape(offset_mask, start=2)
    B = op.Shape(input, end=1)
    groups = op.Mul(B, ints(G))
    offset = op.Cast(op.Reshape(offset, op.Concat(groups, ints(taps, 2), out_size, axis=0)), to=FLOAT)
    grids = []
    for axis in (1, 0):  # GridSample wants x first
        length = op.Cast(op.Gather(in_size, ints(axis)), to=FLOAT)
        k = np.arange(taps)
        tap = (k % kw if axis else k // kw) * dilation[axis] - padding[axis]
        start = real(tap.reshape(1, taps, 1, 1))
        n = op.Gather(out_size, constant(axis))
        index = op.Mul(op.Cast(op.Range(constant(0), n, constant(1)), to=FLOAT), real(stride[axis]))
        index = op.Reshape(index, ints(1, 1, 1, -1) if axis else ints(1, 1, -1, 1))
        shift = op.Gather(offset, constant(axis), axis=2)
        position = op.Add(op.Add(shift, start), index)
        grids.append(op.Sub(op.Div(op.Add(op.Mul(position, real(2)), real(1)), length), real(1)))
    grid = op.Concat(*(op.Unsqueeze(g, ints(-1)) for g in grids), axis=-1)  # [B G, taps, H, W, 2]
    grid = op.Reshape(grid, op.Concat(groups, ints(-1), part(out_size, 0, 1, 2), ints(2), axis=0))
    planes = op.Reshape(input, op.Concat(groups, ints(C // G), in_size, axis=0))
    read = op.Reshape(_sampled(planes, grid, input.dtype), op.Concat(groups, ints(C // G, taps), out_size, axis=0))
    read = op.Mul(read, op.Reshape(mask, op.Concat(groups, ints(1, taps), out_size, axis=0)))
    columns = op.Reshape(read, op.Concat(B, ints(C * taps), out_size, axis=0))
    kernel = op.Reshape(weight, ints(O, group_channels * taps, 1, 1))
    return op.Conv(columns, kernel, bias, group=C // group_channels)


def deform_conv(
    input: Value, offset_mask: Value, weight: Value, bias: Value | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], operands: str,
) -> Value:  # fmt: skip
    """The standard's DeformConv node."""
    kernel = list(weight.shape[2:])
    offset, mask, groups = _logits_split(offset_mask, kernel[0] * kernel[1])
    return op.DeformConv(
        input, weight, offset, bias, mask, dilations=list(dilation), group=input.shape[1] // weight.shape[1],
        kernel_shape=kernel, offset_group=groups, pads=[*padding, *padding], strides=list(stride),
    )  # fmt: skip


def deform_plugin(
    input: Value, offset_mask: Value, weight: Value, bias: Value | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], operands: str,
) -> Value:  # fmt: skip
    """The project's own node."""
    taps = weight.shape[2] * weight.shape[3]
    inputs = [input, offset_mask, weight, *([] if bias is None else [bias])]
    return schemas.operator(schemas.DEFORM_CONV2D)(
        *inputs, stride=list(stride), padding=list(padding), dilation=list(dilation),
        group=input.shape[1] // weight.shape[1], deformable_group=offset_mask.shape[1] // (3 * taps), **schemas.PLUGIN,
    )  # fmt: skip


def inr_query_plugin(
    maps: Value, colours: Value | None, times: Value, lr_size: Value, size: Value, parameters: Sequence[Value],
    feat_widths: Sequence[int], flow_widths: Sequence[int], encode_widths: Sequence[int], omega: float,
    HH: Value, WW: Value,
) -> tuple[Value, Value]:  # fmt: skip
    """The project's own node."""
    lengths = [op.ConstantOfShape(part(sizes, 0, axis, axis + 1)) for sizes in (lr_size, size) for axis in (0, 1)]
    # An input that is not there must be left out: TensorRT's parser would hand the plugin a null tensor.
    inputs = [maps, times, *parameters, *lengths, *([] if colours is None else [colours])]
    return schemas.operator(schemas.INR_QUERY)(
        *inputs, feat_widths=list(feat_widths), flow_widths=list(flow_widths), encode_widths=list(encode_widths),
        omega=omega, **schemas.PLUGIN,
    )  # fmt: skip


def conv2d(input: Value, weight: Value, bias: Value | None, stride: int, padding: int) -> Value:
    return op.Conv(input, weight, bias, pads=[padding] * 4, strides=[stride] * 2)


def layers(phases: Value, parameters: Sequence[Value]) -> Value:
    N, size = op.Shape(phases, end=1), op.Shape(phases, start=2)
    z = op.Reshape(op.Transpose(phases, perm=[0, 2, 3, 1]), ints(-1, phases.shape[1]))
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        z = op.Gemm(_in_float32(op.Sin, z, weight.dtype), weight, bias, transB=1)
    z = op.Reshape(z, op.Concat(N, size, ints(-1), axis=0))
    return op.Transpose(z, perm=[0, 3, 1, 2])


def mix(weight: Value, input: Value) -> Value:
    return op.MatMul(weight, input)


def average(input: Value, height: int, width: int) -> Value:
    pads = [height // 2, width // 2] * 2
    return op.AveragePool(input, kernel_shape=[height, width], pads=pads, strides=[1, 1], count_include_pad=0)


def leaky_relu(input: Value, slope: float) -> Value:
    return op.LeakyRelu(input, alpha=slope)


def _vector(number: int | Value) -> Value:
    """[1], of a number that the graph holds or computes."""
    return ints(number) if isinstance(number, int) else op.Reshape(number, ints(-1))


def resize(input: Value, height: int | Value, width: int | Value) -> Value:
    sizes = op.Concat(op.Shape(input, end=2), _vector(height), _vector(width), axis=0)
    return op.Resize(input, None, None, sizes, mode="linear", coordinate_transformation_mode="half_pixel")


def doubled(input: Value) -> Value:
    scales = real([1, 1, 2, 2])
    return op.Resize(input, None, scales, mode="linear", coordinate_transformation_mode="half_pixel")


def _scattered(start: Value, to: Value, rows: Value, reduction: str) -> Value:
    nowhere = op.Expand(real(0), op.Concat(ints(1), op.Shape(start, start=1), axis=0))
    both = op.ScatterND(op.Concat(start, nowhere, axis=0), op.Unsqueeze(to, ints(1)), rows, reduction=reduction)
    return part(both, 0, 0, -1)


def scatter_sum(start: Value, to: Value, rows: Value) -> Value:
    return _scattered(start, to, rows, "add")


def scatter_most(start: Value, to: Value, rows: Value) -> Value:
    return _scattered(start, to, rows, "max")


def table(options: Options) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Translations for torch.onnx.export."""
    portable = options.profile == "portable"
    deform = {"grid_sample": grid_sample, "deform_conv": deform_conv}[options.deform_conv]
    ours = (
        average,
        conv2d,
        doubled,
        layers,
        leaky_relu,
        mix,
        resize,
        sample,
        scatter_most,
        scatter_sum,
    )  # by the names that tracing.py has
    return {
        torch.ops.vinr.deform_conv2d_packed.default: deform if portable else deform_plugin,
        torch.ops.vinr_export.inr_query.default: inr_query_by_blocks if portable else inr_query_plugin,
        **{getattr(torch.ops.vinr_export, nodes.__name__).default: nodes for nodes in ours},
    }
