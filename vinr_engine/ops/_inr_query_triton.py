"""`vinr::inr_query_triton`: its Triton kernels as a torch op, opaque to torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vinr_engine.ops import inr_query as op
from vinr_engine.ops._triton import implement

_ARGUMENTS = (
    "Tensor maps, Tensor? colours, Tensor times, int[2] lr_size, int[2] size, int frame_upsample, "
    "Tensor[] feat, Tensor[] flow, Tensor[] encode, float omega"
)
# The arguments of vinr::inr_query, and the operands of its products: "ieee", "tf32x3" or "tf32" for float32 ones, or
# "float16" or "bfloat16", to which maps of another dtype are rounded. Colour and flow are float32.
SCHEMA = f"({_ARGUMENTS}, str operands) -> (Tensor, Tensor)"
# As vinr::inr_query_backward. All gradients are float32, and so is what is computed, whatever the operands were.
BACKWARD_SCHEMA = (
    f"(Tensor grad_image, Tensor grad_flow, {_ARGUMENTS}, bool wants_colours, str precision) "
    "-> (Tensor, Tensor, Tensor)"
)


def gradient_precision(operands: str) -> str:
    """How a backward pass multiplies float32 numbers: 16-bit operands would lose small gradients, or overflow."""
    return "tf32" if operands in ("float16", "bfloat16") else operands


def _single(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape, dtype=torch.float32) for t in tensors)


def _forward(*arguments: Any) -> tuple[Tensor, Tensor]:
    from vinr_engine.kernels.inr_query.launch import inr_query

    return inr_query(*arguments)


def _backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    from vinr_engine.kernels.inr_query.backward import inr_query_backward

    *rest, wants_colours, precision = arguments
    d_maps, d_colours, d_weights = inr_query_backward(*rest, precision, wants_colours)
    return d_maps, d_maps.new_empty(0) if d_colours is None else d_colours, d_weights


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    op._setup_context(ctx, inputs, output)
    ctx.extra = (gradient_precision(inputs[-1]),)


torch.library.define("vinr::inr_query_triton", SCHEMA)
torch.library.define("vinr::inr_query_triton_backward", BACKWARD_SCHEMA)
implement("vinr::inr_query_triton", _forward)
implement("vinr::inr_query_triton_backward", _backward)
torch.library.register_fake("vinr::inr_query_triton", lambda *a: _single(op._fake(*a)))
torch.library.register_fake("vinr::inr_query_triton_backward", lambda *a: _single(op._fake_backward(*a)))
torch.library.register_autograd(
    "vinr::inr_query_triton", op._differentiate("inr_query_triton_backward"), setup_context=_setup_context
)
torch.library.register_autograd("vinr::inr_query_triton_backward", op._second_backward)
