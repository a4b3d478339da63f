"""Modulated deformable convolution: the public functions, and the registration of the C++ ops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine._extension import EXTENSION
from vinr_engine.ops._checks import check, check_device, check_floating, check_rank, check_shape

OP = "deform_conv2d"
PACKED = "deform_conv2d_packed"
_LOW_PRECISION = (torch.bfloat16, torch.float16)


def _pair(op: str, name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    y, x = (value, value) if isinstance(value, int) else value
    lowest = 0 if name == "padding" else 1
    check(y >= lowest and x >= lowest, op, "{} must be at least {}, got {}", name, lowest, value)
    return y, x


def output_shape(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    op: str = OP,
) -> tuple[int, int, int, int]:
    """Check every argument against the others and return the output's shape [B, O, H, W]. Raises ValueError."""
    check_rank(op, "input", input, "[B, C, H, W]")
    check_rank(op, "offset", offset, "[B, 2*G*K, H, W]")
    check_rank(op, "weight", weight, "[O, C/groups, kh, kw]")
    B, C = input.shape[:2]
    check(min(input.shape[2:]) > 0, OP, "input must have pixels, got {}", input.shape)
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
        allowed = (input.dtype, torch.float32) if coordinate and input.dtype in _LOW_PRECISION else (input.dtype,)
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
    pairs = _pair(OP, "stride", stride), _pair(OP, "padding", padding), _pair(OP, "dilation", dilation)
    if torch.is_autocast_enabled(input.device.type):
        dtype = torch.get_autocast_dtype(input.device.type)
        input, weight = input.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    output_shape(input, offset, weight, bias, mask, *pairs)

    def call(name: str) -> Tensor:
        if name == "reference":
            return reference.deform_conv2d(input, offset, weight, bias, *pairs, mask=mask)
        if name == "triton":
            precision = backends.chosen_input_precision()
            return torch.ops.vinr.deform_conv2d_triton(input, offset, weight, bias, mask, *pairs, precision)
        if name == "cuda":
            precision = backends.chosen_input_precision()
            return torch.ops.vinr.deform_conv2d(input, offset, weight, bias, mask, *pairs, precision)
        if input.dtype == torch.bfloat16:
            return torch.ops.vinr.deform_conv2d(input, offset.float(), weight, bias, _float(mask), *pairs, "bfloat16")
        if input.dtype == torch.float16:
            wide = [_float(t) for t in (input, offset, weight, bias, mask)]
            return torch.ops.vinr.deform_conv2d(*wide, *pairs, "ieee").to(input.dtype)
        return torch.ops.vinr.deform_conv2d(input, offset, weight, bias, mask, *pairs, "ieee")

    return backends.run(OP, (input, offset, weight, bias, mask), call)


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
    pairs = _pair(PACKED, "stride", stride), _pair(PACKED, "padding", padding), _pair(PACKED, "dilation", dilation)
    if torch.is_autocast_enabled(input.device.type):
        dtype = torch.get_autocast_dtype(input.device.type)
        input, weight = input.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    offset, logits = split_offset_mask(offset_mask, weight)
    output_shape(input, offset, weight, bias, logits, *pairs, op=PACKED)

    def call(name: str) -> Tensor:
        if name == "reference":
            return reference.deform_conv2d_packed(input, offset_mask, weight, bias, *pairs)
        if name == "triton":
            precision = backends.chosen_input_precision()
            return torch.ops.vinr.deform_conv2d_packed_triton(input, offset_mask, weight, bias, *pairs, precision)
        if name == "cuda":
            precision = backends.chosen_input_precision()
            return torch.ops.vinr.deform_conv2d_packed(input, offset_mask, weight, bias, *pairs, precision)
        if input.dtype == torch.bfloat16:
            return torch.ops.vinr.deform_conv2d_packed(input, offset_mask.float(), weight, bias, *pairs, "bfloat16")
        if input.dtype == torch.float16:
            wide = [_float(t) for t in (input, offset_mask, weight, bias)]
            return torch.ops.vinr.deform_conv2d_packed(*wide, *pairs, "ieee").to(input.dtype)
        return torch.ops.vinr.deform_conv2d_packed(input, offset_mask, weight, bias, *pairs, "ieee")

    return backends.run(PACKED, (input, offset_mask, weight, bias), call)


