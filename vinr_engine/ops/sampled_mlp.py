"""The building block of hoisted queries, for VideoINR and for other implicit neural representations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vinr_engine import reference
from vinr_engine.backends import LOW_PRECISION, chosen_operands
from vinr_engine.kernels.common import runtime
from vinr_engine.ops.checks import check, check_device, check_floating, check_layers, check_rank, check_shape
from vinr_engine.ops.op import (
    Backend,
    Op,
    computed_in,
    dtype_in_force,
    gradient_operands,
    on_the_cpu,
    on_triton,
    run_by_cpu,
    tensors_of,
    triton_kernel,
)
from vinr_engine.reference.mlp import ACTIVATIONS, Layer
from vinr_engine.reference.sampling import SAMPLERS

OP = "sampled_mlp"
CPU_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Arguments(NamedTuple):
    """Of a call of `sampled_mlp`."""

    maps: Sequence[Tensor]
    positions: Sequence[Tensor]
    layers: Sequence[Layer]
    x: Tensor | None
    x_weight: Tensor | None
    bias: Tensor | None
    modes: Sequence[str]
    activation: str
    omega: float


def output_shape(
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    layers: Sequence[Layer],
    x: Tensor | None,
    x_weight: Tensor | None,
    bias: Tensor | None,
    modes: Sequence[str],
    activation: str,
) -> tuple[int, int, int]:
    """Check every argument against the others and return the output's shape [B, N, out]. Raises ValueError."""
    check(activation in ACTIVATIONS, OP, "activation must be one of {}, got {!r}", sorted(ACTIVATIONS), activation)
    check(
        len(maps) == len(positions) == len(modes),
        OP,
        "as many positions and modes as maps are needed, got {}, {} and {}",
        len(positions),
        len(modes),
        len(maps),
    )
    check(all(m in SAMPLERS for m in modes), OP, "modes must be of {}, got {}", sorted(SAMPLERS), list(modes))
    check((x is None) == (x_weight is None), OP, "x and x_weight must be given together")
    some = maps[0] if maps else x
    if some is None:
        raise ValueError(f"{OP}: a map or x is needed")
    for i, (m, p) in enumerate(zip(maps, positions, strict=True)):
        check_rank(OP, f"maps[{i}]", m, "[B, D, H, W]")
        check_rank(OP, f"positions[{i}]", p, "[B, N, 2]")
        check(m.shape[2] > 0 and m.shape[3] > 0, OP, "maps[{}] must have pixels, got {}", i, m.shape)
    if x is not None and x_weight is not None:
        check_rank(OP, "x", x, "[B, N, X]")
        check_rank(OP, "x_weight", x_weight, "[D, X]")
    B, D = some.shape[0], maps[0].shape[1] if maps else x_weight.shape[0]  # type: ignore[union-attr]
    N = positions[0].shape[1] if positions else some.shape[1]
    for i, (m, p) in enumerate(zip(maps, positions, strict=True)):
        check_shape(OP, f"maps[{i}]", m, "[B, D, H, W]", (B, D, *m.shape[2:]))
        check_shape(OP, f"positions[{i}]", p, "[B, N, 2]", (B, N, 2))
    if x is not None and x_weight is not None:
        check_shape(OP, "x", x, "[B, N, X]", (B, N, x.shape[2]))
        check_shape(OP, "x_weight", x_weight, "[D, X]", (D, x.shape[2]))
    if bias is not None:
        check_shape(OP, "bias", bias, "[D]", (D,))
    outputs = check_layers(OP, "layers", layers, D)
    autocast = torch.is_autocast_enabled(some.device.type)
    for name, tensor in _named(maps, positions, layers, x, x_weight, bias):
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, some)
        wide = name.startswith("positions") and some.dtype in LOW_PRECISION and tensor.dtype == torch.float32
        check(
            tensor.dtype == some.dtype or wide or autocast, OP, "{} must be {}, got {}", name, some.dtype, tensor.dtype
        )
    return B, N, outputs


def _named(
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    layers: Sequence[Layer],
    x: Tensor | None,
    x_weight: Tensor | None,
    bias: Tensor | None,
) -> Iterator[tuple[str, Tensor]]:
    for i, (m, p) in enumerate(zip(maps, positions, strict=True)):
        yield f"maps[{i}]", m
        yield f"positions[{i}]", p
    for name, tensor in (("x", x), ("x_weight", x_weight), ("bias", bias)):
        if tensor is not None:
            yield name, tensor
    for i, (weight, b) in enumerate(layers):
        yield f"layers[{i}] weight", weight
        yield f"layers[{i}] bias", b


