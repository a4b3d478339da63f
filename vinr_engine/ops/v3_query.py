"""The query of V3 and Thera: a 1x1 convolution that makes a field of sines of each pixel, and the field's colours."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vinr_engine import backends, reference
from vinr_engine.ops.checks import check, check_device, check_floating, check_rank, check_shape
from vinr_engine.ops.fourier_field import Times, check_field, checked_size, first_output, prepared_times
from vinr_engine.ops.op import Backend, Op, computed_in, dtype_in_force, on_the_cpu, on_triton, run_by_cpu

OP = "v3_query"
_BLOCK = 1024  # input pixels whose parameters are in memory at once, unless a row of all frames has more


class Arguments(NamedTuple):
    encoding: Tensor
    weight: Tensor
    bias: Tensor
    frequencies: Tensor
    damping: Tensor
    base: Tensor | None
    size: tuple[int, int]
    times: Times | None


def v3_query(
    encoding: Tensor,
    head: tuple[Tensor, Tensor],
    frequencies: Tensor,
    damping: Tensor,
    size: tuple[int, int],
    times: Times | None = None,
    base: Tensor | None = None,
) -> Tensor:
    """`fourier_field` of the amplitudes and phases that a linear layer makes of each pixel's encoding.

    Neither is ever whole in memory, forward or backward: what is needed beside the result does not grow with it.

    Args:
        encoding: [B, h, w, C], of B frames; channels innermost in memory spare a copy.
        head: weight [(out + 1) D, C] and bias: output n out + c is the amplitude of sine n and colour c; the last D are
            phases.
        frequencies, damping, size, times: see `fourier_field`.
        base: [B, h, w, out], added to all outputs of an input pixel: the nearest enlargement of a picture.

    Returns:
        [N, HH, WW, out], of encoding's dtype, computed in float32, or in float64 for tensors of that. Under bfloat16
        autocast, and of bfloat16 tensors, what makes amplitudes is rounded too; phases and angles never are.

    Differentiable in all tensors but the frames' numbers, once. Errors as of `fourier_field`.
    """
    check(isinstance(head, (tuple, list)) and len(head) == 2, OP, "head must be (weight, bias), got {!r}", head)
    arguments = Arguments(encoding, *head, frequencies, damping, base, checked_size(OP, size), times)
    _check(arguments)
    out: Tensor = V3_QUERY(arguments)
    return out.to(encoding.dtype)


def _check(a: Arguments) -> None:
    check_rank(OP, "encoding", a.encoding, "[B, h, w, C]")
    *pixels, C = a.encoding.shape
    check(C > 0, OP, "encoding must have channels, got {}", list(a.encoding.shape))
    check_floating(OP, "encoding", a.encoding)
    check_field(OP, a.encoding, pixels, a.frequencies, a.damping, a.times)
    D = a.frequencies.shape[1]
    check_rank(OP, "head weight", a.weight, "[(out + 1) D, C]")
    rows = a.weight.shape[0]
    whole = rows % D == 0 and rows >= 2 * D
    check(whole, OP, "head weight must be [(out + 1) D, C] with D = {}, got {}", D, list(a.weight.shape))
    check_shape(OP, "head weight", a.weight, "[(out + 1) D, C]", (rows, C))
    check_shape(OP, "head bias", a.bias, "[(out + 1) D]", (rows,))
    tensors = [("head weight", a.weight), ("head bias", a.bias)]
    if a.base is not None:
        check_shape(OP, "base", a.base, "[B, h, w, out]", (*pixels, rows // D - 1))
        tensors.append(("base", a.base))
    for name, tensor in tensors:
        check_floating(OP, name, tensor)
        check_device(OP, name, tensor, a.encoding)


def _prepare(backend: str, a: Arguments) -> tuple[Any, ...]:
    dtype = computed_in(a.encoding.dtype)
    tensors = [t.to(dtype) for t in (a.encoding, a.weight, a.bias, a.frequencies, a.damping)]
    base = None if a.base is None else a.base.to(dtype)
    times = prepared_times(a.times, len(a.encoding), a.encoding, dtype)
    return *tensors, base, *times, list(a.size), backends.chosen_operands(dtype_in_force(a.encoding))


def _fake(
    encoding: Tensor,
    weight: Tensor,
    bias: Tensor,
    frequencies: Tensor,
    damping: Tensor,
    base: Tensor | None,
    frames: Tensor,
    offsets: Tensor,
    size: list[int],
    operands: str,
) -> Tensor:
    D = frequencies.shape[1]
    check(D > 0, OP, "frequencies must be [2 or 3, D], got {}", list(frequencies.shape))
    return encoding.new_empty(frames.shape[0], *size, weight.shape[0] // D - 1)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.size, _ = inputs
    ctx.save_for_backward(*tensors)


class _Bands:
    """Bands of rows of all frames, and the output rows in them."""

    def __init__(self, encoding: Tensor, size: list[int]) -> None:
        B, self.h, w, _ = encoding.shape
        self.rows, self.size = max(1, _BLOCK // max(1, B * w)), size

    def __iter__(self) -> Any:
        for first in range(0, self.h, self.rows):
            last = min(first + self.rows, self.h)
            out = [first_output(n, self.h, self.size[0]) for n in (first, last)]
            yield slice(first, last), slice(*out), [first, self.h]


def _parameters(encoding: Tensor, weight: Tensor, bias: Tensor, D: int) -> tuple[Tensor, Tensor]:
    """Amplitude and phase of each pixel."""
    if encoding.device.type == "cpu" and hasattr(torch.ops.vinr, "project_maps"):
        made = torch.ops.vinr.project_maps([encoding], weight).add_(bias)  # in one order whatever the threads' number
    else:
        made = F.linear(encoding, weight, bias)
    return made[..., :-D].unflatten(-1, (D, -1)), made[..., -D:]


def _triton(
    encoding: Tensor,
    weight: Tensor,
    bias: Tensor,
    frequencies: Tensor,
    damping: Tensor,
    base: Tensor | None,
    frames: Tensor,
    offsets: Tensor,
    size: list[int],
    operands: str,
    out: Tensor,
) -> None:
    """Band by band: the layer by PyTorch, and the field of what it makes by a kernel."""
    (ky, _), (kx, _) = (reference.nearest_pixels(n, m) for n, m in zip(encoding.shape[1:3], size, strict=True))
    for rows, out_rows, band in _Bands(encoding, size):
        amplitude, phase = _parameters(encoding[:, rows], weight, bias, frequencies.shape[1])
        made = torch.ops.vinr.fourier_field_triton(
            amplitude, phase, frequencies, damping, frames, offsets, size, band, operands
        )
        if base is not None:
            made += base[frames][:, ky[out_rows].to(base.device)][:, :, kx.to(base.device)]
        out[:, out_rows] = made


def _base_gradient(grad: Tensor, like: Tensor, frames: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sums of the outputs of each input pixel: `rows` and `columns` say which one an output lies in."""
    N, _, WW, out = grad.shape
    by_rows = grad.new_zeros(N, like.shape[1], WW, out).index_add_(1, rows, grad)
    by_pixels = grad.new_zeros(N, *like.shape[1:]).index_add_(2, columns, by_rows)
    return torch.zeros_like(like).index_add_(0, frames, by_pixels)


