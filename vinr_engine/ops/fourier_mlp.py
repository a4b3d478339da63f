"""The building block of local Fourier textures: LTE's query, and others whose frequencies belong to input pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
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
from vinr_engine.reference.mlp import Layer

OP = "fourier_mlp"
CPU_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MOST_NEIGHBOURS = 32
HALF_MULTIPLE = 16  # kernels take so many sines at once; `_prepare` adds zeros


class Arguments(NamedTuple):
    """Of a call of `fourier_mlp`."""

    coef: Tensor
    freq: Tensor
    indices: Tensor
    relative: Tensor
    phase: Tensor | None
    layers: Sequence[Layer]
    weights: Tensor | None
    cell: Tensor | None


def output_shape(a: Arguments) -> tuple[int, int, int]:
    """Check every argument against the others and return the output's shape [B, N, out]. Raises ValueError."""
    check_rank(OP, "coef", a.coef, "[B, P, D]")
    B, P, D = a.coef.shape
    check(D > 0 and D % 2 == 0, OP, "coef must have an even number D of channels, cosines' and sines', got {}", D)
    check_shape(OP, "freq", a.freq, "[B, P, D]", (B, P, D))
    check_rank(OP, "index", a.indices, "[B, N, k]")
    integral = not a.indices.is_floating_point() and a.indices.dtype != torch.bool and not a.indices.is_complex()
    check(integral, OP, "index must hold whole numbers, got {}", a.indices.dtype)
    check_device(OP, "index", a.indices, a.coef)
    _, N, k = a.indices.shape
    check_shape(OP, "index", a.indices, "[B, N, k]", (B, N, k))
    check(1 <= k <= MOST_NEIGHBOURS, OP, "index must be [B, N, k] with k from 1 to {}, got {}", MOST_NEIGHBOURS, k)
    check_shape(OP, "relative", a.relative, "[B, N, k, 2]", (B, N, k, 2))
    if a.cell is not None:
        check(a.phase is not None, OP, "cell needs phase")
        check_rank(OP, "cell", a.cell, "[B, N, X]")
        X = a.cell.shape[2]
        check(X > 0, OP, "cell must hold a number, got {}", a.cell.shape)
        check_shape(OP, "cell", a.cell, "[B, N, X] or [B, 1, X]", (B, 1 if a.cell.shape[1] == 1 else N, X))
        if a.phase is not None:
            check_shape(OP, "phase", a.phase, "[D / 2, X]", (D // 2, X))
    elif a.phase is not None:
        check_shape(OP, "phase", a.phase, "[D / 2]", (D // 2,))
    if a.weights is None:
        check(k == 1, OP, "weights are needed to mix k = {} neighbours", k)
    else:
        check_shape(OP, "weights", a.weights, "[B, N, k]", (B, N, k))
    check(len(a.layers) > 0, OP, "layers must hold one layer at least")
    outputs = check_layers(OP, "layers", a.layers, D)
    autocast = torch.is_autocast_enabled(a.coef.device.type)
    for name, tensor in _named(a):
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, a.coef)
        wide = not name.startswith("layers") and a.coef.dtype in LOW_PRECISION and tensor.dtype == torch.float32
        same = tensor.dtype == a.coef.dtype
        check(same or wide or autocast, OP, "{} must be {}, got {}", name, a.coef.dtype, tensor.dtype)
    return B, N, outputs


def _named(a: Arguments) -> Iterator[tuple[str, Tensor]]:
    for name in ("coef", "freq", "relative", "phase", "weights", "cell"):
        if (tensor := getattr(a, name)) is not None:
            yield name, tensor
    for i, (weight, bias) in enumerate(a.layers):
        yield f"layers[{i}] weight", weight
        yield f"layers[{i}] bias", bias


def fourier_mlp(
    coef: Tensor,
    freq: Tensor,
    index: Tensor,
    relative: Tensor,
    phase: Tensor | None,
    layers: Sequence[Layer],
    weights: Tensor | None = None,
    *,
    cell: Tensor | None = None,
    wide: bool = False,
) -> Tensor:
    """`sum_j weights[j] mlp(a_j * [cos(pi theta_j), sin(pi theta_j)])` over the k neighbours of each point.

    `theta = f_y relative_y + f_x relative_x + phase`, for neighbour j with a and f = (f_y, f_x) the rows of coef and
    freq that `index` says. The MLP has a ReLU between its layers and is linear without weights that mix: where those
    sum to one, the last layer is applied once, to the mix of what comes before it.

    Args:
        coef: [B, P, D], amplitudes of each of P rows, D / 2 of cosines, then those of sines. Rows are pixels of a map
            (`maps.permute(0, 2, 3, 1).flatten(1, 2)` is a view of a channels-last one), or anything else.
        freq: [B, P, D], frequencies in half turns for a unit of relative, D / 2 along y, then those along x. Maps that
            have them in pairs come in this order from a projection whose rows are sorted so; nothing is copied then.
            coef and freq may be parts of one tensor, [B, P, 2 D].
        index: [B, N, k] whole numbers, the rows that a point's k neighbours (1 to 32) read; outside [0, P) zeros are
            read, as amplitudes too.
        relative: [B, N, k, 2], position (y, x) of the point relative to each neighbour.
        phase: in half turns, [D / 2] for all points; or, with `cell`, [D / 2, X], what it is multiplied with; or None.
        layers: (weight [out, in], bias [out]) of each layer, the first of them with in = D; one is a linear map.
        weights: [B, N, k], by which outputs are mixed; None for k = 1.
        cell: [B, N, X], or [B, 1, X] for all points of a picture: theta has phase @ cell in the place of phase.
        wide: leave the result of 16-bit products in float32, in which they were summed.

    Returns:
        [B, N, out of the last layer].

    bfloat16 and float16 tensors, and tensors under autocast, are computed in float32 on the cpu backend; the products
    of bfloat16 ones with operands rounded to it and sums in float32, where the machine has those. On the triton backend
    amplitudes, weights and activations are rounded to that dtype; angles are float32 everywhere, and frequencies,
    relative, phase, weights and cell may be float32 beside low-precision ones. Gradients are computed in float32. First
    derivatives are provided; a second one needs `backend("reference")`.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, several neighbours without weights.
        BackendError: the backend asked for by name cannot run this.

    Source: Lee and Jin, "Local Texture Estimator for Implicit Representation Function", CVPR 2022.
    """
    a = Arguments(coef, freq, index, relative, phase, list(layers), weights, cell)
    output_shape(a)
    out: Tensor = FOURIER_MLP(a)
    dtype = dtype_in_force(coef)
    return out.to(computed_in(dtype) if wide else dtype)


def _reference(a: Arguments) -> Tensor:
    return reference.fourier_mlp(*a)


def _halves(x: Tensor, more: int) -> Tensor:
    """[..., D] with zeros behind each half."""
    return F.pad(x.unflatten(-1, (2, -1)), (0, more)).flatten(-2)


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    """Kernels of the CPU take float32, or float64 throughout; all take a whole number of HALF_MULTIPLE."""
    result = dtype_in_force(a.coef)
    coef, freq, index, relative, phase, pairs, weights, cell = a
    half = coef.shape[2] // 2
    if phase is None:
        phase = relative.new_zeros(half)
    if cell is None:
        phase = phase[:, None]
    layers = [t for layer in pairs for t in layer]
    if more := -half % HALF_MULTIPLE:
        coef, freq, layers[0] = (_halves(t, more) for t in (coef, freq, layers[0]))
        phase = F.pad(phase, (0, 0, 0, more))
    single = any(t.dtype != torch.float64 for t in tensors_of(a) if t.is_floating_point())
    wide = torch.float32 if single else torch.float64
    low = wide if backend == "cpu" else result
    coef, layers = coef.to(low), [t.to(low) for t in layers]
    freq, relative, phase = (t.to(wide) for t in (freq, relative, phase))
    weights, cell = (None if t is None else t.to(wide) for t in (weights, cell))
    return coef, freq, index.long(), relative, phase, cell, layers, weights, chosen_operands(result)


def _fake(
    coef: Tensor, freq: Tensor, index: Tensor, relative: Tensor, phase: Tensor, cell: Tensor | None,
    layers: list[Tensor], weights: Tensor | None, operands: str,
) -> Tensor:  # fmt: skip
    pairs = list(zip(layers[::2], layers[1::2], strict=True))
    check_rank(OP, "phase", phase, "[D / 2, X]")
    check(cell is not None or phase.shape[1] == 1, OP, "phase must have one column where there is no cell")
    check(coef.shape[-1] % (2 * HALF_MULTIPLE) == 0, OP, "D must be a positive multiple of 32, got {}", coef.shape[-1])
    flat = phase[:, 0] if cell is None else phase
    out: Tensor = coef.new_empty(output_shape(Arguments(coef, freq, index, relative, flat, pairs, weights, cell)))
    return out


def _fake_backward(
    grad_output: Tensor, coef: Tensor, freq: Tensor, index: Tensor, relative: Tensor, phase: Tensor,
    cell: Tensor | None, layers: list[Tensor], weights: Tensor | None, output_mask: list[bool], operands: str,
) -> tuple[Tensor, ...]:  # fmt: skip
    like = _fake(coef, freq, index, relative, phase, cell, layers, weights, operands)
    check_shape(OP, "grad_output", grad_output, "[B, N, out]", like.shape)
    dtype = computed_in(like.dtype)
    shapes = [
        relative.shape,
        phase.shape,
        (*index.shape[:2], phase.shape[1]),
        (sum(t.numel() for t in layers),),
        index.shape,
    ]
    empty = [coef.new_empty(coef.shape if output_mask[0] else (0,), dtype=dtype) for _ in range(2)]
    wanted = zip(shapes, output_mask[1:], strict=True)
    return (*empty, *(coef.new_empty(shape if want else (0,), dtype=dtype) for shape, want in wanted))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    coef, freq, index, relative, phase, cell, layers, weights, ctx.operands = inputs
    ctx.save_for_backward(coef, freq, index, relative, phase, cell, weights, *layers)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    coef, freq, index, relative, phase, cell, weights, *layers = ctx.saved_tensors
    of_coef, of_freq, _, of_relative, of_phase, of_cell, of_layers, of_weights, _ = ctx.needs_input_grad
    of_layers = of_layers if isinstance(of_layers, bool) else any(of_layers)
    d_coef, d_freq, d_relative, d_phase, d_cell, d_layers, d_weights = backward(
        grad_output, coef, freq, index, relative, phase, cell, layers, weights,
        [of_coef or of_freq, of_relative, of_phase, of_cell, of_layers, of_weights],
        gradient_operands(ctx.operands, run_by_cpu(ctx, grad_output)),
    )  # fmt: skip
    split: list[Tensor | None] = [None] * len(layers)
    if of_layers:
        parts = d_layers.split([t.numel() for t in layers])
        split = [d.view_as(t).to(t.dtype) for d, t in zip(parts, layers, strict=True)]
    if of_cell:
        d_cell = d_cell.sum(1, keepdim=True) if cell.shape[1] == 1 else d_cell
    return (
        d_coef.to(coef.dtype) if of_coef else None,
        d_freq.to(freq.dtype) if of_freq else None,
        None,
        d_relative.to(relative.dtype) if of_relative else None,
        d_phase.to(phase.dtype) if of_phase else None,
        d_cell.to(cell.dtype) if of_cell else None,
        split,
        d_weights.to(weights.dtype) if of_weights else None,
        None,
    )


def _on_the_cpu(a: Arguments) -> str:
    return on_the_cpu(a._replace(indices=a.relative), CPU_DTYPES)


def _on_triton(a: Arguments) -> str:
    for weight, _ in a.layers:
        if max(weight.shape) > runtime.WIDEST:
            return f"it takes layers of up to {runtime.WIDEST} inputs and outputs, got {list(weight.shape)}"
    return on_triton(a._replace(indices=a.relative))


# Maps [B, P, D], D a multiple of 32; index [B, N, k] int64, relative [B, N, k, 2], phase [D / 2, X], cell [B, N or 1,
# X], where there is none X = 1; layers holds weight and bias of each layer in turn; weights [B, N, k].
_ARGUMENTS = (
    "Tensor coef, Tensor freq, Tensor index, Tensor relative, Tensor phase, Tensor? cell, Tensor[] layers, "
    "Tensor? weights"
)

FOURIER_MLP = Op(
    OP,
    schema=f"({_ARGUMENTS}, str operands) -> Tensor",
    # Gradients of coef and freq, relative, phase, cell ([B, N, X]), layers, flat, and weights; empty where output_mask
    # is false.
    backward_schema=f"(Tensor grad_output, {_ARGUMENTS}, bool[6] output_mask, str operands) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=_reference,
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(_on_the_cpu),
        "triton": Backend(
            _on_triton,
            triton_kernel("fourier_mlp.launch", "fourier_mlp"),
            triton_kernel("fourier_mlp.backward", "fourier_mlp_backward"),
        ),
    },
)
