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
from vinr_engine.export.onnx.nodes import constant, ints, real
from vinr_engine.ops.inr_query import OMEGA

SAMPLING: dict[str, Any] = {"align_corners": 0, "mode": "linear"}


def _logits_split(offset_mask: Value, taps: int) -> tuple[Value, Value, int]:
    """Offsets [B, 2 G K, H, W], masks (sigmoid applied) [B, G K, H, W], and G."""
    channels = offset_mask.shape[1]
    offsets = channels // 3 * 2
    offset = op.Slice(offset_mask, ints(0), ints(offsets), ints(1))
    logits = op.Slice(offset_mask, ints(offsets), ints(channels), ints(1))
    return offset, op.Sigmoid(logits), offsets // (2 * taps)


def _sampled(maps: Value, grid: Value, dtype: ir.DataType, outside: str = "zeros") -> Value:
    """GridSample in the grid's float32: TensorRT wants one type for both, and a float16 grid is too coarse."""
    if dtype == ir.DataType.FLOAT:
        return op.GridSample(maps, grid, padding_mode=outside, **SAMPLING)
    return op.Cast(_sampled(op.Cast(maps, to=ir.DataType.FLOAT), grid, ir.DataType.FLOAT, outside), to=dtype)


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
    offset = op.Reshape(offset, op.Concat(groups, ints(taps, 2), out_size, axis=0))
    offset = op.Cast(offset, to=ir.DataType.FLOAT)
    grids = []
    for axis in (1, 0):  # GridSample wants x first
        length = op.Cast(op.Gather(in_size, ints(axis)), to=ir.DataType.FLOAT)
        k = np.arange(taps)
        tap = (k % kw if axis else k // kw) * dilation[axis] - padding[axis]
        start = real(tap.reshape(1, taps, 1, 1))
        n = op.Gather(out_size, constant(axis))
        index = op.Cast(op.Range(constant(0), n, constant(1)), to=ir.DataType.FLOAT)
        index = op.Mul(index, real(stride[axis]))
        index = op.Reshape(index, ints(1, 1, 1, -1) if axis else ints(1, 1, -1, 1))
        shift = op.Gather(offset, constant(axis), axis=2)
        position = op.Add(op.Add(shift, start), index)
        two, unit = real(2), real(1)
        grids.append(op.Sub(op.Div(op.Add(op.Mul(position, two), unit), length), unit))
    grid = op.Concat(*(op.Unsqueeze(g, ints(-1)) for g in grids), axis=-1)  # [B G, taps, H, W, 2]
    grid = op.Reshape(grid, op.Concat(groups, ints(-1), op.Slice(out_size, ints(1), ints(2)), ints(2), axis=0))
    planes = op.Reshape(input, op.Concat(groups, ints(C // G), in_size, axis=0))
    read = _sampled(planes, grid, input.dtype)
    read = op.Reshape(read, op.Concat(groups, ints(C // G, taps), out_size, axis=0))
    read = op.Mul(read, op.Reshape(mask, op.Concat(groups, ints(1, taps), out_size, axis=0)))
    columns = op.Reshape(read, op.Concat(B, ints(C * taps), out_size, axis=0))
    kernel = op.Reshape(weight, ints(O, group_channels * taps, 1, 1))
    return op.Conv(columns, kernel, bias, group=C // group_channels)


def deform_conv(
    input: Value, offset_mask: Value, weight: Value, bias: Value | None, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], operands: str,
) -> Value:  # fmt: skip
    """The standard's DeformConv node."""
    taps = weight.shape[2] * weight.shape[3]
    offset, mask, groups = _logits_split(offset_mask, taps)
    return op.DeformConv(
        input,
        weight,
        offset,
        bias,
        mask,
        dilations=list(dilation),
        group=input.shape[1] // weight.shape[1],
        kernel_shape=list(weight.shape[2:]),
        offset_group=groups,
        pads=[*padding, *padding],
        strides=list(stride),
    )


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


def _of_length(sizes: Value, axis: int) -> Value:
    """[sizes[axis]] zeros."""
    return op.ConstantOfShape(op.Slice(sizes, ints(axis), ints(axis + 1)))


def inr_query(
    maps: Value, colours: Value | None, times: Value, lr_size: Value, size: Value, weights: Value,
    feat_widths: Sequence[int], flow_widths: Sequence[int], encode_widths: Sequence[int], HH: Value, WW: Value,
) -> tuple[Value, Value]:  # fmt: skip
    """The project's own node; HH and WW repeat `size`."""
    lengths = [_of_length(sizes, axis) for sizes in (lr_size, size) for axis in (0, 1)]
    # An input that is not there must be left out: TensorRT's parser would hand the plugin a null tensor.
    inputs = [maps, times, weights, *lengths, *([] if colours is None else [colours])]
    return schemas.operator(schemas.INR_QUERY)(
        *inputs, feat_widths=list(feat_widths), flow_widths=list(flow_widths), encode_widths=list(encode_widths),
        omega=OMEGA, **schemas.PLUGIN,
    )  # fmt: skip


def sample(maps: Value, grid: Value, outside: str = "zeros") -> Value:
    return _sampled(maps, grid, maps.dtype, outside)


def conv2d(input: Value, weight: Value, bias: Value | None, stride: int, padding: int) -> Value:
    return op.Conv(input, weight, bias, pads=[padding] * 4, strides=[stride] * 2)


def layers(phases: Value, parameters: Sequence[Value]) -> Value:
    N, size = op.Shape(phases, end=1), op.Shape(phases, start=2)
    z = op.Reshape(op.Transpose(phases, perm=[0, 2, 3, 1]), ints(-1, phases.shape[1]))
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        if weight.dtype == ir.DataType.FLOAT:
            z = op.Sin(z)
        else:
            z = op.Cast(op.Sin(op.Cast(z, to=ir.DataType.FLOAT)), to=weight.dtype)
        z = op.Gemm(z, weight, bias, transB=1)
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


DEFORM_CONV = {"grid_sample": grid_sample, "deform_conv": deform_conv, "plugin": deform_plugin}


def table(deform_conv: str) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Translations for torch.onnx.export, deformable convolution in a form of DEFORM_CONV."""
    return {
        torch.ops.vinr.deform_conv2d_packed.default: DEFORM_CONV[deform_conv],
        torch.ops.vinr_export.average.default: average,
        torch.ops.vinr_export.conv2d.default: conv2d,
        torch.ops.vinr_export.layers.default: layers,
        torch.ops.vinr_export.mix.default: mix,
        torch.ops.vinr_export.leaky_relu.default: leaky_relu,
        torch.ops.vinr_export.resize.default: resize,
        torch.ops.vinr_export.sample.default: sample,
        torch.ops.vinr_export.doubled.default: doubled,
        torch.ops.vinr_export.inr_query.default: inr_query,
        torch.ops.vinr_export.inr_query_by_blocks.default: inr_query_by_blocks,
    }
