"""Modulated deformable convolution: the public functions and the declarations of the two ops."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vinr_engine import reference
from vinr_engine.backends import LOW_PRECISION, chosen_operands
from vinr_engine.kernels.deform_conv2d import limits
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, dtype_in_force, on_cuda, on_the_cpu, tensors_of, triton_kernel

OP = "deform_conv2d"
PACKED = "deform_conv2d_packed"
Pair = tuple[int, int]


class Arguments(NamedTuple):
    """Of a call of `deform_conv2d`."""

    input: Tensor
    offset: Tensor
    weight: Tensor
    bias: Tensor | None
    mask: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair


class PackedArguments(NamedTuple):
    """Of a call of `deform_conv2d_packed`."""

    input: Tensor
    offset_mask: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair


def _pairs(op: str, stride: int | Pair, padding: int | Pair, dilation: int | Pair) -> tuple[Pair, Pair, Pair]:
    _check_geometry(op, stride, padding, dilation)
    found = []
    for value in (stride, padding, dilation):
        y, x = (value, value) if isinstance(value, int) else value
        found.append((y, x))
    return found[0], found[1], found[2]


def _check_geometry(op: str, stride: int | Pair, padding: int | Pair, dilation: int | Pair) -> None:
    for name, value, lowest in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        least = value if isinstance(value, int) else min(value)
        check(least >= lowest, op, "{} must be at least {}, got {}", name, lowest, value)


def _under_autocast(input: Tensor, *others: Tensor | None) -> list[Any]:
    """The tensors, cast where autocast is on."""
    if not torch.is_autocast_enabled(input.device.type):
        return [input, *others]
    dtype = torch.get_autocast_dtype(input.device.type)
    return [None if t is None else t.to(dtype) for t in (input, *others)]


def output_shape(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    op: str = OP,
) -> tuple[int, int, int, int]:
    """Check every argument against the others and return the output's shape [B, O, H, W]. Raises ValueError."""
    check_rank(op, "input", input, "[B, C, H, W]")
    check_rank(op, "offset", offset, "[B, 2*G*K, H, W]")
    check_rank(op, "weight", weight, "[O, C/groups, kh, kw]")
    B, C = input.shape[:2]
    _check_geometry(op, stride, padding, dilation)  # who calls torch.ops.vinr may give any
    check(min(input.shape[2:]) > 0, op, "input must have pixels, got {}", input.shape)
    O, group_channels, kh, kw = weight.shape
    K = kh * kw
    check(K > 0, op, "the kernel must have a tap, got weight {}", weight.shape)
    check(
        group_channels > 0 and C > 0 and C % group_channels == 0,
        op,
        "input channels must be a multiple of weight.shape[1], got input {}, weight {}",
        input.shape,
        weight.shape,
    )
    groups = C // group_channels
    check(O % groups == 0, op, "output channels must be a multiple of groups = {}, got weight {}", groups, weight.shape)
    spans = [
        n + 2 * p - (d * (k - 1) + 1) for n, k, p, d in zip(input.shape[2:], (kh, kw), padding, dilation, strict=True)
    ]
    check(
        min(spans) >= 0,
        op,
        "the dilated kernel must fit the padded input, got input {}, weight {}, padding {}, dilation {}",
        input.shape,
        weight.shape,
        padding,
        dilation,
    )
    H, W = (span // s + 1 for span, s in zip(spans, stride, strict=True))
    G = offset.shape[1] // (2 * K)
    check(
        G > 0 and offset.shape[1] % (2 * K) == 0 and C % G == 0,
        op,
        "offset channels must be 2*G*K with K = {} taps and G dividing the input channels {}, got offset {}",
        K,
        C,
        offset.shape,
    )
    check_shape(op, "offset", offset, "[B, 2*G*K, H, W]", (B, 2 * G * K, H, W))
    tensors = {"input": input, "offset": offset, "weight": weight}
    if mask is not None:
        check_shape(op, "mask", mask, "[B, G*K, H, W]", (B, G * K, H, W))
        tensors["mask"] = mask
    if bias is not None:
        check_shape(op, "bias", bias, "[O]", (O,))
        tensors["bias"] = bias
    for name, tensor in tensors.items():
        check_floating(op, name, tensor)
        check_device(op, name, tensor, input)
        coordinate = name in ("offset", "mask")
        allowed = (input.dtype, torch.float32) if coordinate and input.dtype in LOW_PRECISION else (input.dtype,)
        check(tensor.dtype in allowed, op, "{} must be {}, got {}", name, " or ".join(map(str, allowed)), tensor.dtype)
    return B, O, H, W


def split_offset_mask(offset_mask: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Views of offsets [B, 2*G*K, H, W] and mask logits [B, G*K, H, W] in the one tensor of the packed form."""
    check_rank(PACKED, "offset_mask", offset_mask, "[B, 3*G*K, H, W]")
    check_rank(PACKED, "weight", weight, "[O, C/groups, kh, kw]")
    K = weight.shape[2] * weight.shape[3]
    channels = offset_mask.shape[1]
    check(
        K > 0 and channels > 0 and channels % (3 * K) == 0,
        PACKED,
        "offset_mask channels must be 3*G*K with K = {} taps, got offset_mask {}",
        K,
        offset_mask.shape,
    )
    offsets = channels // 3 * 2
    return offset_mask[:, :offsets], offset_mask[:, offsets:]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = (1, 1),
    padding: int | tuple[int, int] = (0, 0),
    dilation: int | tuple[int, int] = (1, 1),
    mask: Tensor | None = None,
) -> Tensor:
    """Deformable convolution, version 2 with `mask`, version 1 without. torchvision's, argument for argument.

    Args:
        input: [B, C, H_in, W_in].
        offset: [B, 2*G*K, H, W], in input pixels; for each of G offset groups and K = kh*kw taps (row by row): dy, dx.
            G divides C, and follows from the shape.
        weight: [O, C/groups, kh, kw]; groups follow from the shape.
        bias: [O], or None.
        stride, padding, dilation: a number, or (y, x).
        mask: [B, G*K, H, W], multiplied to the samples as it is (apply a sigmoid before); None for ones.

    Returns:
        [B, O, H, W] in the dtype of `input`, with H = (H_in + 2*padding - dilation*(kh - 1) - 1) // stride + 1.

    A sample is bilinear; corners outside the input read zero, whatever it holds, and so does a NaN or infinite
    position. Corners inside are multiplied even by a weight of zero, as in torchvision: NaN and infinity of a pixel
    show in every sample less than one pixel away, and in those exactly one pixel above or left of it.

    bfloat16 and float16 inputs take offsets and masks in their own dtype or in float32, and are computed in float32;
    the products of bfloat16 ones with operands rounded to it and sums in float32, where the machine has those. Under
    autocast input, weight and bias are cast, offsets and masks are not. First derivatives are provided; a second one
    needs `backend("reference")`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019.
    """
    pairs = _pairs(OP, stride, padding, dilation)
    input, weight, bias = _under_autocast(input, weight, bias)
    output_shape(input, offset, weight, bias, mask, *pairs)
    out: Tensor = DEFORM_CONV2D(Arguments(input, offset, weight, bias, mask, *pairs))
    return out.to(input.dtype)


def deform_conv2d_packed(
    input: Tensor,
    offset_mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = (1, 1),
    padding: int | tuple[int, int] = (0, 0),
    dilation: int | tuple[int, int] = (1, 1),
) -> Tensor:
    """`deform_conv2d` with offsets and masks as one convolution gives them, and the sigmoid of the masks inside.

    Args:
        offset_mask: [B, 3*G*K, H, W]: 2*G*K channels of offsets (for each offset group and tap: dy, dx, in input
            pixels), then G*K of mask logits.

    The other arguments, the result and the errors are those of `deform_conv2d`. No tensor is split or copied, whether
    offset_mask is contiguous or channels-last, and its gradient is one tensor as well.
    """
    pairs = _pairs(PACKED, stride, padding, dilation)
    input, weight, bias = _under_autocast(input, weight, bias)
    offset, logits = split_offset_mask(offset_mask, weight)
    output_shape(input, offset, weight, bias, logits, *pairs, op=PACKED)
    out: Tensor = DEFORM_CONV2D_PACKED(PackedArguments(input, offset_mask, weight, bias, *pairs))
    return out.to(input.dtype)


def deform_conv2d_guided(
    input: Tensor,
    guide: Tensor,
    offset_weight: Tensor,
    offset_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    """`deform_conv2d_packed(input, conv3x3(guide, offset_weight, offset_bias), weight, bias, padding=1)` on the CPU, in
    bands of rows: offsets and masks, three times as large as all else, are never held as a whole. Without derivatives.

    Args:
        input: [B, C, H, W], float32 as all.
        guide: [B, D, H, W].
        offset_weight, offset_bias: [3*G*9, D, 3, 3] and [3*G*9], or None.
        weight, bias: [O, C/groups, 3, 3] and [O], or None.

    Returns:
        [B, O, H, W], channels-last. Under autocast to bfloat16 the products with `weight` are of rounded operands;
        those that make offsets are not.

    Raises RuntimeError: shapes, dtypes or devices that do not fit.
    """
    operands = chosen_operands(dtype_in_force(input))
    out: Tensor = torch.ops.vinr.deform_conv2d_guided(input, guide, offset_weight, offset_bias, weight, bias, operands)
    return out


def _reference(a: Arguments) -> Tensor:
    return reference.deform_conv2d(a.input, a.offset, a.weight, a.bias, a.stride, a.padding, a.dilation, a.mask)


def _prepare(backend: str, arguments: Arguments | PackedArguments) -> tuple[Any, ...]:
    """Kernels of the CPU take 16-bit inputs in bfloat16 alone, and positions in float32."""
    operands = chosen_operands(arguments.input.dtype)
    if backend == "cpu" and arguments.input.dtype in LOW_PRECISION:
        positions = ("offset", "mask", "offset_mask")
        wide = arguments._fields if arguments.input.dtype == torch.float16 else positions
        arguments = arguments._replace(
            **{name: _float(value) for name, value in zip(arguments._fields, arguments, strict=True) if name in wide}
        )
    return *arguments, operands


def _float(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Empty, in the memory format of `like`: results take that of the argument that they belong to."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    memory_format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)


def _fake(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, stride: Pair,
    padding: Pair, dilation: Pair, operands: str,
) -> Tensor:  # fmt: skip
    return _empty(output_shape(input, offset, weight, bias, mask, stride, padding, dilation), input)


def _fake_packed(
    input: Tensor, offset_mask: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair,
    dilation: Pair, operands: str,
) -> Tensor:  # fmt: skip
    offset, logits = split_offset_mask(offset_mask, weight)
    return _empty(output_shape(input, offset, weight, bias, logits, stride, padding, dilation, PACKED), input)


def _fake_backward(
    grad_output: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, stride: Pair,
    padding: Pair, dilation: Pair, output_mask: list[bool], operands: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    shape = output_shape(input, offset, weight, None, mask, stride, padding, dilation)
    check_shape(OP, "grad_output", grad_output, "[B, O, H, W]", shape)
    return _empty_gradients(input, offset, weight, mask, output_mask)


def _fake_packed_backward(
    grad_output: Tensor, input: Tensor, offset_mask: Tensor, weight: Tensor, stride: Pair, padding: Pair,
    dilation: Pair, output_mask: list[bool], operands: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    offset, logits = split_offset_mask(offset_mask, weight)
    shape = output_shape(input, offset, weight, None, logits, stride, padding, dilation, PACKED)
    check_shape(PACKED, "grad_output", grad_output, "[B, O, H, W]", shape)
    return _empty_gradients(input, offset_mask, weight, None, [*output_mask, False])[:4]


def _empty_gradients(
    input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, output_mask: list[bool]
) -> tuple[Tensor, ...]:
    wants_input, wants_offset, wants_weight, wants_bias, wants_mask = output_mask
    nothing = (0,)
    return (
        _empty(input.shape, input) if wants_input else input.new_empty(nothing),
        _empty(offset.shape, offset) if wants_offset else input.new_empty(nothing),
        weight.new_empty(weight.shape if wants_weight else nothing),
        weight.new_empty(weight.shape[:1] if wants_bias else nothing),
        _empty(mask.shape, mask) if wants_mask and mask is not None else input.new_empty(nothing),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Of both ops: tensors but the bias, geometry, operands."""
    *tensors, ctx.stride, ctx.padding, ctx.dilation, ctx.operands = inputs
    ctx.wanted = list(ctx.needs_input_grad[: len(tensors)])
    del tensors[3]
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    """The CPU's kernels compute gradients of bfloat16 in float32; autograd narrows those of each argument again."""
    tensors = [grad_output, *ctx.saved_tensors]
    if grad_output.dtype == torch.bfloat16 and not ctx.by_triton:
        tensors = [_float(t) for t in tensors]
    grads = backward(*tensors, ctx.stride, ctx.padding, ctx.dilation, ctx.wanted, ctx.operands)
    return *(g if wanted else None for g, wanted in zip(grads, ctx.wanted, strict=True)), None, None, None, None


def _backends(name: str) -> dict[str, Backend]:
    forward, backward = (triton_kernel("deform_conv2d.launch", f"{name}{suffix}") for suffix in ("", "_backward"))
    return {
        "cpu": Backend(on_the_cpu),
        "triton": Backend(lambda a: limits.refusal(*tensors_of(a)), forward, backward),
        "cuda": Backend(on_cuda),
    }


_GEOMETRY = "int[2] stride, int[2] padding, int[2] dilation"

DEFORM_CONV2D = Op(
    OP,
    schema="(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
    f"{_GEOMETRY}, str operands) -> Tensor",
    # Gradients of input, offset, weight, bias, mask; an empty tensor where output_mask is false.
    backward_schema="(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
    f"{_GEOMETRY}, bool[5] output_mask, str operands) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=_reference,
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends=_backends(OP),
)

DEFORM_CONV2D_PACKED = Op(
    PACKED,
    schema=f"(Tensor input, Tensor offset_mask, Tensor weight, Tensor? bias, {_GEOMETRY}, str operands) -> Tensor",
    # Gradients of input, offset_mask, weight, bias.
    backward_schema="(Tensor grad_output, Tensor input, Tensor offset_mask, Tensor weight, "
    f"{_GEOMETRY}, bool[4] output_mask, str operands) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=lambda a: reference.deform_conv2d_packed(*a),
    prepare=_prepare,
    fake=_fake_packed,
    fake_backward=_fake_packed_backward,
    save=_save,
    gradient=_gradient,
    backends=_backends(PACKED),
)
