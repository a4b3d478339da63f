"""Forward splatting: source pixels thrown to where their flow points, and averaged with weights where they meet."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from vinr_engine import reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, computed_in, on_the_cpu, on_triton, triton_kernel
from vinr_engine.reference.splat import ENDINGS, MODES


class SumArguments(NamedTuple):
    x: Tensor
    flow: Tensor
    weight: Tensor | None
    counts: bool
    maximum: bool


class Arguments(NamedTuple):
    x: Tensor
    flow: Tensor
    metric: Tensor | None
    mode: str
    eps: str


def splat_sum(
    x: Tensor, flow: Tensor, weight: Tensor | None = None, *, count: bool = False, maximum: bool = False
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Throw each pixel of x, times its weight, to where its flow points, and sum what lands on each pixel there.

    A source at (i, j) lands at (i + flow y, j + flow x) and is spread bilinearly over the four pixels around that
    place, its taps. Taps outside the picture are dropped, and weights are not renormalised. A source whose place is
    not finite is dropped whole; one however far outside lands nowhere. Taps of weight zero, which sources on whole
    numbers have, still multiply: infinity in x makes NaN there.

    Args:
        x: [B, C, H, W]. Channels-last memory is read in place, and the sum and its gradient then are channels-last too:
            rows [B H W, C] of a product go in as `rows.view(B, H, W, C).permute(0, 3, 1, 2)`, and the sum comes back
            by `numerator.permute(0, 2, 3, 1).view(-1, C)`, without a copy.
        flow: [B, 2, H, W], (x, y) in pixels, pixel centres at whole numbers.
        weight: [B, 1, H, W], of any sign; None for 1 everywhere.
        count: count the taps that each pixel receives, those of weight zero included.
        maximum: find the largest weight, times that of its tap, that each pixel receives.

    Returns:
        numerator [B, C, H, W]: the sum of x times weight;
        denominator [B, 1, H, W]: the sum of weight;
        count [B, 1, H, W], whole numbers without gradient, or None;
        max [B, 1, H, W], at least 1, without gradient, or None. NaN is passed over.

    Differentiable in x, flow (the whole part of a place counts as constant) and weight, once; a second derivative needs
    `backend("reference")`. Tensors of float16 and bfloat16 are computed in float32, and all results are then float32;
    flow and weight may be float32 beside such an x, and better are: bfloat16 has no fraction of a pixel beyond 256.
    What the cpu backend gives does not depend on the number of threads.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit.
        BackendError: the backend asked for by name cannot run this.

    Source: Niklaus and Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020; count and max as BF-STVSR and
    MoTIF use them.
    """
    _check("splat_sum", x, flow, "weight", weight)
    return _splat_sum(SumArguments(x, flow, weight, count, maximum))


def splat(x: Tensor, flow: Tensor, metric: Tensor | None = None, mode: str = "soft", eps: str = "add") -> Tensor:
    """Warp x forward by its flow: what lands on a pixel is averaged. See `splat_sum`, S below, for where it lands.

    | mode | metric m | numerator | denominator D |
    | --- | --- | --- | --- |
    | "sum" | none | S(x), the result | |
    | "avg" | none | S(x) | S(1) |
    | "linear" | any sign | S(m x) | S(m) |
    | "soft" | any | S(exp(m) x) | S(exp(m)) |

    Args:
        x: [B, C, H, W]; channels-last memory stays that.
        flow: [B, 2, H, W], (x, y) in pixels.
        metric: [B, 1, H, W] for "linear" and "soft", the importance of each source; none for the others.
        mode: one of the above.
        eps: what the numerator is divided by: "add", D + 1e-7; "zero", D, or 1 where D is exactly 0; "clip",
            max(D, 1e-7). Where nothing lands the result is 0.

    Returns:
        [B, C, H, W] of x's dtype, computed as `splat_sum` does.

    In "soft" mode the exponentials are taken relative to the largest metric among the sources that reach a pixel, and
    1e-7 with them: the same number, which neither overflows nor underflows for any finite metric, where the plain form
    gives NaN for metrics above 88 (709 in float64), as `backend("reference")` does. With "add" and "clip" the result
    still fades to 0 where all metrics are far below -16.

    Exact gradients by x, flow and metric. Raises as `splat_sum`; ValueError also for an unknown mode or eps, and a
    metric that is missing or not used.
    """
    _check("splat", x, flow, "metric", metric)
    check(mode in MODES, "splat", "mode must be one of {}, got {!r}", MODES, mode)
    check(eps in ENDINGS, "splat", "eps must be one of {}, got {!r}", ENDINGS, eps)
    if mode in ("sum", "avg"):
        check(metric is None, "splat", "mode {!r} takes no metric, got one", mode)
    else:
        check(metric is not None, "splat", "mode {!r} needs a metric [B, 1, H, W]", mode)
    if mode == "sum":
        return _splat_sum(SumArguments(x, flow, None, False, False))[0].to(x.dtype)
    return _splat(Arguments(x, flow, metric, mode, eps))


