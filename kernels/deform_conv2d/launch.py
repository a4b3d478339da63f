"""Launches the kernels of deform_conv2d: how work is cut into blocks, in what layout tensors are handed over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.tuning import launch, size_class
from vinr_engine.kernels.deform_conv2d import backward as backward_kernels
from vinr_engine.kernels.deform_conv2d import forward as kernels
from vinr_engine.kernels.deform_conv2d.limits import most_columns, most_outputs

NO_MASK, FACTOR, LOGIT = 0, 1, 2  # what `mask` holds
SLAB = 2048  # pixels of which one program sums the weight's gradient, at least
MOST_SLABS = 64
MOST_PIXELS_OF_A_BLOCK = 128
FIXED_BITS = 62  # of the sums in whole numbers


class Call(NamedTuple):
    """Arguments that the op's passes share. mask is any tensor where mask_kind is NO_MASK."""

    input: Tensor  # [B, C, H_in, W_in]
    offset: Tensor  # [B, 2*G*K or more, H, W]
    mask: Tensor  # [B, G*K, H, W]
    mask_kind: int
    offset_groups: int
    weight: Tensor  # [O, C/groups, kh, kw]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    operands: str

    @classmethod
    def of(cls, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, *rest: Any) -> Call:
        """rest: stride, padding, dilation and operands."""
        groups = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
        kind, mask = (NO_MASK, offset) if mask is None else (FACTOR, mask)
        return cls(input, offset, mask, kind, groups, weight, *rest)

    @classmethod
    def of_packed(cls, input: Tensor, offset_mask: Tensor, weight: Tensor, *rest: Any) -> Call:
        """The same with offsets and mask logits in one tensor [B, 3*G*K, H, W]."""
        offset, logits = _split(offset_mask)
        return cls.of(input, offset, weight, logits, *rest)._replace(mask_kind=LOGIT)

    @property
    def groups(self) -> int:
        return self.input.shape[1] // self.weight.shape[1]

    @property
    def pixels(self) -> int:
        return self.offset.shape[0] * self.offset.shape[2] * self.offset.shape[3]


