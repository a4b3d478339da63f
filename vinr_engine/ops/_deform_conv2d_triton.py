"""`vinr::deform_conv2d_triton` and `vinr::deform_conv2d_packed_triton`: the Triton kernels as torch ops.

They are plain custom ops, opaque to torch.compile: nothing in them is left to fuse, their fakes check and trace with no
GPU, and a `triton_op` could not be traced in Triton's interpreter. Triton is loaded when one first runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vinr_engine.ops import deform_conv2d as op
from vinr_engine.ops._triton import implement

Pair = tuple[int, int]

_GEOMETRY = "int[2] stride, int[2] padding, int[2] dilation"
SCHEMAS = {
    "deform_conv2d_triton": "(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
    f"{_GEOMETRY}, str input_precision) -> Tensor",
    # Gradients of input, offset, weight, bias, mask; an empty tensor where output_mask is false.
    "deform_conv2d_triton_backward": "(Tensor grad_output, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
    f"{_GEOMETRY}, bool[5] output_mask, str input_precision) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "deform_conv2d_packed_triton": "(Tensor input, Tensor offset_mask, Tensor weight, Tensor? bias, "
    f"{_GEOMETRY}, str input_precision) -> Tensor",
    "deform_conv2d_packed_triton_backward": "(Tensor grad_output, Tensor input, Tensor offset_mask, Tensor weight, "
    f"{_GEOMETRY}, bool[4] output_mask, str input_precision) -> (Tensor, Tensor, Tensor, Tensor)",
}


def _launch() -> Any:
    from vinr_engine.kernels.deform_conv2d import launch

    return launch


def _call(
    input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, stride: Pair, padding: Pair, dilation: Pair,
    input_precision: str,
) -> Any:  # fmt: skip
    launch = _launch()
    groups = offset.shape[1] // (2 * weight.shape[2] * weight.shape[3])
    kind = launch.NO_MASK if mask is None else launch.FACTOR
    mask = offset if mask is None else mask
    return launch.Call(input, offset, mask, kind, groups, weight, stride, padding, dilation, input_precision)


def _packed_call(input: Tensor, offset_mask: Tensor, weight: Tensor, *geometry: Any) -> Any:
    offset, logits = op.split_offset_mask(offset_mask, weight)
    return _call(input, offset, weight, logits, *geometry)._replace(mask_kind=_launch().LOGIT)


def _forward(
    input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None,
    stride: Pair, padding: Pair, dilation: Pair, input_precision: str,
) -> Tensor:  # fmt: skip
    output = op._fake(input, offset, weight, bias, mask, stride, padding, dilation, input_precision)
    call = _call(input, offset, weight, mask, stride, padding, dilation, input_precision)
    _launch().forward(call, bias, output)
    return output


def _packed_forward(
    input: Tensor, offset_mask: Tensor, weight: Tensor, bias: Tensor | None,
    stride: Pair, padding: Pair, dilation: Pair, input_precision: str,
) -> Tensor:  # fmt: skip
    output = op._fake_packed(input, offset_mask, weight, bias, stride, padding, dilation, input_precision)
    call = _packed_call(input, offset_mask, weight, stride, padding, dilation, input_precision)
    _launch().forward(call, bias, output)
    return output


def _fill(call: Any, grad_output: Tensor, grads: tuple[Tensor, ...], wanted: list[bool], mask: Tensor | None) -> None:
    """Fill the wanted ones of grads: input, offset, weight, bias. mask is the mask's gradient, or None.

    Those of offset and mask come together: where one alone is wanted, the other is computed into memory of its own.
    """
    launch = _launch()
    grad_input, grad_offset, grad_weight, grad_bias = grads
    if call.pixels == 0 or grad_output.numel() == 0:
        for grad in (*grads, *(() if mask is None else (mask,))):
            grad.zero_()
        return
    if wanted[0] or wanted[1] or mask is not None:
        both = wanted[1] or mask is not None
        to_offset = (grad_offset if wanted[1] else torch.empty_like(call.offset)) if both else None
        to_mask = torch.empty_like(call.mask) if both and mask is None and call.mask_kind != launch.NO_MASK else mask
        total = launch.backward_samples(call, grad_output, wanted[0], to_offset, to_mask)
        if wanted[0]:
            grad_input.copy_(total)
    if wanted[2]:
        grad_weight.copy_(launch.backward_weight(call, grad_output))
    if wanted[3]:
        grad_bias.copy_(grad_output.sum((0, 2, 3), dtype=torch.float32))


def _backward(
    grad_output: Tensor, input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None,
    stride: Pair, padding: Pair, dilation: Pair, output_mask: list[bool], input_precision: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    geometry = (stride, padding, dilation)
    grads = op._fake_backward(grad_output, input, offset, weight, mask, *geometry, output_mask, input_precision)
    call = _call(input, offset, weight, mask, stride, padding, dilation, input_precision)
    wants_mask = output_mask[4] and mask is not None
    _fill(call, grad_output, grads[:4], output_mask[:4], grads[4] if wants_mask else None)
    return grads


def _packed_backward(
    grad_output: Tensor, input: Tensor, offset_mask: Tensor, weight: Tensor,
    stride: Pair, padding: Pair, dilation: Pair, output_mask: list[bool], input_precision: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    geometry = (stride, padding, dilation)
    grads = op._fake_packed_backward(grad_output, input, offset_mask, weight, *geometry, output_mask, input_precision)
    call = _packed_call(input, offset_mask, weight, stride, padding, dilation, input_precision)
    grad_input, grad_offset_mask, grad_weight, grad_bias = grads
    offset, logits = op.split_offset_mask(grad_offset_mask, weight) if output_mask[1] else (grad_offset_mask, None)
    _fill(call, grad_output, (grad_input, offset, grad_weight, grad_bias), output_mask, logits)
    return grads


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset, weight, _, mask, *ctx.geometry, ctx.precision = inputs
    ctx.save_for_backward(input, offset, weight, mask)
    ctx.wanted = list(ctx.needs_input_grad[:5])


def _setup_packed_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    input, offset_mask, weight, _, *ctx.geometry, ctx.precision = inputs
    ctx.save_for_backward(input, offset_mask, weight)
    ctx.wanted = list(ctx.needs_input_grad[:4])


def _differentiate(name: str) -> Any:
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        formula = getattr(torch.ops.vinr, name)
        grads = formula(grad_output, *ctx.saved_tensors, *ctx.geometry, ctx.wanted, ctx.precision)
        return (*(g if wanted else None for g, wanted in zip(grads, ctx.wanted, strict=True)), None, None, None, None)

    return backward


def _register(name: str, forward: Any, backward: Any, fakes: tuple[Any, Any], setup: Any) -> None:
    for full, kernel, fake in ((name, forward, fakes[0]), (f"{name}_backward", backward, fakes[1])):
        torch.library.define(f"vinr::{full}", SCHEMAS[full])
        implement(f"vinr::{full}", kernel)
        torch.library.register_fake(f"vinr::{full}", fake)
    torch.library.register_autograd(f"vinr::{name}", _differentiate(f"{name}_backward"), setup_context=setup)
    torch.library.register_autograd(f"vinr::{name}_backward", op._second_backward)


_register("deform_conv2d_triton", _forward, _backward, (op._fake, op._fake_backward), _setup_context)
_register(
    "deform_conv2d_packed_triton",
    _packed_forward,
    _packed_backward,
    (op._fake_packed, op._fake_packed_backward),
    _setup_packed_context,
)
