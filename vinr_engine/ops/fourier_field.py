"""A field of sines of every pixel, read at any size and time: how V3 and Thera make their pictures."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.op import Backend, Op, computed_in, dtype_in_force, on_the_cpu, on_triton, triton_kernel

OP = "fourier_field"
Times = tuple[Tensor, Tensor]


class Arguments(NamedTuple):
    amplitude: Tensor
    phase: Tensor
    frequencies: Tensor
    damping: Tensor
    size: tuple[int, int]
    times: Times | None


def fourier_field(
    amplitude: Tensor,
    phase: Tensor,
    frequencies: Tensor,
    damping: Tensor,
    size: tuple[int, int],
    times: Times | None = None,
) -> Tensor:
    """Each output pixel's sum of sines, of the input pixel that it lies in: sum over n of A_n g_n sin(F_n . r + p_n).

    r is the output pixel's offset (y, x and time) from the centre of its input pixel, in input pixels and frames. Sines
    are computed for offsets and for input pixels, and none for an output pixel: angles add, and for a whole scale the
    field is one product of matrices.

    Args:
        amplitude: A, [B, h, w, D, out], of B frames.
        phase: p, [B, h, w, D], radians.
        frequencies: F, [2 or 3, D], by y, x and time; radians an input pixel, or a frame.
        damping: g, [D]; exp(-k |F|^2 / s^2) in both networks, with the frequencies of y and x and the scale s.
        size: (HH, WW) of the output, which covers the same extent; smaller ones too.
        times: of N outputs the frame, [N] whole numbers in [0, B), and the time from it, [N], in frames; None: every
            frame once, at its own time. With two frequencies the time from it is unread.

    Returns:
        [N, HH, WW, out], of amplitude's dtype, computed in float32, or in float64 for tensors of that. Under
        bfloat16 autocast, and of bfloat16 tensors, sines and amplitudes are rounded before they are multiplied; angles
        never are.

    Differentiable in all tensors but the frames' numbers, once.

    Raises:
        ValueError: shapes, dtypes, devices or sizes that do not fit.
        RuntimeError: a frame that is not there, a time that is not finite; the cpu backend alone looks at them.
        BackendError: the backend asked for by name cannot run this.

    Sources: V3, ICLR 2026; Becker et al., "Thera: Aliasing-Free Arbitrary-Scale Super-Resolution with Neural Heat
    Fields", 2025.
    """
    arguments = Arguments(amplitude, phase, frequencies, damping, checked_size(OP, size), times)
    _check(arguments)
    out: Tensor = FOURIER_FIELD(arguments)
    return out.to(amplitude.dtype)


def checked_size(op: str, size: object) -> tuple[int, int]:
    """Two whole numbers of at least 1. Raises ValueError."""
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    good = pair and all(
        isinstance(n, (int, np.integer, torch.SymInt)) and not isinstance(n, bool) and n > 0
        for n in size  # type: ignore[attr-defined]
    )
    check(good, op, "size must be (HH, WW), two whole numbers of at least 1, got {!r}", size)
    return tuple(n if isinstance(n, torch.SymInt) else int(n) for n in size)  # type: ignore[attr-defined, return-value]


def check_field(op: str, like: Tensor, pixels: Any, frequencies: Tensor, damping: Tensor, times: Times | None) -> None:
    """What both ops take, beside `like`, whose first sizes are `pixels`, [B, h, w]. Raises ValueError."""
    check(min(pixels[1:]) > 0, op, "there must be pixels, got {}", list(pixels))
    check_rank(op, "frequencies", frequencies, "[2 or 3, D]")
    check(len(frequencies) in (2, 3), op, "frequencies must be [2 or 3, D], got {}", list(frequencies.shape))
    check(frequencies.shape[1] > 0, op, "frequencies must be [2 or 3, D] with D > 0")
    check_shape(op, "damping", damping, "[D]", frequencies.shape[1:])
    tensors = [("frequencies", frequencies), ("damping", damping)]
    if times is not None:
        pair = isinstance(times, (tuple, list)) and len(times) == 2 and all(torch.is_tensor(t) for t in times)
        check(pair, op, "times must be (frames [N], offsets [N]), two tensors, got {!r}", times)
        index, offset = times
        check_rank(op, "times[0]", index, "[N]")
        check_shape(op, "times[1]", offset, "[N]", index.shape)
        whole = not (index.is_floating_point() or index.is_complex() or index.dtype == torch.bool)
        check(whole, op, "times[0] must hold whole numbers, got {}", index.dtype)
        check_device(op, "times[0]", index, like)
        tensors.append(("times[1]", offset))
    for name, tensor in tensors:
        check_floating(op, name, tensor)
        check_device(op, name, tensor, like)


def _check(a: Arguments) -> None:
    check_rank(OP, "amplitude", a.amplitude, "[B, h, w, D, out]")
    pixels = a.amplitude.shape[:3]
    check(a.amplitude.shape[4] > 0, OP, "amplitude must be [B, h, w, D, out] with out > 0")
    check_floating(OP, "amplitude", a.amplitude)
    check_field(OP, a.amplitude, pixels, a.frequencies, a.damping, a.times)
    D = a.frequencies.shape[1]
    check_shape(OP, "amplitude", a.amplitude, "[B, h, w, D, out]", (*pixels, D, a.amplitude.shape[4]))
    check_shape(OP, "phase", a.phase, "[B, h, w, D]", (*pixels, D))
    check_floating(OP, "phase", a.phase)
    check_device(OP, "phase", a.phase, a.amplitude)


def prepared_times(times: Times | None, frames: int, like: Tensor, dtype: torch.dtype) -> Times:
    """Those of every frame where none are given."""
    index, offset = reference.every_frame(frames, like) if times is None else times
    return index.long(), offset.to(dtype)


def first_output(pixel: int, inputs: int, outputs: int) -> int:
    """The first of `outputs` pixels along an axis that lies in input pixel `pixel` or behind it."""
    return outputs if pixel >= inputs else max(0, -((inputs - 2 * outputs * pixel) // (2 * inputs)))


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    dtype = computed_in(a.amplitude.dtype)
    tensors = [t.to(dtype) for t in (a.amplitude, a.phase, a.frequencies, a.damping)]
    times = prepared_times(a.times, len(a.amplitude), a.amplitude, dtype)
    operands = backends.chosen_operands(dtype_in_force(a.amplitude))
    return *tensors, *times, list(a.size), [0, a.amplitude.shape[1]], operands


def _fake(
    amplitude: Tensor,
    phase: Tensor,
    frequencies: Tensor,
    damping: Tensor,
    frames: Tensor,
    offsets: Tensor,
    size: list[int],
    band: list[int],
    operands: str,
) -> Tensor:
    first, last = (first_output(n, band[1], size[0]) for n in (band[0], band[0] + amplitude.shape[1]))
    return amplitude.new_empty(frames.shape[0], last - first, size[1], amplitude.shape[4])


def _fake_backward(
    grad_output: Tensor,
    amplitude: Tensor,
    phase: Tensor,
    frequencies: Tensor,
    damping: Tensor,
    frames: Tensor,
    offsets: Tensor,
    size: list[int],
    band: list[int],
    output_mask: list[bool],
) -> tuple[Tensor, ...]:
    of = (amplitude, phase, frequencies, damping, offsets)
    return tuple(t.new_empty(t.shape if wanted else (0,)) for t, wanted in zip(of, output_mask, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.size, ctx.band, _ = inputs
    ctx.save_for_backward(*tensors)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    needs = [ctx.needs_input_grad[i] for i in (0, 1, 2, 3, 5)]
    grads = backward(grad_output, *ctx.saved_tensors, ctx.size, ctx.band, needs)
    *most, offsets = (d if wanted else None for d, wanted in zip(grads, needs, strict=True))
    return *most, None, offsets, None, None, None


def _tensors(a: Arguments) -> tuple[Tensor, ...]:
    """Whose dtype and device a backend looks at."""
    return a.amplitude, a.phase, a.frequencies, a.damping, *(a.times[1:] if a.times is not None else ())


def _definition(a: Arguments) -> Tensor:
    dtype = computed_in(a.amplitude.dtype)
    amplitude, phase, frequencies, damping = (t.to(dtype) for t in a[:4])
    times = None if a.times is None else (a.times[0], a.times[1].to(dtype))
    return reference.fourier_field(amplitude, phase, frequencies, damping, a.size, times)


FOURIER_FIELD = Op(
    OP,
    schema="(Tensor amplitude, Tensor phase, Tensor frequencies, Tensor damping, Tensor frames, Tensor offsets, "
    "int[2] size, int[2] band, str operands) -> Tensor",
    backward_schema="(Tensor grad_output, Tensor amplitude, Tensor phase, Tensor frequencies, Tensor damping, "
    "Tensor frames, Tensor offsets, int[2] size, int[2] band, bool[5] output_mask) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=_definition,
    prepare=_prepare,
    fake=_fake,
    fake_backward=_fake_backward,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(lambda a: on_the_cpu(_tensors(a))),
        "triton": Backend(
            lambda a: on_triton(_tensors(a)),
            triton_kernel("fourier_field.launch", "fourier_field"),
            triton_kernel("fourier_field.launch", "fourier_field_backward"),
        ),
    },
)
