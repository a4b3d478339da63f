"""A field of sines for every pixel, as V3 and Thera evaluate it: at every output pixel, every sine."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Times = tuple[Tensor, Tensor]


def nearest_pixels(inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Of each output pixel along an axis: the input pixel it lies in, and its offset in [-1/2, 1/2) from the centre."""
    numerator = (torch.arange(outputs) * 2 + 1) * inputs
    index = numerator.div(2 * outputs, rounding_mode="floor")
    return index, (numerator - index * 2 * outputs).double() / (2 * outputs) - 0.5


def every_frame(frames: int, like: Tensor) -> Times:
    """Each frame once, at its own time."""
    return torch.arange(frames, device=like.device), torch.zeros(frames, dtype=like.dtype, device=like.device)


def sines(phase: Tensor, frequencies: Tensor, y: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """sin of the angles at offsets y [rows], x [columns] and t [] -> like phase, [rows, columns, D]."""
    angle = y[:, None, None] * frequencies[0] + x[:, None] * frequencies[1]
    return torch.sin(angle + (t * frequencies[2] if len(frequencies) == 3 else 0) + phase)


def fourier_field(
    amplitude: Tensor,
    phase: Tensor,
    frequencies: Tensor,
    damping: Tensor,
    size: tuple[int, int],
    times: Times | None = None,
) -> Tensor:
    """See `vinr_engine.ops.fourier_field`."""
    B, h, w, _, _ = amplitude.shape
    (ky, y), (kx, x) = (nearest_pixels(n, m) for n, m in zip((h, w), size, strict=True))
    ky, kx, y, x = ky.to(phase.device), kx.to(phase.device), y.to(phase), x.to(phase)
    index, offset = every_frame(B, phase) if times is None else times
    found = []
    for frame, t in zip(index.tolist(), offset, strict=True):
        a, p = amplitude[frame][ky][:, kx], phase[frame][ky][:, kx]
        found.append(torch.einsum("yxd,yxdc->yxc", sines(p, frequencies, y, x, t) * damping, a))
    if not found:  # of which a gradient can be asked
        return amplitude.new_empty(0, *size, amplitude.shape[-1]) + amplitude.sum()
    return torch.stack(found)


def field_damping(frequencies: Tensor, k: Tensor, inverse_square: float | Tensor) -> Tensor:
    """What an output pixel's size does to each sine: exp(-k |F|^2 / s^2) of the frequencies in space."""
    return torch.exp(-k * frequencies[:2].square().sum(0) * inverse_square)


def _tiles(size: tuple[int, int], tile: int | None) -> Iterator[tuple[slice, slice]]:
    rows, columns = (tile or max(n, 1) for n in size)
    for top in range(0, size[0], rows):
        for left in range(0, size[1], columns):
            yield slice(top, top + rows), slice(left, left + columns)


def v3_query(
    encoding: Tensor,
    head: tuple[Tensor, Tensor],
    frequencies: Tensor,
    damping: Tensor,
    size: tuple[int, int],
    times: Times | None = None,
    base: Tensor | None = None,
    *,
    tile: int | None = None,
) -> Tensor:
    """See `vinr_engine.ops.v3_query`. The published scripts decode tiles of 32x32 output pixels."""
    B, h, w, _ = encoding.shape
    weight, bias = head
    D = frequencies.shape[1]
    axes = [nearest_pixels(n, m) for n, m in zip((h, w), size, strict=True)]
    (ky, y), (kx, x) = ((k.to(encoding.device), r.to(encoding)) for k, r in axes)
    index, offset = every_frame(B, encoding) if times is None else times
    out = encoding.new_empty(len(index), *size, weight.shape[0] // D - 1)
    if len(index) == 0:
        return out + (encoding.sum() + weight.sum() + bias.sum())  # of which a gradient can be asked
    for n, (frame, t) in enumerate(zip(index.tolist(), offset, strict=True)):
        for rows, columns in _tiles(size, tile):
            enlarged = encoding[frame][ky[rows]][:, kx[columns]]  # [rows, columns, C]
            amplitude, phase = F.linear(enlarged, weight, bias).split([weight.shape[0] - D, D], -1)
            wave = sines(phase, frequencies, y[rows], x[columns], t) * damping
            colours = torch.einsum("yxd,yxdc->yxc", wave, amplitude.unflatten(-1, (D, -1)))
            if base is not None:
                colours = colours + base[frame][ky[rows]][:, kx[columns]]
            out[n, rows, columns] = colours
    return out