def sampled_mlp(
    maps: Sequence[Tensor],
    positions: Sequence[Tensor],
    layers: Sequence[Layer],
    *,
    x: Tensor | None = None,
    x_weight: Tensor | None = None,
    bias: Tensor | None = None,
    modes: Sequence[str] | None = None,
    activation: str = "sine",
    omega: float = 30.0,
    wide: bool = False,
) -> Tensor:
    """`z = sum_i sample(maps[i], positions[i]) + x_weight x + bias`, then `layers`, an activation before each.

    Sampling is linear, so the first layer of an MLP over sampled features can be applied to the maps before they are
    sampled, once for all positions that share them: `maps` are such projected maps, D is the first layer's width.

    Args:
        maps: each [B, D, H_i, W_i]; channels-last memory spares a copy.
        positions: one for each map, [B, N, 2] as (y, x) in pixels of that map, pixel centres at whole numbers. Zeros
            are read outside, and at NaN.
        layers: (weight [out, in], bias [out]) of the layers after the first, the first of them with in = D.
        x: [B, N, X], inputs that come from no map; needs x_weight [D, X].
        bias: [D] of the first layer.
        modes: one for each map, "bilinear" or "nearest" (the pixel floor(p + 0.5)); None for bilinear everywhere.
        activation: "sine" (sin(omega z)), "relu" or "gelu".
        omega: frequency of the sine.
        wide: leave the result of 16-bit products in float32, in which they were summed, for results that are positions.

    Returns:
        [B, N, out of the last layer], before any activation; with no layers, z [B, N, D].

    bfloat16 and float16 tensors, and tensors under autocast, are computed in float32 on the cpu backend; the products
    of bfloat16 ones with operands rounded to it and sums in float32, where the machine has those. On the triton backend
    maps, weights and activations are rounded to that dtype, and sums, phases and x are float32. Positions may be
    float32 beside them. Gradients are computed in float32; on the cpu backend their products are rounded as those
    before are. First derivatives are provided; a second one needs `backend("reference")`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an unknown activation or mode, no map and no x.
        BackendError: the backend asked for by name cannot run this.
    """
    modes = ["bilinear"] * len(maps) if modes is None else list(modes)
    output_shape(maps, positions, layers, x, x_weight, bias, modes, activation)
    a = Arguments(list(maps), list(positions), list(layers), x, x_weight, bias, modes, activation, omega)
    out: Tensor = SAMPLED_MLP(a)
    dtype = _result_dtype(a)
    return out.to(computed_in(dtype) if wide else dtype)


def _result_dtype(a: Arguments) -> torch.dtype:
    """That of the tensors, or of autocast."""
    return dtype_in_force(tensors_of((a.maps, a.x))[0])


def _reference(a: Arguments) -> Tensor:
    return reference.sampled_mlp(
        *a[:3], x=a.x, x_weight=a.x_weight, bias=a.bias, modes=a.modes, activation=a.activation, omega=a.omega
    )


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    """Kernels of the CPU take float32, or float64 throughout."""
    result = _result_dtype(a)
    maps, positions, others = a.maps, a.positions, [a.x, a.x_weight, a.bias]
    layers = [t for layer in a.layers for t in layer]
    if backend == "cpu":
        single = any(t.dtype != torch.float64 for t in tensors_of(a))
        dtype = torch.float32 if single else torch.float64
        positions, layers = [p.to(dtype) for p in positions], [t.to(dtype) for t in layers]
        others = [None if t is None else t.to(dtype) for t in others]
    else:
        dtype = result
    maps = [m.to(dtype).permute(0, 2, 3, 1) for m in maps]
    nearest = [mode == "nearest" for mode in a.modes]
    return maps, positions, nearest, *others, layers, a.activation, a.omega, chosen_operands(result)


def _fake(
    maps: list[Tensor], positions: list[Tensor], nearest: list[bool], x: Tensor | None, x_weight: Tensor | None,
    bias: Tensor | None, layers: list[Tensor], activation: str, omega: float, operands: str,
) -> Tensor:  # fmt: skip
    pairs = list(zip(layers[::2], layers[1::2], strict=True))
    modes = ["nearest" if n else "bilinear" for n in nearest]
    planes = [m.permute(0, 3, 1, 2) for m in maps]
    shape = output_shape(planes, positions, pairs, x, x_weight, bias, modes, activation)
    some: Any = maps[0] if maps else x
    out: Tensor = some.new_empty(shape)
    return out