def _check(op: str, x: Tensor, flow: Tensor, name: str, weight: Tensor | None) -> None:
    """Check the arguments. Raises ValueError."""
    check_rank(op, "x", x, "[B, C, H, W]")
    B, C, H, W = x.shape
    check(C > 0, op, "x must have channels, got {}", list(x.shape))
    check_shape(op, "flow", flow, "[B, 2, H, W]", (B, 2, H, W))
    given = [("x", x), ("flow", flow)]
    if weight is not None:
        check_shape(op, name, weight, "[B, 1, H, W]", (B, 1, H, W))
        given.append((name, weight))
    dtype = computed_in(x.dtype)
    for argument, tensor in given:
        check_floating(op, argument, tensor)
        check_device(op, argument, tensor, x)
        check(tensor.dtype in (x.dtype, dtype), op, "{} must be {}, got {}", argument, x.dtype, tensor.dtype)


def _splat_sum(a: SumArguments) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    numerator, denominator, count, largest = SPLAT_SUM(a)
    if _lies_channels_last(a.x):
        numerator = numerator.permute(0, 3, 1, 2)
    return numerator, denominator, count if a.counts else None, largest if a.maximum else None


def _lies_channels_last(x: Tensor) -> bool:
    """Whether the channels of x [B, C, H, W] lie side by side; either answer is right, one spares a copy."""
    return x.shape[1] > 1 and x.stride(1) == 1 and x.shape[2] * x.shape[3] > 1


def _inputs(x: Tensor, flow: Tensor, weight: Tensor | None) -> tuple[Any, ...]:
    """Those of a kernel, and whether x is [B, H, W, C] now."""
    dtype, last = computed_in(x.dtype), _lies_channels_last(x)
    x = x.to(dtype)
    return x.permute(0, 2, 3, 1) if last else x, flow.to(dtype), None if weight is None else weight.to(dtype), last


def _sum_reference(a: SumArguments) -> tuple[Tensor, ...]:
    x, flow, weight, last = _inputs(a.x, a.flow, a.weight)
    x = x.permute(0, 3, 1, 2) if last else x
    numerator, *maps = reference.splat_sum(x, flow, weight, count=a.counts, maximum=a.maximum)
    numerator = numerator.permute(0, 2, 3, 1) if last else numerator
    return numerator, *(x.new_empty(0) if m is None else m for m in maps)


def _reference(a: Arguments) -> tuple[Tensor, ...]:
    x, flow, metric, last = _inputs(a.x, a.flow, a.metric)
    out = reference.splat(x.permute(0, 3, 1, 2) if last else x, flow, metric, a.mode, a.eps)
    return (out.permute(0, 2, 3, 1) if last else out,)


def _splat(a: Arguments) -> Tensor:
    out: Tensor = SPLAT(a)[0]
    return (out.permute(0, 3, 1, 2) if _lies_channels_last(a.x) else out).to(a.x.dtype)


def _fake_sum(
    x: Tensor, flow: Tensor, weight: Tensor | None, channels_last: bool, count: bool, maximum: bool
) -> tuple[Tensor, ...]:
    B, _, H, W = flow.shape
    return x.new_empty(x.shape), *(x.new_empty((B, 1, H, W) if wanted else (0,)) for wanted in (True, count, maximum))


def _fake_splat(
    x: Tensor, flow: Tensor, metric: Tensor | None, channels_last: bool, exponential: bool, eps: str
) -> tuple[Tensor, ...]:
    B, _, H, W = flow.shape
    return x.new_empty(x.shape), x.new_empty(B, 3, H, W)


