"""`vinr::sampled_mlp_triton`: its Triton kernels as a torch op, opaque to torch.compile."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vinr_engine.ops import sampled_mlp as op
from vinr_engine.ops._inr_query_triton import gradient_precision
from vinr_engine.ops._triton import implement

_ARGUMENTS = (
    "Tensor[] maps, Tensor[] positions, bool[] nearest, Tensor? x, Tensor? x_weight, Tensor? bias, Tensor[] layers, "
    "str activation, float omega"
)
# The arguments of vinr::sampled_mlp, and the operands of its products: "ieee", "tf32x3" or "tf32" for float32 ones, or
# "float16" or "bfloat16", to which maps of another dtype are rounded. The result has the dtype of the maps, or of x.
SCHEMA = f"({_ARGUMENTS}, str operands) -> Tensor"
# As vinr::sampled_mlp_backward. All gradients are float32, and so is what is computed, whatever the operands were.
BACKWARD_SCHEMA = (
    f"(Tensor grad_output, {_ARGUMENTS}, bool[4] output_mask, str precision) -> (Tensor[], Tensor[], Tensor, Tensor)"
)


def _some(arguments: tuple[Any, ...]) -> Tensor:
    maps, x = arguments[0], arguments[3]
    return maps[0] if maps else x


def _fake(*arguments: Any) -> Tensor:
    like = op._fake(*arguments)
    return like.new_empty(like.shape, dtype=_some(arguments).dtype)


def _fake_backward(*arguments: Any) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    def single(t: Tensor) -> Tensor:
        return t.new_empty(t.shape, dtype=torch.float32)

    maps, positions, x, weights = op._fake_backward(*arguments)
    return [single(t) for t in maps], [single(t) for t in positions], single(x), single(weights)


def _forward(*arguments: Any) -> Tensor:
    from vinr_engine.kernels.sampled_mlp.launch import sampled_mlp

    out = _fake(*arguments)
    sampled_mlp(*arguments, out)
    return out


def _backward(*arguments: Any) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
    from vinr_engine.kernels.sampled_mlp.backward import sampled_mlp_backward

    *rest, wanted, precision = arguments
    d_maps, d_positions, d_x, d_weights = sampled_mlp_backward(*rest, precision, wanted)
    x_shape = rest[4].shape if wanted[2] and rest[4] is not None else (0,)
    d_x = d_weights.new_empty(x_shape) if d_x is None else d_x
    return d_maps, d_positions, d_x, d_weights if wanted[3] else d_weights.new_empty(0)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    op._setup_context(ctx, inputs, output)
    ctx.extra = (gradient_precision(inputs[-1]),)


torch.library.define("vinr::sampled_mlp_triton", SCHEMA)
torch.library.define("vinr::sampled_mlp_triton_backward", BACKWARD_SCHEMA)
implement("vinr::sampled_mlp_triton", _forward)
implement("vinr::sampled_mlp_triton_backward", _backward)
torch.library.register_fake("vinr::sampled_mlp_triton", _fake)
torch.library.register_fake("vinr::sampled_mlp_triton_backward", _fake_backward)
torch.library.register_autograd(
    "vinr::sampled_mlp_triton", op._differentiate("sampled_mlp_triton_backward"), setup_context=_setup_context
)
torch.library.register_autograd("vinr::sampled_mlp_triton_backward", op._second_backward)
