"""Modulated deformable convolution: the public function, and the registration of the C++ op."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine._extension import EXTENSION
from vinr_engine.ops._checks import check, check_device, check_floating, check_rank, check_shape

OP = "deform_conv2d"
_LOW_PRECISION = (torch.bfloat16, torch.float16)


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    y, x = (value, value) if isinstance(value, int) else value
    lowest = 0 if name == "padding" else 1
    check(y >= lowest and x >= lowest, OP, "{} must be at least {}, got {}", name, lowest, value)
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
) -> tuple[int, int, int, int]:
    """Check every argument against the others and return the output's shape [B, O, H, W]. Raises ValueError."""
    check_rank(OP, "input", input, "[B, C, H, W]")
    check_rank(OP, "offset", offset, "[B, 2*G*K, H, W]")
    check_rank(OP, "weight", weight, "[O, C/groups, kh, kw]")
    B, C = input.shape[:2]
    check(min(input.shape[2:]) > 0, OP, "input must have pixels, got {}", input.shape)
    O, group_channels, kh, kw = weight.shape
    K = kh * kw
    check(K > 0, OP, "the kernel must have a tap, got weight {}", weight.shape)
    check(
        group_channels > 0 and C > 0 and C % group_channels == 0,
        OP,
        "input channels must be a multiple of weight.shape[1], got input {}, weight {}",
        input.shape,
        weight.shape,
    )
    groups = C // group_channels
    check(O % groups == 0, OP, "output channels must be a multiple of groups = {}, got weight {}", groups, weight.shape)
    spans = [
        n + 2 * p - (d * (k - 1) + 1) for n, k, p, d in zip(input.shape[2:], (kh, kw), padding, dilation, strict=True)
    ]
    check(
        min(spans) >= 0,
        OP,
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
        OP,
        "offset channels must be 2*G*K with K = {} taps and G dividing the input channels {}, got offset {}",
        K,
        C,
        offset.shape,
    )
    check_shape(OP, "offset", offset, "[B, 2*G*K, H, W]", (B, 2 * G * K, H, W))
    tensors = {"input": input, "offset": offset, "weight": weight}
    if mask is not None:
        check_shape(OP, "mask", mask, "[B, G*K, H, W]", (B, G * K, H, W))
        tensors["mask"] = mask
    if bias is not None:
        check_shape(OP, "bias", bias, "[O]", (O,))
        tensors["bias"] = bias
    for name, tensor in tensors.items():
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, input)
        coordinate = name in ("offset", "mask")
        allowed = (input.dtype, torch.float32) if coordinate and input.dtype in _LOW_PRECISION else (input.dtype,)
        check(tensor.dtype in allowed, OP, "{} must be {}, got {}", name, " or ".join(map(str, allowed)), tensor.dtype)
    return B, O, H, W


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

    A sample is bilinear; corners outside the input read zero, and so does a NaN or infinite position. bfloat16 and
    float16 inputs take offsets and masks in their own dtype or in float32, and are computed in float32. Under autocast
    input, weight and bias are cast, offsets and masks are not. First derivatives are provided; a second one needs
    `backend("reference")`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019.
    """
    pairs = _pair("stride", stride), _pair("padding", padding), _pair("dilation", dilation)
    if torch.is_autocast_enabled(input.device.type):
        dtype = torch.get_autocast_dtype(input.device.type)
        input, weight = input.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    output_shape(input, offset, weight, bias, mask, *pairs)
    if backends.select(OP, input, offset, weight, bias, mask) == "reference":
        return reference.deform_conv2d(input, offset, weight, bias, *pairs, mask=mask)
    if input.dtype in _LOW_PRECISION:
        wide = [None if t is None else t.float() for t in (input, offset, weight, bias, mask)]
        return torch.ops.vinr.deform_conv2d(*wide, *pairs).to(input.dtype)
    return torch.ops.vinr.deform_conv2d(input, offset, weight, bias, mask, *pairs)


def _fake(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    return input.new_empty(output_shape(input, offset, weight, bias, mask, stride, padding, dilation))


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
) -> tuple[Tensor, ...]:
    shape = output_shape(input, offset, weight, None, mask, stride, padding, dilation)
    check_shape(OP, "grad_output", grad_output, "[B, O, H, W]", shape)
    like = (input.shape, offset.shape, weight.shape, weight.shape[:1], (offset if mask is None else mask).shape)
    return tuple(input.new_empty(s if wanted else (0,)) for s, wanted in zip(like, output_mask, strict=True))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset, weight, _, mask, *ctx.pairs = inputs
    ctx.save_for_backward(input, offset, weight, mask)
    ctx.wanted = ctx.needs_input_grad[:5]


def _backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    grads = torch.ops.vinr.deform_conv2d_backward(grad_output, *saved, *ctx.pairs, list(ctx.wanted))
    return (*(g if wanted else None for g, wanted in zip(grads, ctx.wanted, strict=True)), None, None, None)


def _second_backward(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError(
        f'{OP}: no second derivative on this backend; use `with vinr_engine.backend("reference")`'
    )


if EXTENSION.path is not None:
    torch.library.register_fake("vinr::deform_conv2d", _fake)
    torch.library.register_fake("vinr::deform_conv2d_backward", _fake_backward)
    torch.library.register_autograd("vinr::deform_conv2d", _backward, setup_context=_setup_context)
    torch.library.register_autograd("vinr::deform_conv2d_backward", _second_backward)