def _fake_gradients(x: Tensor, flow: Tensor, weight: Tensor | None, mask: list[bool]) -> tuple[Tensor, ...]:
    d_weight = x.new_empty(weight.shape if mask[2] and weight is not None else (0,))
    return x.new_empty(x.shape if mask[0] else (0,)), flow.new_empty(flow.shape if mask[1] else (0,)), d_weight


def _fake_sum_backward(
    grad_numerator: Tensor, grad_denominator: Tensor, x: Tensor, flow: Tensor, weight: Tensor | None,
    channels_last: bool, output_mask: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    return _fake_gradients(x, flow, weight, output_mask)


def _fake_splat_backward(
    grad_output: Tensor, out: Tensor, norm: Tensor, x: Tensor, flow: Tensor, metric: Tensor | None,
    channels_last: bool, exponential: bool, output_mask: list[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    return _fake_gradients(x, flow, metric, output_mask)


def _save_sum(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.channels_last, _, _ = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(*output[2:])


def _save_splat(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.channels_last, ctx.exponential, _ = inputs
    ctx.save_for_backward(*output, *tensors)
    ctx.mark_non_differentiable(output[1])


def _wanted(ctx: Any, gradients: tuple[Tensor, ...]) -> tuple[Any, ...]:
    needs = ctx.needs_input_grad
    return *(d if wanted else None for d, wanted in zip(gradients, needs[:3], strict=True)), *[None] * (len(needs) - 3)


def _sum_gradient(
    ctx: Any, backward: Any, grad_numerator: Tensor, grad_denominator: Tensor, *_: Any
) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:3])
    return _wanted(ctx, backward(grad_numerator, grad_denominator, *ctx.saved_tensors, ctx.channels_last, needs))


def _splat_gradient(ctx: Any, backward: Any, grad_output: Tensor, _: Any) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:3])
    return _wanted(ctx, backward(grad_output, *ctx.saved_tensors, ctx.channels_last, ctx.exponential, needs))


# x and its gradient are [B, H, W, C] if channels_last, else [B, C, H, W]; gradients that are not wanted are empty.
SPLAT_SUM = Op(
    "splat_sum",
    schema="(Tensor x, Tensor flow, Tensor? weight, bool channels_last, bool count, bool maximum) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    backward_schema="(Tensor grad_numerator, Tensor grad_denominator, Tensor x, Tensor flow, Tensor? weight, "
    "bool channels_last, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
    reference=_sum_reference,
    prepare=lambda backend, a: (*_inputs(a.x, a.flow, a.weight), a.counts, a.maximum),
    fake=_fake_sum,
    fake_backward=_fake_sum_backward,
    save=_save_sum,
    gradient=_sum_gradient,
    backends={
        "cpu": Backend(on_the_cpu),
        "triton": Backend(
            on_triton,
            triton_kernel("splat.launch", "splat_sum"),
            triton_kernel("splat.launch", "splat_sum_backward"),
        ),
    },
)

# The result, and what its gradient needs of each pixel, [B, 3, H, W]: the divisor's reciprocal, the exponent that
# exponentials are relative to, and whether the divisor depends on the weights.
SPLAT = Op(
    "splat",
    schema="(Tensor x, Tensor flow, Tensor? metric, bool channels_last, bool exponential, str eps) -> (Tensor, Tensor)",
    backward_schema="(Tensor grad_output, Tensor out, Tensor norm, Tensor x, Tensor flow, Tensor? metric, "
    "bool channels_last, bool exponential, bool[3] output_mask) -> (Tensor, Tensor, Tensor)",
    reference=_reference,
    prepare=lambda backend, a: (*_inputs(a.x, a.flow, a.metric), a.mode == "soft", a.eps),
    fake=_fake_splat,
    fake_backward=_fake_splat_backward,
    save=_save_splat,
    gradient=_splat_gradient,
    backends={
        "cpu": Backend(on_the_cpu),
        "triton": Backend(
            on_triton,
            triton_kernel("splat.launch", "splat"),
            triton_kernel("splat.launch", "splat_backward"),
        ),
    },
)
