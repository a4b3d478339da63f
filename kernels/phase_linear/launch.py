"""phase_linear: the launches of its kernels. All is computed in float32: there is little to multiply for a byte."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
import triton
from torch import Tensor

from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.phase_linear import backward, forward

STEP = 16  # of the numbers that are multiplied and added up, the fewest that `tl.dot` takes
WIDEST = 64  # side of what a program gives
SLAB = 256  # cells of which one program sums the weights' gradient, at least
MOST_SLABS = 128


def _block(count: int) -> int:
    return min(max(triton.next_power_of_2(count), STEP), WIDEST)


def constants(phases: Sequence[int], pixels: Sequence[int], channels: int, inputs: int) -> dict[str, int]:
    """Those that the kernels share; phases and pixels of a cell, along y and x."""
    most_y, most_x = (triton.cdiv(p, q) for p, q in zip(phases, pixels, strict=True))
    return dict(NY=most_y, NX=most_x, C=channels, K=inputs, STEP=STEP)


def _call(maps: Tensor, weights: Tensor, size: Sequence[int]) -> tuple[dict[str, Any], int, int]:
    """Arguments of every kernel but its tensors; how many places a cell has, and how many outputs a pixel at most."""
    B, *input_size, K = maps.shape
    *phases, C, _ = weights.shape
    cells = [n // p for n, p in zip(size, phases, strict=True)]
    pixels = [n // m for n, m in zip(input_size, cells, strict=True)]
    shared = constants(phases, pixels, C, K)
    arguments = dict(
        cells=B * prod(cells), rows=cells[0], columns=cells[1], pixels_y=pixels[0], pixels_x=pixels[1],
        phases_y=phases[0], phases_x=phases[1], **shared, num_warps=4, **OPTIONS,
    )  # fmt: skip
    return arguments, prod(pixels), shared["NY"] * shared["NX"] * C


def _large(arguments: dict[str, Any], *tensors: Tensor) -> bool:
    """Whether offsets, or what finds the phases of a pixel, need 64 bits."""
    products = (arguments[f"phases_{axis}"] * arguments[f"pixels_{axis}"] for axis in "yx")
    return passes_32_bits(*tensors) or max(products) >= 2**29


def phase_linear(maps: Tensor, weights: Tensor, base: Tensor | None, size: Sequence[int], out: Tensor) -> None:
    """The arguments of the torch op, as checked, and its result [B, C, H, W] to fill."""
    if out.numel() == 0:
        return
    maps, weights = maps.detach().contiguous(), weights.detach().contiguous()
    arguments, places, outputs = _call(maps, weights, size)
    block, wide = _block(arguments["cells"]), _block(outputs)
    forward.phase_linear[(places * triton.cdiv(arguments["cells"], block) * triton.cdiv(outputs, wide),)](
        maps, weights, out if base is None else base.detach().contiguous(), out, **arguments, BASE=base is not None,
        BLOCK=block, OUTPUTS=wide, LARGE=_large(arguments, maps, weights, out),
    )  # fmt: skip


def phase_linear_backward(
    grad_output: Tensor, maps: Tensor, weights: Tensor, size: Sequence[int], wanted: Sequence[bool], d_maps: Tensor,
    d_weights: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op's backward op, and its results to fill; the same at every run."""
    if grad_output.numel() == 0:
        d_maps.zero_()
        d_weights.zero_()
        return
    grad, maps, weights = (t.detach().contiguous() for t in (grad_output, maps, weights))
    arguments, places, outputs = _call(maps, weights, size)
    arguments["LARGE"] = _large(arguments, grad, maps, weights)
    cells, channels = arguments["cells"], _block(arguments["K"])
    blocks = triton.cdiv(arguments["K"], channels)
    if wanted[0]:
        block = _block(cells)
        backward.phase_linear_backward_maps[(places * triton.cdiv(cells, block) * blocks,)](
            grad, weights, d_maps, **arguments, BLOCK=block, CHANNELS=channels
        )
    if wanted[1]:
        slabs, wide = min(max(cells // SLAB, 1), MOST_SLABS), _block(outputs)
        partial = torch.empty(slabs, *weights.shape, device=grad.device) if slabs > 1 else d_weights[None]
        backward.phase_linear_backward_weights[(places * slabs * triton.cdiv(outputs, wide) * blocks,)](
            grad, maps, partial, tiles=triton.cdiv(triton.cdiv(cells, slabs), STEP), **arguments, OUTPUTS=wide,
            CHANNELS=channels,
        )  # fmt: skip
        if slabs > 1:
            torch.sum(partial, 0, out=d_weights)
