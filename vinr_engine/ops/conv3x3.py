"""The 3x3 convolution of stride 1, with a join before it and a sum and an activation after it.

On the CPU by Winograd's minimal filtering, which needs a quarter of the products; elsewhere by PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.grad import conv2d_weight

from vinr_engine import reference
from vinr_engine.backends import chosen_operands
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, computed_in, dtype_in_force, gradient_operands, on_the_cpu

OP = "conv3x3"


class Arguments(NamedTuple):
    """Of a call."""

    maps: list[Tensor]
    weight: Tensor
    bias: Tensor | None
    add: Tensor | None
    slope: float


def conv3x3(
    maps: Tensor | Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    add: Tensor | None = None,
    slope: float = 1.0,
) -> Tensor:
    """`F.conv2d(torch.cat(maps, 1), weight, bias, padding=1) + add`, then `F.leaky_relu(_, slope)`, in one pass.

    Args:
        maps: one [B, C, h, w] or several [B, C_i, h, w], joined along channels; channels-last memory is read as it is.
        weight: [O, sum C_i, 3, 3].
        bias: [O], or None.
        add: [B, O, h, w], or None.
        slope: what numbers that are not positive are multiplied by, at least 0; 1 is no activation, 0 is ReLU.

    Returns:
        [B, O, h, w], channels-last, in the dtype of `maps`.

    On the CPU: Winograd's F(4x4, 3x3). In float32 errors are about twice those of `F.conv2d`. Tensors of 16 bits are
    computed in float32. Under autocast to bfloat16 results stay float32, and products are of operands rounded to it,
    forward and backward, where the machine has those: errors are three times those of `F.conv2d`. A NaN or infinity
    shows in all of its tile of 4 x 4 pixels, and in the next tiles where a tap reaches them. Derivatives of any order
    are provided.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
    """
    maps = [maps] if isinstance(maps, Tensor) else list(maps)
    output_shape(maps, weight, bias, add, slope)
    arguments = Arguments(maps, weight, bias, add, slope)
    if maps[0].device.type not in ("cpu", "meta"):
        return reference.conv3x3(*arguments)
    out: Tensor = CONV3X3(arguments)
    return out.to(_dtype(maps[0]))


def conv3x3_into(
    out: Tensor,
    maps: Sequence[Tensor],
    weight: Tensor,
    bias: Tensor | None = None,
    add: Tensor | None = None,
    slope: float = 1.0,
    first_row: int = 0,
) -> None:
    """Rows of `conv3x3` on the CPU, as many as `out` and `add` have from `first_row` on, into `out`, whose channels lie
    side by side, without derivatives; `add` may be `out`, maps may not. For chains of layers: new memory for each
    result costs as much as half of the work on it."""
    *arguments, operands = _prepare("cpu", Arguments(list(maps), weight, bias, add, slope))
    torch.ops.vinr.conv3x3_into(out, *arguments, operands, first_row)


def _dtype(like: Tensor) -> torch.dtype:
    """Of a result."""
    return computed_in(like.dtype) if torch.is_autocast_enabled(like.device.type) else like.dtype


def output_shape(
    maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None, add: Tensor | None, slope: float
) -> tuple[int, int, int, int]:
    """Check every argument and return the output's shape [B, O, h, w]. Raises ValueError."""
    check(len(maps) > 0, OP, "a map is needed")
    like = maps[0]
    tensors = {f"maps[{i}]": m for i, m in enumerate(maps)} | {"weight": weight}
    for name, m in zip(tensors, maps, strict=False):
        check_rank(OP, name, m, "[B, C, h, w]")
        check_shape(OP, name, m, "[B, C, h, w]", (like.shape[0], m.shape[1], *like.shape[2:]))
    B, _, h, w = like.shape
    check_rank(OP, "weight", weight, "[O, C, 3, 3]")
    O = weight.shape[0]
    check_shape(OP, "weight", weight, "[O, C, 3, 3]", (O, sum(m.shape[1] for m in maps), 3, 3))
    check(
        min(h, w, *weight.shape[:2]) > 0,
        OP,
        "there must be pixels and channels, got maps of {} x {} pixels, weight {}",
        h,
        w,
        list(weight.shape),
    )
    if bias is not None:
        check_shape(OP, "bias", bias, "[O]", (O,))
        tensors["bias"] = bias
    if add is not None:
        check_shape(OP, "add", add, "[B, O, h, w]", (B, O, h, w))
        tensors["add"] = add
    mixed = torch.is_autocast_enabled(like.device.type)
    for name, tensor in tensors.items():
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, like)
        check(mixed or tensor.dtype == like.dtype, OP, "{} must be {}, got {}", name, like.dtype, tensor.dtype)
    check(slope >= 0, OP, "slope must be at least 0, got {}", slope)
    return B, O, h, w


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    dtype = computed_in(a.maps[0].dtype)
    rest = [None if t is None else t.to(dtype) for t in (a.weight, a.bias, a.add)]
    return [m.to(dtype) for m in a.maps], *rest, float(a.slope), chosen_operands(dtype_in_force(a.maps[0]))


