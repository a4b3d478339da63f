"""Local correlation: the cost volume that a search for motion looks at, seen from any time between two frames."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from vinr_engine import reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, computed_in, on_the_cpu, on_triton, triton_kernel

OP = "local_correlation"


class Arguments(NamedTuple):
    first: Tensor
    second: Tensor
    times: Tensor
    radius: int


def local_correlation(first: Tensor, second: Tensor, times: Tensor, radius: int) -> Tensor:
    """How alike two maps are for each displacement of up to `radius` pixels along either axis.

    A displacement d is split as time splits it: the first map is read a = floor(t d + 1/2) pixels back, and the second
    the rest, d - a, ahead. With t = 0 this is the local correlation of PWC-Net and RAFT, seen from the first map; with
    t = 1/2 it is the bilateral cost volume of BMBC, seen from halfway.

    Args:
        first, second: [B, C, h, w]; channels-last memory spares a copy.
        times: [B], each in [0, 1]; it has no gradient.
        radius: at least 0.

    Returns:
        [B, (2 radius + 1)^2, h, w] in channels-last memory: at p, for each d = (dy, dx) with dy outermost, both from
        -radius on, the mean over the channels of first[p - a] second[p + d - a]. Zeros are read outside.

    Computed in float32, or in float64 for tensors of that. Raises ValueError: shapes, dtypes or devices that do not
    fit; RuntimeError: times outside [0, 1], which the cpu backend alone looks at, since on a GPU that would be waited
    for; BackendError: the backend asked for by name cannot run this.
    """
    output_shape(first, second, times, radius)
    out: Tensor = LOCAL_CORRELATION(Arguments(first, second, times, radius))
    return out.permute(0, 3, 1, 2).to(first.dtype)


def output_shape(first: Tensor, second: Tensor, times: Tensor, radius: int) -> tuple[int, int, int, int]:
    """Check the arguments, and return [B, K, h, w]. Raises ValueError."""
    check_rank(OP, "first", first, "[B, C, h, w]")
    check_shape(OP, "second", second, "[B, C, h, w]", first.shape)
    B, C, h, w = first.shape
    check(C > 0, OP, "maps must have channels, got {}", list(first.shape))
    check_shape(OP, "times", times, "[B]", (B,))
    check(radius >= 0, OP, "radius must be at least 0, got {}", radius)
    for name, tensor in (("first", first), ("second", second), ("times", times)):
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, first)
    check(second.dtype == first.dtype, OP, "second must be {}, got {}", first.dtype, second.dtype)
    return B, (2 * radius + 1) ** 2, h, w


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    dtype = computed_in(a.first.dtype)
    maps = [m.to(dtype).permute(0, 2, 3, 1) for m in (a.first, a.second)]
    return *maps, a.times.detach().to(dtype), a.radius


def _fake(first: Tensor, second: Tensor, times: Tensor, radius: int) -> Tensor:
    B, h, w, _ = first.shape
    return first.new_empty(B, h, w, (2 * radius + 1) ** 2)


def _fake_backward(
    grad_output: Tensor, first: Tensor, second: Tensor, times: Tensor, radius: int, output_mask: list[bool]
) -> tuple[Tensor, Tensor]:
    one, other = output_mask
    return first.new_empty(first.shape if one else (0,)), second.new_empty(second.shape if other else (0,))


def _on_triton(a: Arguments) -> str:
    return on_triton((a.first, a.second))  # times of any dtype are cast


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.radius = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:2])
    grads = backward(grad_output, *ctx.saved_tensors, ctx.radius, needs)
    return *(d if wanted else None for d, wanted in zip(grads, needs, strict=True)), None, None


LOCAL_CORRELATION = Op(
    OP,
    schema="(Tensor first, Tensor second, Tensor times, int radius) -> Tensor",
    backward_schema="(Tensor grad_output, Tensor first, Tensor second, Tensor times, int radius, bool[2] output_mask) "
    "-> (Tensor, Tensor)",
    reference=lambda a: reference.local_correlation(*a).permute(0, 2, 3, 1),
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(on_the_cpu),
        "triton": Backend(
            _on_triton,
            triton_kernel("local_correlation.launch", "local_correlation"),
            triton_kernel("local_correlation.launch", "local_correlation_backward"),
        ),
    },
)
