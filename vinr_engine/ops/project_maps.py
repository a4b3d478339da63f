"""Maps, joined in mind, times a weight: the part of a first layer that sees only maps, for hoisted queries.

On the CPU it is an op of its own, since its sums have one order: libraries of matrix products split them by the number
of threads on some processors, and then the last digits depend on that number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vinr_engine import reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, on_the_cpu

OP = "project_maps"


def project_maps(maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The same numbers whatever the number of threads, and so are the gradients; by the extension, on the CPU.

    Args:
        maps: each [B, C_i, h, w] of any strides, float32 or all float64; channels-last memory is read fastest.
        weight: [O, sum C_i].

    Returns:
        [B, h, w, O].

    Raises:
        RuntimeError: shapes, dtypes or devices that do not fit, no map; ValueError where torch.compile traces it.
    """
    return torch.ops.vinr.project_maps([m.permute(0, 2, 3, 1) for m in maps], weight)


def torch_product(maps: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The same by PyTorch's own products, on any device and in graphs that leave for other runtimes.

    One product a map, summed in place: joining them would copy all, 45 MB at 320x180.
    """
    B, _, h, w = maps[0].shape
    pieces = weight.split([m.shape[1] for m in maps], 1)
    out = weight.new_zeros(B, h * w, len(weight))
    for m, piece in zip(maps, pieces, strict=True):
        out.baddbmm_(m.permute(0, 2, 3, 1).flatten(1, 2), piece.t().expand(B, -1, -1))
    return out.unflatten(1, (h, w))


def output_shape(maps: Sequence[Tensor], weight: Tensor) -> tuple[int, int, int, int]:
    """Check maps [B, h, w, C_i] and weight, and return the output's shape [B, h, w, O]. Raises ValueError."""
    check(len(maps) > 0, OP, "a map is needed")
    like = maps[0]
    for i, m in enumerate(maps):
        check_rank(OP, f"maps[{i}]", m, "[B, h, w, C]")
        check_shape(OP, f"maps[{i}]", m, "[B, h, w, C]", (*like.shape[:3], m.shape[3]))
    check_rank(OP, "weight", weight, "[O, C]")
    check_shape(OP, "weight", weight, "[O, C]", (weight.shape[0], sum(m.shape[3] for m in maps)))
    for name, tensor in (*((f"maps[{i}]", m) for i, m in enumerate(maps)), ("weight", weight)):
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, like)
        check(tensor.dtype == like.dtype, OP, "{} must be {}, got {}", name, like.dtype, tensor.dtype)
    B, h, w, _ = like.shape
    return B, h, w, weight.shape[0]


def _fake(maps: list[Tensor], weight: Tensor) -> Tensor:
    return weight.new_empty(output_shape(maps, weight))


def _fake_backward(
    grad_output: Tensor, maps: list[Tensor], weight: Tensor, output_mask: list[bool]
) -> tuple[list[Tensor], Tensor]:
    check_shape(OP, "grad_output", grad_output, "[B, h, w, O]", output_shape(maps, weight))
    check(len(output_mask) == len(maps) + 1, OP, "output_mask must have {} entries", len(maps) + 1)
    *wants_maps, wants_weight = output_mask
    d_maps = [m.new_empty(m.shape if wanted else (0,)) for m, wanted in zip(maps, wants_maps, strict=True)]
    return d_maps, weight.new_empty(weight.shape if wants_weight else (0,))


def _save(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: Any) -> None:
    maps, weight = inputs
    ctx.save_for_backward(weight, *maps)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[list[Tensor | None], Tensor | None]:
    weight, *maps = ctx.saved_tensors
    wants_maps, wants_weight = ctx.needs_input_grad
    d_maps, d_weight = backward(grad_output, maps, weight, [*wants_maps, wants_weight])
    return (
        [d if wanted else None for d, wanted in zip(d_maps, wants_maps, strict=True)],
        d_weight if wants_weight else None,
    )


def on_a_gpu(maps: list[Tensor], weight: Tensor) -> Tensor:
    """For programs that torch.export traced on the CPU and that then moved."""
    return torch_product([m.permute(0, 3, 1, 2) for m in maps], weight)


PROJECT_MAPS = Op(
    OP,
    # Maps [B, h, w, C_i], joined in mind, times the weight [O, sum C_i]: [B, h, w, O].
    schema="(Tensor[] maps, Tensor weight) -> Tensor",
    # Gradients of the maps, and of the weight; empty tensors where output_mask, which has an entry for each map and one
    # for the weight, is false.
    backward_schema="(Tensor grad_output, Tensor[] maps, Tensor weight, bool[] output_mask) -> (Tensor[], Tensor)",
    reference=lambda a: reference.project_maps(*a),
    prepare=lambda backend, a: a,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={"cpu": Backend(on_the_cpu)},
)
if OP in PROJECT_MAPS.torch_ops:
    torch.library.register_kernel(f"vinr::{OP}", "cuda", on_a_gpu)