def _gradient(ctx: Any, backward: Any, grad_output: Tensor) -> tuple[Any, ...]:
    """Band by band, in which amplitudes and phases are computed again."""
    encoding, weight, bias, frequencies, damping, base, frames, offsets = ctx.saved_tensors
    D, by_cpu = frequencies.shape[1], run_by_cpu(ctx, encoding)
    suffix = "" if by_cpu else "_triton"
    field_backward = getattr(torch.ops.vinr, f"fourier_field{suffix}_backward")
    wants_encoding, wants_weight, wants_bias, *others = ctx.needs_input_grad[:8]
    wants_field = any((wants_encoding, wants_weight, wants_bias))
    mask = [wants_field, wants_field, others[0], others[1], others[4]]
    d_encoding = torch.zeros_like(encoding) if wants_encoding else None
    d_base = torch.zeros_like(base) if others[2] else None
    sums: list[Any] = [torch.zeros_like(t) if m else None for t, m in zip(
        (weight, bias, frequencies, damping, offsets),
        (wants_weight, wants_bias, others[0], others[1], others[4]), strict=True)]  # fmt: skip
    (ky, _), (kx, _) = (reference.nearest_pixels(n, m) for n, m in zip(encoding.shape[1:3], ctx.size, strict=True))
    for rows, out_rows, band in _Bands(encoding, ctx.size):
        e, grad = encoding[:, rows], grad_output[:, out_rows]
        if d_base is not None:
            inside = ky[out_rows].to(e.device) - rows.start
            d_base[:, rows] = _base_gradient(grad, base[:, rows], frames, inside, kx.to(e.device))
        if not any(mask):
            continue
        amplitude, phase = _parameters(e, weight, bias, D)
        d_amplitude, d_phase, *field = field_backward(
            grad, amplitude, phase, frequencies, damping, frames, offsets, ctx.size, band, mask
        )
        made = [None, None, *field]
        if wants_field:
            d_made = torch.cat([d_amplitude.flatten(-2), d_phase], -1)
            del amplitude, phase, d_amplitude, d_phase
            d_e, made[0] = _head_gradient(d_made, e, weight, wants_encoding, wants_weight)
            made[1] = d_made.sum((0, 1, 2)) if wants_bias else None
            if d_encoding is not None:
                d_encoding[:, rows] = d_e
        for total, part in zip(sums, made, strict=True):
            if total is not None:
                total += part
    d_weight, d_bias, d_frequencies, d_damping, d_offsets = sums
    return d_encoding, d_weight, d_bias, d_frequencies, d_damping, d_base, None, d_offsets, None, None


