"""A linear layer of cubic B-splines in time: BF-STVSR's motion at any time, of numbers computed once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vinr_engine import reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_shape
from vinr_engine.ops.op import Backend, Op, on_the_cpu, on_triton, triton_kernel

OP = "bspline_head"
WIDEST = 1024  # splines of a pixel that the triton backend takes


class Arguments(NamedTuple):
    coef: Tensor
    knot: Tensor
    dilation: Tensor
    t: Tensor
    weight: Tensor
    bias: Tensor | None


def bspline_head(
    coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """`weight (coef * beta(dilation * (t - knot))) + bias` for each time, beta the cubic B-spline.

    beta(x) = (4 - 6 u^2 + 3 u^3) / 6 for u = |x| <= 1, (2 - u)^3 / 6 up to 2, 0 beyond.

    Args:
        coef, knot: [..., K] amplitudes and centres of K splines a pixel. Slices of one tensor, as in
            `y[..., :64], y[..., 64:]`, are read where they lie.
        dilation: [K].
        t: [T], or [T, B] where the first dimension of coef is B and each of its B parts has times of its own.
        weight: [out, K].
        bias: [out], or None.

    Returns:
        [T, ..., out], in float32 for tensors of 16 bits, since it is positions that are computed here; else in their
        dtype. Tensors need not be of one dtype, the widest counts. First derivatives by all tensors are provided.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Kim et al., "BF-STVSR: B-Splines and Fourier", CVPR 2025.
    """
    shape = output_shape(coef, knot, dilation, t, weight, bias)
    out: Tensor = BSPLINE_HEAD(Arguments(coef, knot, dilation, t, weight, bias))
    return out.reshape(shape)


def output_shape(
    coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[int, ...]:
    """Check the arguments, and return [T, ..., out]. Raises ValueError."""
    check(coef.dim() > 0 and coef.shape[-1] > 0, OP, "coef must be [..., K], got {}", list(coef.shape))
    check_shape(OP, "knot", knot, "[..., K]", coef.shape)
    K = coef.shape[-1]
    check_shape(OP, "dilation", dilation, "[K]", (K,))
    check(t.dim() in (1, 2), OP, "t must be [T] or [T, B], got {}", list(t.shape))
    if t.dim() == 2:
        check(coef.dim() > 1, OP, "t must be [T] for coef {}, got {}", list(coef.shape), list(t.shape))
        check_shape(OP, "t", t, "[T, B]", (t.shape[0], coef.shape[0]))
    check(weight.dim() == 2, OP, "weight must be [out, K], got {}", list(weight.shape))
    O = weight.shape[0]
    check_shape(OP, "weight", weight, "[out, K]", (O, K))
    check(O > 0, OP, "weight must have outputs, got {}", list(weight.shape))
    if bias is not None:
        check_shape(OP, "bias", bias, "[out]", (O,))
    for name, tensor in zip(Arguments._fields, (coef, knot, dilation, t, weight, bias), strict=True):
        if tensor is not None:
            check_floating(OP, name, tensor)
            check_device(OP, name, tensor, coef)
    return t.shape[0], *coef.shape[:-1], O


def _dtype(a: Arguments) -> torch.dtype:
    """What everything is computed in."""
    return torch.float64 if any(x is not None and x.dtype == torch.float64 for x in a) else torch.float32


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    """coef and knot as [B, P, K], t as [T, B]."""
    dtype, K = _dtype(a), a.coef.shape[-1]
    parts = a.coef.shape[0] if a.t.dim() == 2 else 1
    pixels = a.coef.shape[:-1].numel() // parts if parts else 0
    coef, knot = (x.to(dtype).reshape(parts, pixels, K) for x in (a.coef, a.knot))
    bias = None if a.bias is None else a.bias.to(dtype)
    return coef, knot, a.dilation.to(dtype), a.t.to(dtype).reshape(a.t.shape[0], parts), a.weight.to(dtype), bias


def _reference(a: Arguments) -> Tensor:
    return reference.bspline_head(*(None if x is None else x.to(_dtype(a)) for x in a))  # type: ignore[arg-type]


def _fake(coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return coef.new_empty(t.shape[0], *coef.shape[:2], weight.shape[0])


def _fake_backward(
    grad_output: Tensor, coef: Tensor, knot: Tensor, dilation: Tensor, t: Tensor, weight: Tensor,
    output_mask: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    shapes = (coef.shape, knot.shape, dilation.shape, t.shape, weight.shape, weight.shape[:1])
    return tuple(coef.new_empty(s if wanted else (0,)) for s, wanted in zip(shapes, output_mask, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:5])


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:6])
    grads = backward(grad_output, *ctx.saved_tensors, needs)
    return tuple(d if wanted else None for d, wanted in zip(grads, needs, strict=True))


def _on_triton(a: Arguments) -> str:
    if a.coef.shape[-1] > WIDEST:
        return f"it takes up to {WIDEST} splines, got {a.coef.shape[-1]}"
    return on_triton(a)


_ARGUMENTS = "Tensor coef, Tensor knot, Tensor dilation, Tensor t, Tensor weight"

BSPLINE_HEAD = Op(
    OP,
    schema=f"({_ARGUMENTS}, Tensor? bias) -> Tensor",
    backward_schema=f"(Tensor grad_output, {_ARGUMENTS}, bool[6] output_mask) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
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
            triton_kernel("bspline_head.launch", "bspline_head"),
            triton_kernel("bspline_head.launch", "bspline_head_backward"),
        ),
    },
)