def _split(offset_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets and mask logits."""
    offsets = offset_mask.shape[1] // 3 * 2
    return offset_mask[:, :offsets], offset_mask[:, offsets:]


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def constants(
    channels: int, offset_groups: int, weight_shape: Sequence[int], itemsize: int, mask_kind: int, wide: bool,
    stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], operands: str,
) -> dict[str, Any]:  # fmt: skip
    """The kernels' constexprs but BLOCK_P. weight_shape: [O, C/groups, kh, kw]; itemsize: of the input's numbers."""
    O, group_channels, kh, kw = weight_shape
    share = channels // offset_groups
    segment = math.gcd(group_channels, share, 16 // itemsize)
    segments = group_channels // segment
    group_out = O * group_channels // channels
    return dict(
        GEOMETRY=kernels.Geometry(tuple(stride), tuple(padding), tuple(dilation), kw), TAPS=kh * kw,
        GROUP_OUT=group_out, SEGMENTS=segments, SEGMENT=segment, SHARE=share // segment,
        MASK=mask_kind, WIDE=wide,
        # Of 16 bits there is one way; by any other name there would be fewer configurations to choose from.
        PRECISION="ieee" if itemsize == 2 else operands,
        BLOCK_O=min(max(_power_of_two(group_out), 16), most_outputs(itemsize)),
        BLOCK_S=max(min(_power_of_two(segments), most_columns(itemsize) // segment), 16 // segment),
    )  # fmt: skip


def _constants(call: Call, *others: Tensor) -> dict[str, Any]:
    wide = passes_32_bits(call.input, call.offset, call.mask, *others)
    return constants(
        call.input.shape[1], call.offset_groups, call.weight.shape, call.input.element_size(), call.mask_kind, wide,
        call.stride, call.padding, call.dilation, call.operands,
    )  # fmt: skip


def _channels_last(input: Tensor) -> Tensor:
    return input if input.stride(1) == 1 else input.contiguous(memory_format=torch.channels_last)


def _strides(prefix: str, tensor: Tensor, names: str = "bcyx") -> dict[str, int]:
    return {f"{prefix}_{n}": s for n, s in zip("bcyx", tensor.stride(), strict=True) if n in names}


def _sizes(call: Call, input: Tensor) -> dict[str, Any]:
    """Arguments of every kernel: sizes, and where the op's inputs lie."""
    H, W = input.shape[2:]
    OH, OW = call.offset.shape[2:]
    return dict(
        input=input, offset=call.offset, mask=call.mask,
        H=H, W=W, OH=OH, OW=OW, pixels=call.pixels, size_class=size_class(call.pixels),
        **_strides("in", input, "byx"), **_strides("off", call.offset), **_strides("mask", call.mask),
    )  # fmt: skip


def _cells(n: int, block: int) -> int:
    return -(-n // block)


def forward(call: Call, bias: Tensor | None, output: Tensor) -> None:
    """Fill output [B, O, H, W], of any strides."""
    if call.pixels == 0 or output.numel() == 0:
        return
    input = _channels_last(call.input)
    shared = _constants(call, input, output)
    weight = call.weight.permute(0, 2, 3, 1).contiguous()  # [O, kh, kw, C/groups], no copy of a channels-last one
    strides = _strides("out", output)
    strides["out_o"] = strides.pop("out_c")
    launch(
        kernels.forward,
        lambda meta: (
            _cells(call.pixels, meta["BLOCK_P"]),
            call.groups * _cells(shared["GROUP_OUT"], shared["BLOCK_O"]),
        ),
        **_sizes(call, input), **strides, **shared,
        weight=weight, bias=weight if bias is None else bias.contiguous(), output=output, BIAS=bias is not None,
    )  # fmt: skip


def _gradient(grad_output: Tensor) -> dict[str, Any]:
    strides = _strides("grad", grad_output)
    strides["grad_o"] = strides.pop("grad_c")
    return dict(grad=grad_output, **strides)


def weight_constants(shared: dict[str, Any]) -> dict[str, Any]:
    """Triton compiles no tf32 product over pixels for compute capability 9 and 10: it is done in three."""
    return shared | {"PRECISION": "tf32x3"} if shared["PRECISION"] == "tf32" else shared


def backward_weight(call: Call, grad_output: Tensor) -> Tensor:
    """The weight's gradient [O, C/groups, kh, kw] in float32; the same at every run."""
    O, group_channels, kh, kw = call.weight.shape
    pixels = call.pixels
    slabs = max(1, min(MOST_SLABS, pixels // SLAB))
    span = _cells(_cells(pixels, slabs), MOST_PIXELS_OF_A_BLOCK) * MOST_PIXELS_OF_A_BLOCK
    partial = call.input.new_empty(slabs, O, kh, kw, group_channels, dtype=torch.float32)
    input = _channels_last(call.input)
    shared = weight_constants(_constants(call, input, grad_output))
    steps = shared["TAPS"] * _cells(shared["SEGMENTS"], shared["BLOCK_S"])
    blocks = call.groups * _cells(shared["GROUP_OUT"], shared["BLOCK_O"])
    launch(
        backward_kernels.backward_weight, lambda _: (slabs, steps * blocks),
        **_sizes(call, input), **_gradient(grad_output), **shared,
        partial=partial, span=span, slab_size=call.weight.numel(),
    )  # fmt: skip
    return partial.sum(0).permute(0, 3, 1, 2)


def _fixed_point(call: Call, grad_output: Tensor) -> tuple[Tensor, Tensor]:
    """A power of two for which no sum of the input's gradient overflows, and whether there is one, as tensors.

    No sum exceeds the largest |dY| times the largest sum of |weights| over output channels times the largest
    modulation, once for every output pixel and tap.
    """
    inf = float("inf")
    bound = torch.linalg.vector_norm(grad_output, inf, dtype=torch.float32)
    bound = bound * call.weight.abs().sum(0, dtype=torch.float32).max()
    if call.mask_kind == FACTOR:
        bound = bound * torch.linalg.vector_norm(call.mask, inf, dtype=torch.float32)
    taps = call.weight.shape[2] * call.weight.shape[3]
    bound = bound * (2.0 * taps * call.offset.shape[2] * call.offset.shape[3])  # 2 for what rounding adds
    exponent = (FIXED_BITS - torch.frexp(bound).exponent).clamp(-100, 100)
    return torch.ldexp(torch.ones_like(bound), exponent), bound.isfinite()


def backward_samples(
    call: Call, grad_output: Tensor, wants_input: bool, grad_offset: Tensor | None, grad_mask: Tensor | None
) -> Tensor | None:
    """The input's gradient [B, C, H, W] in float32, if it is wanted; fills grad_offset and grad_mask, if given.

    Where torch must be deterministic, sums are taken in whole numbers, which no order of atomic additions changes.
    """
    input = _channels_last(call.input)
    B, C, H, W = input.shape
    fixed = wants_input and torch.are_deterministic_algorithms_enabled()
    scale, finite = _fixed_point(call, grad_output) if fixed else (grad_output, None)
    total = input.new_zeros(
        (B, H, W, C) if wants_input else (1, 1, 1, 1), dtype=torch.int64 if fixed else torch.float32
    )
    total = total.permute(0, 3, 1, 2)
    shared = _constants(call, input, grad_output, total)
    run = math.gcd(shared["SHARE"], shared["SEGMENTS"], shared["BLOCK_S"])
    parts = shared["SHARE"] // run
    to_offset, to_mask = _parts(grad_offset, parts), _parts(grad_mask, parts)
    unused = grad_output[None]
    steps = call.groups * shared["TAPS"] * _cells(shared["SEGMENTS"], shared["BLOCK_S"])
    launch(
        backward_kernels.backward_samples, lambda meta: (_cells(call.pixels, meta["BLOCK_P"]), steps),
        **_sizes(call, input), **_gradient(grad_output), **shared,
        weight=call.weight.permute(0, 2, 3, 1).contiguous(), scale=scale,
        grad_input=total, **_strides("sum", total, "byx"),
        grad_offset=unused if to_offset is None else to_offset, **_part_strides("to", to_offset),
        grad_mask=unused if to_mask is None else to_mask, **_part_strides("to_mask", to_mask),
        RUN=run, INPUT=wants_input, OFFSET=to_offset is not None, FIXED=fixed,
    )  # fmt: skip
    for target, source in ((grad_offset, to_offset), (grad_mask, to_mask)):
        if target is not None and source is not None and parts > 1:
            target.copy_(source.sum(0))
    if not wants_input:
        return None
    return total if finite is None else torch.where(finite, total.to(torch.float32) / scale, float("nan"))


def _parts(target: Tensor | None, parts: int) -> Tensor | None:
    """Where to write a gradient: itself, or as many parts to be summed; [parts, B, channels, H, W]."""
    if target is None or parts == 1:
        return None if target is None else target[None]
    return target.new_empty(parts, *target.shape, dtype=torch.float32)


def _part_strides(prefix: str, tensor: Tensor | None) -> dict[str, int]:
    strides = (0,) * 5 if tensor is None else tensor.stride()
    return {f"{prefix}_{n}": s for n, s in zip(("part", *"bcyx"), strides, strict=True)}


def _fill(
    call: Call, grad_output: Tensor, grads: Sequence[Tensor], wanted: Sequence[bool], mask: Tensor | None
) -> None:
    """Fill the wanted ones of grads: input, offset, weight, bias. mask is the mask's gradient, or None.

    Those of offset and mask come together: where one alone is wanted, the other is computed into memory of its own.
    """
    grad_input, grad_offset, grad_weight, grad_bias = grads
    if call.pixels == 0 or grad_output.numel() == 0:
        for grad in (*grads, *(() if mask is None else (mask,))):
            grad.zero_()
        return
    if wanted[0] or wanted[1] or mask is not None:
        both = wanted[1] or mask is not None
        to_offset = (grad_offset if wanted[1] else torch.empty_like(call.offset)) if both else None
        to_mask = torch.empty_like(call.mask) if both and mask is None and call.mask_kind != NO_MASK else mask
        total = backward_samples(call, grad_output, wanted[0], to_offset, to_mask)
        if total is not None:
            grad_input.copy_(total)
    if wanted[2]:
        grad_weight.copy_(backward_weight(call, grad_output))
    if wanted[3]:
        grad_bias.copy_(grad_output.sum((0, 2, 3), dtype=torch.float32))


# What follows takes the arguments of the torch ops, and their results to fill.


def deform_conv2d(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, *rest: Any
) -> None:
    forward(Call.of(input, offset, weight, mask, *rest[:-1]), bias, rest[-1])


def deform_conv2d_packed(input: Tensor, offset_mask: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> None:
    forward(Call.of_packed(input, offset_mask, weight, *rest[:-1]), bias, rest[-1])


def deform_conv2d_backward(
    grad_output: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], wanted: Sequence[bool], operands: str, *grads: Tensor,
) -> None:  # fmt: skip
    call = Call.of(input, offset, weight, mask, stride, padding, dilation, operands)
    _fill(call, grad_output, grads[:4], wanted, grads[4] if wanted[4] and mask is not None else None)


def deform_conv2d_packed_backward(
    grad_output: Tensor, input: Tensor, offset_mask: Tensor, weight: Tensor, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], wanted: Sequence[bool], operands: str, *grads: Tensor,
) -> None:  # fmt: skip
    call = Call.of_packed(input, offset_mask, weight, stride, padding, dilation, operands)
    grad_input, grad_offset_mask, grad_weight, grad_bias = grads
    offset, mask = grad_offset_mask, None
    if wanted[1]:
        offset, mask = _split(grad_offset_mask)
    _fill(call, grad_output, (grad_input, offset, grad_weight, grad_bias), wanted, mask)
