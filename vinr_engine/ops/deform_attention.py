"""Guided deformable attention: each pixel looks at the places where a deformable convolution would sample a clip."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vinr_engine import reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, computed_in, on_the_cpu, on_triton, triton_kernel

OP = "deform_attention"
Pair = tuple[int, int]


class Arguments(NamedTuple):
    q: Tensor
    kv: Tensor
    offset: Tensor
    heads: int
    groups: int
    kernel_size: Pair
    padding: Pair
    keys_gradient_scaled_twice: bool


def deform_attention(
    q: Tensor,
    kv: Tensor,
    offset: Tensor,
    heads: int,
    groups: int,
    kernel_size: int | Pair = 3,
    padding: int | Pair = 1,
    *,
    keys_gradient_scaled_twice: bool = False,
) -> Tensor:
    """Attention of each pixel of each frame over samples of all frames of its clip, where offsets say.

    There are B clips of c frames, C channels of q, h heads of d = C / heads channels, G offset groups, K taps. Query
    frame b of a clip samples frame (n + b) mod c with the n-th part of its offsets, n = 0 .. c - 1: tap (r, s) of pixel
    (i, j) reads keys and values at (i - padding + r + dy, j - padding + s + dx), bilinear, zeros outside. The softmax
    over all c K products of each head's q / sqrt(d) with its keys weights the values.

    Args:
        q: [B c, 1, C, h, w].
        kv: [B, c, 2 C, h, w]: keys, then values. Channels-last memory, as a linear layer gives it, is read as it is.
        offset: [B c, c 2 G K, h, w] in pixels: for each n, group and tap: dy, dx. Groups divide the 2 C channels of kv.
        heads, groups: they divide C and 2 C.
        kernel_size, padding: one number or (y, x); with kernel_size = 2 padding + 1.
        keys_gradient_scaled_twice: multiply the gradient of the keys, and the part of the offsets' that comes through
            them, by d^(-1/2) once more, as the extension that V3 was trained with does; for continuing such trainings.

    Returns:
        [B c, 1, C, h, w], in channels-last memory where q is.

    Computed in float32, or in float64 for tensors of that; float16 and bfloat16 tensors may come with float32 offsets.
    Differentiable in q, kv and offset; where a position is a whole number, the derivative in the offset is the one
    from the right.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Liang et al., "Recurrent Video Restoration Transformer with Guided Deformable Attention", NeurIPS 2022.
    """
    a = Arguments(q, kv, offset, heads, groups, _pair(kernel_size), _pair(padding), keys_gradient_scaled_twice)
    check_arguments(a)
    out: Tensor = DEFORM_ATTENTION(a)
    return out.unsqueeze(1).to(q.dtype)


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def check_arguments(a: Arguments) -> None:
    """Raise ValueError where they do not fit each other."""
    check_rank(OP, "kv", a.kv, "[B, c, 2 C, h, w]")
    B, c, C2, h, w = a.kv.shape
    check(
        c > 0 and C2 > 0 and C2 % 2 == 0, OP, "kv must have frames, and as many keys as values, got {}", [*a.kv.shape]
    )
    check_shape(OP, "q", a.q, "[B c, 1, C, h, w]", (B * c, 1, C2 // 2, h, w))
    check(a.heads > 0 and C2 // 2 % a.heads == 0, OP, "heads must divide C = {}, got {}", C2 // 2, a.heads)
    check(a.groups > 0 and C2 % a.groups == 0, OP, "groups must divide 2 C = {}, got {}", C2, a.groups)
    same = all(k > 0 and k == 2 * p + 1 for k, p in zip(a.kernel_size, a.padding, strict=True))
    check(same, OP, "kernel_size must be 2 padding + 1, got {} and {}", a.kernel_size, a.padding)
    channels = c * 2 * a.groups * a.kernel_size[0] * a.kernel_size[1]
    check_shape(OP, "offset", a.offset, "[B c, c 2 G K, h, w]", (B * c, channels, h, w))
    for name in ("q", "kv", "offset"):
        tensor = getattr(a, name)
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, a.q)
        wide = name == "offset" and a.q.dtype != torch.float64 and tensor.dtype == torch.float32
        check(tensor.dtype == a.q.dtype or wide, OP, "{} must be {}, got {}", name, a.q.dtype, tensor.dtype)


def _reference(a: Arguments) -> Tensor:
    dtype = computed_in(a.q.dtype)
    q, kv, offset = (t.to(dtype) for t in (a.q, a.kv, a.offset))
    return reference.deform_attention(q, kv, offset, *a[3:]).squeeze(1)


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    q, kv, offset = (t.to(computed_in(a.q.dtype)) for t in (a.q, a.kv, a.offset))
    return q.squeeze(1), kv.flatten(0, 1), offset, a.kv.shape[1], *a[3:]


def _empty_like(t: Tensor) -> Tensor:
    last = t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()
    return torch.empty_like(t, memory_format=torch.channels_last if last else torch.contiguous_format)


def _fake(
    q: Tensor, kv: Tensor, offset: Tensor, frames: int, heads: int, groups: int, kernel_size: Pair, padding: Pair,
    keys_gradient_scaled_twice: bool,
) -> Tensor:  # fmt: skip
    return _empty_like(q)


def _fake_backward(
    grad_output: Tensor, q: Tensor, kv: Tensor, offset: Tensor, frames: int, heads: int, groups: int,
    kernel_size: Pair, padding: Pair, keys_gradient_scaled_twice: bool, output_mask: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    return tuple(
        _empty_like(t) if wanted else q.new_empty(0) for t, wanted in zip((q, kv, offset), output_mask, strict=True)
    )


def _on_triton(a: Arguments) -> str:
    depth = a.kv.shape[2] // 2 // a.heads
    if a.kv.shape[2] // a.groups % depth:
        return f"its heads must each lie in one offset group, got {a.heads} heads and {a.groups} groups"
    return on_triton((a.q, a.kv, a.offset))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.others = inputs[3:]


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:3])
    grads = backward(grad_output, *ctx.saved_tensors, *ctx.others, needs)
    return *(d if wanted else None for d, wanted in zip(grads, needs, strict=True)), *([None] * len(ctx.others))


_SIZES = "int frames, int heads, int groups, int[2] kernel_size, int[2] padding, bool keys_gradient_scaled_twice"

DEFORM_ATTENTION = Op(
    OP,
    schema=f"(Tensor q, Tensor kv, Tensor offset, {_SIZES}) -> Tensor",
    backward_schema=f"(Tensor grad_output, Tensor q, Tensor kv, Tensor offset, {_SIZES}, bool[3] output_mask) "
    "-> (Tensor, Tensor, Tensor)",
    reference=_reference,
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(on_the_cpu),
        "triton": Backend(
            _on_triton,
            triton_kernel("deform_attention.launch", "deform_attention"),
            triton_kernel("deform_attention.launch", "deform_attention_backward"),
        ),
    },
)
