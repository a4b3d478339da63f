"""A linear function of the pixel that holds a place, by where in it the place lies: the last layer of a decoder."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from vinr_engine import reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, computed_in, on_the_cpu, on_triton, triton_kernel
from vinr_engine.reference.phase_linear import phases

OP = "phase_linear"


class Arguments(NamedTuple):
    maps: Tensor
    weights: Tensor
    size: tuple[int, int]
    base: Tensor | None


def phase_linear(maps: Tensor, weights: Tensor, size: tuple[int, int], base: Tensor | None = None) -> Tensor:
    """A 1x1 convolution and a pixel shuffle, to any size.

    The centre of an output pixel (i, j) lies in the input pixel (y, x), y = floor((2i + 1) h / (2H)), and x alike. The
    place in it repeats after Py = H / gcd(h, H) rows and Px = W / gcd(w, W) columns; each place has weights of its own.

    Args:
        maps: [B, K, h, w]; channels-last memory spares a copy.
        weights: [Py, Px, C, K]; large where h and H, or w and W, have no common divisor.
        size: (H, W), at least 1 each.
        base: [B, C, H, W], added to the result; None for nothing.

    Returns:
        [B, C, H, W]: at (i, j) the sum over k of maps[k, y, x] weights[i mod Py, j mod Px, c, k]. In the dtype of base
        where it is given, else in that of the maps.

    Computed in float32, or in float64 for maps of that. Raises ValueError: shapes, dtypes or devices that do not fit;
    BackendError: the backend asked for by name cannot run this.
    """
    size = (int(size[0]), int(size[1]))
    output_shape(maps, weights, size, base)
    out: Tensor = PHASE_LINEAR(Arguments(maps, weights, size, base))
    return out.to(maps.dtype if base is None else base.dtype)


def output_shape(
    maps: Tensor, weights: Tensor, size: tuple[int, int], base: Tensor | None
) -> tuple[int, int, int, int]:
    """Check the arguments, and return [B, C, H, W]. Raises ValueError."""
    check_rank(OP, "maps", maps, "[B, K, h, w]")
    B, K, h, w = maps.shape
    check(h > 0 and w > 0 and K > 0, OP, "maps must have pixels and channels, got {}", list(maps.shape))
    check(min(size) > 0, OP, "size must be at least 1, got {}", size)
    check_rank(OP, "weights", weights, "[Py, Px, C, K]")
    C = weights.shape[2]
    check_shape(OP, "weights", weights, "[Py, Px, C, K]", (phases(h, size[0]), phases(w, size[1]), C, K))
    if base is not None:
        check_shape(OP, "base", base, "[B, C, H, W]", (B, C, *size))
    for name, tensor in (("maps", maps), ("weights", weights), ("base", base)):
        if tensor is not None:
            check_floating(OP, name, tensor)
            check_device(OP, name, tensor, maps)
    return B, C, *size


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    dtype = computed_in(a.maps.dtype)
    base = None if a.base is None else a.base.to(dtype)
    return a.maps.to(dtype).permute(0, 2, 3, 1), a.weights.to(dtype), base, list(a.size)


def _fake(maps: Tensor, weights: Tensor, base: Tensor | None, size: list[int]) -> Tensor:
    return maps.new_empty(maps.shape[0], weights.shape[2], *size)


def _fake_backward(
    grad_output: Tensor, maps: Tensor, weights: Tensor, size: list[int], output_mask: list[bool]
) -> tuple[Tensor, Tensor]:
    of_maps, of_weights = output_mask
    return maps.new_empty(maps.shape if of_maps else (0,)), weights.new_empty(weights.shape if of_weights else (0,))


def _on_triton(a: Arguments) -> str:
    return on_triton((a.maps,))  # weights and base of any dtype are cast


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    maps, weights, _, ctx.size = inputs
    ctx.save_for_backward(maps, weights)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    *needs, needs_base = ctx.needs_input_grad[:3]
    grads: list[Tensor | None] = [None, None]
    if any(needs):
        found = backward(grad_output, *ctx.saved_tensors, ctx.size, needs)
        grads = [d if wanted else None for d, wanted in zip(found, needs, strict=True)]
    return *grads, grad_output if needs_base else None, None


PHASE_LINEAR = Op(
    OP,
    schema="(Tensor maps, Tensor weights, Tensor? base, int[2] size) -> Tensor",
    backward_schema="(Tensor grad_output, Tensor maps, Tensor weights, int[2] size, bool[2] output_mask) "
    "-> (Tensor, Tensor)",
    reference=lambda a: reference.phase_linear(*a),
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(on_the_cpu),
        "triton": Backend(
            _on_triton,
            triton_kernel("phase_linear.launch", "phase_linear"),
            triton_kernel("phase_linear.launch", "phase_linear_backward"),
        ),
    },
)