def _float(t: Tensor | None) -> Tensor | None:
    return None if t is None else t.float()


def _is_channels_last(t: Tensor) -> bool:
    return t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()


def _empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Empty, in the memory format of `like`: results take that of the argument that they belong to."""
    last = _is_channels_last(like)
    return torch.empty(
        shape,
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def _fake(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    operands: str,
) -> Tensor:
    return _empty(output_shape(input, offset, weight, bias, mask, stride, padding, dilation), input)


def _fake_backward(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    output_mask: list[bool],
    operands: str,
) -> tuple[Tensor, ...]:
    shape = output_shape(input, offset, weight, None, mask, stride, padding, dilation)
    check_shape(OP, "grad_output", grad_output, "[B, O, H, W]", shape)
    return _empty_gradients(input, offset, weight, mask, output_mask)


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


def _fake_packed(
    input: Tensor,
    offset_mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    operands: str,
) -> Tensor:
    offset, logits = split_offset_mask(offset_mask, weight)
    return _empty(output_shape(input, offset, weight, bias, logits, stride, padding, dilation, PACKED), input)


def _fake_packed_backward(
    grad_output: Tensor,
    input: Tensor,
    offset_mask: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    output_mask: list[bool],
    operands: str,
) -> tuple[Tensor, ...]:
    offset, logits = split_offset_mask(offset_mask, weight)
    shape = output_shape(input, offset, weight, None, logits, stride, padding, dilation, PACKED)
    check_shape(PACKED, "grad_output", grad_output, "[B, O, H, W]", shape)
    return _empty_gradients(input, offset_mask, weight, None, [*output_mask, False])[:4]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset, weight, _, mask, *ctx.pairs, ctx.operands = inputs
    ctx.save_for_backward(input, offset, weight, mask)
    ctx.wanted = ctx.needs_input_grad[:5]


def _gradients(op: Any, ctx: Any, grad_output: Tensor) -> list[Tensor | None]:
    """Gradients of a bfloat16 input are computed in float32; autograd narrows those of each argument to its dtype."""
    tensors = [grad_output, *ctx.saved_tensors]
    if grad_output.dtype == torch.bfloat16:
        tensors = [_float(t) for t in tensors]
    grads = op(*tensors, *ctx.pairs, list(ctx.wanted), ctx.operands)
    return [g if wanted else None for g, wanted in zip(grads, ctx.wanted, strict=True)]


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(torch.ops.vinr.deform_conv2d_backward, ctx, grad_output), None, None, None, None


def _setup_packed_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset_mask, weight, _, *ctx.pairs, ctx.operands = inputs
    ctx.save_for_backward(input, offset_mask, weight)
    ctx.wanted = ctx.needs_input_grad[:4]


def _packed_backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    return *_gradients(torch.ops.vinr.deform_conv2d_packed_backward, ctx, grad_output), None, None, None, None


def _second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        f'{OP}: no second derivative on this backend; use `with vinr_engine.backend("reference")`'
    )


if EXTENSION.path is not None:
    torch.library.register_fake("vinr::deform_conv2d", _fake)
    torch.library.register_fake("vinr::deform_conv2d_backward", _fake_backward)
    torch.library.register_autograd("vinr::deform_conv2d", _backward, setup_context=_setup_context)
    torch.library.register_autograd("vinr::deform_conv2d_backward", _second_backward)
    torch.library.register_fake("vinr::deform_conv2d_packed", _fake_packed)
    torch.library.register_fake("vinr::deform_conv2d_packed_backward", _fake_packed_backward)
    torch.library.register_autograd("vinr::deform_conv2d_packed", _packed_backward, setup_context=_setup_packed_context)
    torch.library.register_autograd("vinr::deform_conv2d_packed_backward", _second_backward)
