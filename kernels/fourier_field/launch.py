"""fourier_field: the launches of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from vinr_engine.kernels.common.runtime import passes_32_bits
from vinr_engine.kernels.common.sine import half_turns
from vinr_engine.kernels.common.tuning import OPTIONS
from vinr_engine.kernels.fourier_field import backward, forward
from vinr_engine.reference.fourier_field import nearest_pixels

HIGH, LOW = half_turns(1.0)


def _constants(D: int, out: int, axes: int) -> dict[str, Any]:
    return dict(D=D, OUT=out, AXES=axes, HIGH=HIGH, LOW=LOW)


def forward_constants(D: int, out: int, axes: int) -> dict[str, Any]:
    """Constants and warps of the forward kernel."""
    chunk = min(triton.next_power_of_2(D), 32)
    return _constants(D, out, axes) | dict(WIDE=triton.next_power_of_2(out), CHUNK=chunk, BLOCK=64, num_warps=4)


def backward_constants(D: int, out: int, axes: int) -> dict[str, Any]:
    """Those of the backward kernel, which holds two arrays of the amplitudes' size."""
    return _constants(D, triton.next_power_of_2(out), axes) | dict(
        CHUNK=min(triton.next_power_of_2(D), 32), BLOCK=8, num_warps=4
    )


def _axis(inputs: int, outputs: int, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of input pixels [start, stop): of each output pixel in them its input pixel, counted from `start`, and offset;
    and of each input pixel the first output pixel."""
    index, offset = nearest_pixels(inputs, outputs)
    inside = (index >= start) & (index < stop)
    index = index[inside] - start
    first = torch.searchsorted(index, torch.arange(stop - start + 1))
    return index.int().to(like.device), offset[inside].to(like), first.int().to(like.device)


def fourier_field(
    amplitude: Tensor, phase: Tensor, frequencies: Tensor, damping: Tensor, frames: Tensor, offsets: Tensor,
    size: Sequence[int], band: Sequence[int], operands: str, out: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op, as checked, and its result [N, rows, columns, out] to fill."""
    if out.numel() == 0:
        return
    _, h, w, D, colours = amplitude.shape
    tensors = [t.detach().contiguous() for t in (amplitude, phase, frequencies, damping, frames, offsets)]
    near_y, offset_y, _ = _axis(band[1], size[0], band[0], band[0] + h, phase)
    near_x, offset_x, _ = _axis(w, size[1], 0, w, phase)
    constants = forward_constants(D, colours, len(frequencies))
    rows, columns = out.shape[1:3]
    outputs = out.numel() // colours
    forward.fourier_field[(triton.cdiv(outputs, constants["BLOCK"]),)](
        *tensors, near_y, offset_y, near_x, offset_x, out, outputs, h, w, rows, columns,
        LARGE=passes_32_bits(tensors[0], out), **constants, **OPTIONS,
    )  # fmt: skip


def fourier_field_backward(
    grad_output: Tensor, amplitude: Tensor, phase: Tensor, frequencies: Tensor, damping: Tensor, frames: Tensor,
    offsets: Tensor, size: Sequence[int], band: Sequence[int], wanted: Sequence[bool], *results: Tensor,
) -> None:  # fmt: skip
    """The arguments of the torch op's backward op, and its results to fill; the same at every run."""
    B, h, w, D, colours = amplitude.shape
    axes, images = len(frequencies), len(frames)
    constants = backward_constants(D, colours, axes)
    if constants["OUT"] != colours:  # the kernel holds a power of two of them
        amplitude, grad_output = (
            torch.nn.functional.pad(t, (0, constants["OUT"] - colours)) for t in (amplitude, grad_output)
        )
    tensors = [t.detach().contiguous() for t in (grad_output, amplitude, phase, frequencies, damping, frames, offsets)]
    _, offset_y, first_y = _axis(band[1], size[0], band[0], band[0] + h, phase)
    _, offset_x, first_x = _axis(w, size[1], 0, w, phase)
    high, wide = (int(f.diff().max()) if len(f) > 1 else 0 for f in (first_y.cpu(), first_x.cpu()))
    d_amplitude, d_phase = (torch.zeros_like(t) for t in tensors[1:3])
    pixels = B * h * w
    grid = triton.cdiv(pixels, constants["BLOCK"]), triton.cdiv(D, constants["CHUNK"])
    d_field, d_offsets = phase.new_zeros(grid[0], axes + 1, D), phase.new_zeros(*grid, images)
    if pixels > 0:
        backward.fourier_field_backward[grid](
            *tensors, first_y, offset_y, first_x, offset_x, d_amplitude, d_phase, d_field, d_offsets, pixels, h, w,
            *grad_output.shape[1:3], images, high, wide, LARGE=passes_32_bits(tensors[0], tensors[1]),
            **constants, **OPTIONS,
        )  # fmt: skip
    field = d_field.sum(0)
    found = d_amplitude[..., :colours], d_phase, field[:axes], field[axes], d_offsets.sum((0, 1))
    for result, value, is_wanted in zip(results, found, wanted, strict=True):
        if is_wanted:
            result.copy_(value)