def _fake_backward(
    grad_output: Tensor, maps: list[Tensor], positions: list[Tensor], nearest: list[bool], x: Tensor | None,
    x_weight: Tensor | None, bias: Tensor | None, layers: list[Tensor], activation: str, omega: float,
    output_mask: list[bool], operands: str,
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:  # fmt: skip
    like = _fake(maps, positions, nearest, x, x_weight, bias, layers, activation, omega, operands)
    check_shape(OP, "grad_output", grad_output, "[B, N, out]", like.shape)
    D = maps[0].shape[3] if maps else x_weight.shape[0]  # type: ignore[union-attr]
    weights = D + sum(t.numel() for t in layers) + (0 if x_weight is None else x_weight.numel())
    dtype = computed_in(like.dtype)
    return (
        [m.new_empty(m.shape, dtype=dtype) for m in maps] if output_mask[0] else [],
        [p.new_empty(p.shape, dtype=dtype) for p in positions] if output_mask[1] else [],
        like.new_empty(x.shape if output_mask[2] and x is not None else (0,), dtype=dtype),
        like.new_empty(weights if output_mask[3] else 0, dtype=dtype),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    maps, positions, ctx.nearest, x, x_weight, bias, layers, ctx.activation, ctx.omega, ctx.operands = inputs
    ctx.map_count = len(maps)
    ctx.save_for_backward(x, x_weight, bias, *maps, *positions, *layers)


def _any(needs: bool | Sequence[bool]) -> bool:
    return needs if isinstance(needs, bool) else any(needs)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    x, x_weight, bias, *tensors = ctx.saved_tensors
    n = ctx.map_count
    maps, positions, layers = tensors[:n], tensors[n : 2 * n], tensors[2 * n :]
    needs = [_any(need) for need in ctx.needs_input_grad]
    d_maps, d_positions, d_x, d_weights = backward(
        grad_output, maps, positions, ctx.nearest, x, x_weight, bias, layers, ctx.activation, ctx.omega,
        [needs[0], needs[1], needs[3], needs[4] or needs[5] or needs[6]],
        gradient_operands(ctx.operands, run_by_cpu(ctx, grad_output)),
    )  # fmt: skip
    d_x_weight, d_bias, d_layers = None, None, [None] * len(layers)
    if d_weights.numel() > 0:
        D = maps[0].shape[3] if maps else x_weight.shape[0]
        X = 0 if x_weight is None else x_weight.shape[1]
        flat = d_weights.split([D * X, D, *(t.numel() for t in layers)])
        d_x_weight = flat[0].view(D, X).to(x_weight.dtype) if needs[4] else None
        d_bias = flat[1].to(bias.dtype) if needs[5] else None
        d_layers = [d.view_as(t).to(t.dtype) for d, t in zip(flat[2:], layers, strict=True)]
    return (
        [d.to(t.dtype) for d, t in zip(d_maps, maps, strict=True)] if needs[0] else [None] * n,
        [d.to(t.dtype) for d, t in zip(d_positions, positions, strict=True)] if needs[1] else [None] * n,
        None if n > 0 else [],  # of `nearest`: torch takes an empty list for one of tensors
        d_x.to(x.dtype) if needs[3] else None,
        d_x_weight,
        d_bias,
        d_layers,
        None,
        None,
        None,
    )


def _on_triton(a: Arguments) -> str:
    for weight in (a.x_weight, *(weight for weight, _ in a.layers)):
        if weight is not None and max(weight.shape) > runtime.WIDEST:
            return f"it takes layers of up to {runtime.WIDEST} inputs and outputs, got {list(weight.shape)}"
    return on_triton(a)


# Maps [B, H, W, D] channels-last, positions [B, N, 2] (y, x) in pixels of their maps; layers holds weight and bias of
# each layer after the first in turn.
_ARGUMENTS = (
    "Tensor[] maps, Tensor[] positions, bool[] nearest, Tensor? x, Tensor? x_weight, Tensor? bias, Tensor[] layers, "
    "str activation, float omega"
)

SAMPLED_MLP = Op(
    OP,
    schema=f"({_ARGUMENTS}, str operands) -> Tensor",
    # Gradients of maps, of positions, of x, and of x_weight, bias and layers, flat, in this order; empty lists and
    # tensors where output_mask is false. A bias that is not given has a gradient of D numbers all the same.
    backward_schema=f"(Tensor grad_output, {_ARGUMENTS}, bool[4] output_mask, str operands) "
    "-> (Tensor[], Tensor[], Tensor, Tensor)",
    reference=_reference,
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(lambda a: on_the_cpu(a, CPU_DTYPES)),
        "triton": Backend(
            _on_triton,
            triton_kernel("sampled_mlp.launch", "sampled_mlp"),
            triton_kernel("sampled_mlp.backward", "sampled_mlp_backward"),
        ),
    },
)