def _fake(
    maps: list[Tensor], weight: Tensor, bias: Tensor | None, add: Tensor | None, slope: float, operands: str
) -> Tensor:
    like = maps[0]
    shape = output_shape(maps, weight, bias, add, slope)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    maps, weight, bias, add, ctx.slope, ctx.operands = inputs
    ctx.wants_bias, ctx.wants_add = (t is not None and t.requires_grad for t in (bias, add))
    ctx.wants_maps = [m.requires_grad for m in maps]
    ctx.save_for_backward(weight, *([output] if ctx.slope != 1 else []), *maps)


def _gradient(ctx: Any, backward: None, grad: Tensor) -> tuple[Any, ...]:
    """By this op, with the weight turned round, and by that of the weight's gradient; so it can be differentiated
    again."""
    weight, *maps = ctx.saved_tensors
    if ctx.slope != 1:
        output, *maps = maps
        grad = torch.where(output > 0, grad, ctx.slope * grad)
    elif grad.shape[1] > 1 and grad.stride(1) != 1:
        grad = grad.contiguous(memory_format=torch.channels_last)  # once, for both below and for what `add` hands on
    operands = gradient_operands(ctx.operands, by_cpu=True)
    d_maps = _maps_gradient(grad, weight, [m.shape[1] for m in maps], ctx.wants_maps, operands)
    d_weight = torch.ops.vinr.conv3x3_weight(grad, maps, operands) if ctx.needs_input_grad[1] else None
    d_bias = grad.sum((0, 2, 3)) if ctx.wants_bias else None
    return d_maps, d_weight, d_bias, grad if ctx.wants_add else None, None, None


def _maps_gradient(
    grad: Tensor, weight: Tensor, channels: list[int], wanted: list[bool], operands: str
) -> list[Tensor | None]:
    """Of the maps, from the gradient of their convolution."""
    if not any(wanted):
        return [None] * len(channels)
    whole = torch.ops.vinr.conv3x3([grad], weight.flip(2, 3).transpose(0, 1), None, None, 1.0, operands)
    return [d if w else None for d, w in zip(whole.split(channels, 1), wanted, strict=True)]


CONV3X3 = Op(
    OP,
    schema="(Tensor[] maps, Tensor weight, Tensor? bias, Tensor? add, float slope, str operands) -> Tensor",
    reference=lambda a: reference.conv3x3(*a),
    prepare=_prepare,
    fake=_fake,
    save=_save,
    gradient=_gradient,
    backends={"cpu": Backend(on_the_cpu)},
)


class WeightArguments(NamedTuple):
    """Of a call for the weight's gradient."""

    grad_output: Tensor
    maps: list[Tensor]


def _weight_reference(a: WeightArguments) -> Tensor:
    x = torch.cat(a.maps, 1)
    shape = (a.grad_output.shape[1], x.shape[1], 3, 3)
    return conv2d_weight(x, shape, a.grad_output, padding=1)


def _weight_fake(grad_output: Tensor, maps: list[Tensor], operands: str) -> Tensor:
    return grad_output.new_empty(grad_output.shape[1], sum(m.shape[1] for m in maps), 3, 3)


def _weight_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_output, maps, ctx.operands = inputs
    ctx.wants_maps = [m.requires_grad for m in maps]
    ctx.save_for_backward(grad_output, *maps)


def _weight_gradient(ctx: Any, backward: None, grad: Tensor) -> tuple[Any, ...]:
    """It is linear in the gradient, and in the maps, as the convolution is in its weight, and in them."""
    grad_output, *maps = ctx.saved_tensors
    d_grad = None
    if ctx.needs_input_grad[0]:
        d_grad = torch.ops.vinr.conv3x3(maps, grad, None, None, 1.0, ctx.operands)
    d_maps = _maps_gradient(grad_output, grad, [m.shape[1] for m in maps], ctx.wants_maps, ctx.operands)
    return d_grad, d_maps, None


CONV3X3_WEIGHT = Op(
    "conv3x3_weight",
    schema="(Tensor grad_output, Tensor[] maps, str operands) -> Tensor",
    reference=_weight_reference,
    prepare=lambda backend, a: (*a, chosen_operands(a.grad_output.dtype)),
    fake=_weight_fake,
    save=_weight_save,
    gradient=_weight_gradient,
    backends={"cpu": Backend(on_the_cpu)},
)