def _head_gradient(grad: Tensor, encoding: Tensor, weight: Tensor, *wanted: bool) -> tuple[Any, Any]:
    """Of the linear layer's input and weight."""
    if grad.device.type == "cpu" and hasattr(torch.ops.vinr, "project_maps"):
        (d_encoding,), d_weight = torch.ops.vinr.project_maps_backward(grad, [encoding], weight, list(wanted))
        return d_encoding, d_weight
    d_encoding = grad @ weight if wanted[0] else None
    return d_encoding, grad.flatten(0, 2).t() @ encoding.flatten(0, 2) if wanted[1] else None


def _definition(a: Arguments) -> Tensor:
    dtype = computed_in(a.encoding.dtype)
    encoding, weight, bias, frequencies, damping = (t.to(dtype) for t in a[:5])
    times = None if a.times is None else (a.times[0], a.times[1].to(dtype))
    base = None if a.base is None else a.base.to(dtype)
    return reference.v3_query(encoding, (weight, bias), frequencies, damping, a.size, times, base)


def _tensors(a: Arguments) -> tuple[Tensor, ...]:
    """Whose dtype and device a backend looks at."""
    tensors = [t for t in a[:6] if t is not None]
    return (*tensors, a.times[1]) if a.times is not None else tuple(tensors)


V3_QUERY = Op(
    OP,
    schema="(Tensor encoding, Tensor weight, Tensor bias, Tensor frequencies, Tensor damping, Tensor? base, "
    "Tensor frames, Tensor offsets, int[2] size, str operands) -> Tensor",
    reference=_definition,
    prepare=_prepare,
    fake=_fake,
    save=_save,
    gradient=_gradient,
    backends={
        "cpu": Backend(lambda a: on_the_cpu(_tensors(a))),
        "triton": Backend(lambda a: on_triton(_tensors(a)), _triton),
    },
)
