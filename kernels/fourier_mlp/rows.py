"""What the backward pass of fourier_mlp is put together from beside the network: sines as rows, and their gradients."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sine import sine_cosine
from vinr_engine.kernels.fourier_mlp.forward import HALF_TURNS, amplitudes, angles

_SIZES = ["rows", "points", "pixels"]


@triton.jit(do_not_specialize=_SIZES)
def fourier_rows(
    coef, freq, index, relative, phase, cell, out, rows, points, pixels, coef_batch, coef_row, freq_batch, freq_row,
    HALF: tl.constexpr, NEIGHBOURS: tl.constexpr, CELLS: tl.constexpr, CELL_PER_POINT: tl.constexpr, M: tl.constexpr,
    C: tl.constexpr,
):  # fmt: skip
    """Amplitudes times sines, out [rows, 2 HALF] in float32, what the network takes."""
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    valid = row < rows
    for i in range(tl.cdiv(HALF, C)):
        theta, _, _, mask, batch, at = angles(
            freq, index, relative, phase, cell, tl.where(valid, row, 0), valid, points, pixels, freq_batch, freq_row, i,
            HALF, NEIGHBOURS, CELLS, CELL_PER_POINT, C,
        )  # fmt: skip
        a_c, a_s = amplitudes(coef, batch, at, coef_batch, coef_row, mask, i, HALF, C)
        s, c = sine_cosine(theta, HALF_TURNS[0], HALF_TURNS[1])
        column = i * C + tl.arange(0, C)
        to = out + row[:, None] * (2 * HALF) + column[None, :]
        stored = valid[:, None] & (column < HALF)[None, :]
        tl.store(to, a_c * c, mask=stored)
        tl.store(to + HALF, a_s * s, mask=stored)


@triton.jit(do_not_specialize=_SIZES)
def fourier_rows_backward(
    d, coef, freq, index, relative, phase, cell, d_theta, d_relative, rows, points, pixels, coef_batch, coef_row,
    freq_batch, freq_row, HALF: tl.constexpr, NEIGHBOURS: tl.constexpr, CELLS: tl.constexpr,
    CELL_PER_POINT: tl.constexpr, WANTS_RELATIVE: tl.constexpr, M: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """From d [rows, 2 HALF], the gradient of `fourier_rows`, to those of the amplitudes, in its place, of the angles in
    half turns, d_theta [rows, HALF], and of relative [rows, 2]. Zeros for rows whose index lies outside."""
    row = tl.program_id(0).to(tl.int64) * M + tl.arange(0, M)
    valid = row < rows
    dy, dx = tl.zeros((M,), tl.float32), tl.zeros((M,), tl.float32)
    for i in range(tl.cdiv(HALF, C)):
        theta, f_y, f_x, mask, batch, at = angles(
            freq, index, relative, phase, cell, tl.where(valid, row, 0), valid, points, pixels, freq_batch, freq_row, i,
            HALF, NEIGHBOURS, CELLS, CELL_PER_POINT, C,
        )  # fmt: skip
        a_c, a_s = amplitudes(coef, batch, at, coef_batch, coef_row, mask, i, HALF, C)
        s, c = sine_cosine(theta, HALF_TURNS[0], HALF_TURNS[1])
        column = i * C + tl.arange(0, C)
        here = d + row[:, None] * (2 * HALF) + column[None, :]
        stored = valid[:, None] & (column < HALF)[None, :]
        d_c = tl.load(here, mask=stored, other=0.0)
        d_s = tl.load(here + HALF, mask=stored, other=0.0)
        of_theta = 3.141592653589793 * (d_s * a_s * c - d_c * a_c * s)
        tl.store(here, tl.where(mask, d_c * c, 0.0), mask=stored)
        tl.store(here + HALF, tl.where(mask, d_s * s, 0.0), mask=stored)
        tl.store(d_theta + row[:, None] * HALF + column[None, :], of_theta, mask=stored)
        if WANTS_RELATIVE:
            dy += tl.sum(of_theta * f_y, 1)
            dx += tl.sum(of_theta * f_x, 1)
    if WANTS_RELATIVE:
        tl.store(d_relative + 2 * row, dy, mask=valid)
        tl.store(d_relative + 2 * row + 1, dx, mask=valid)
