"""The forward pass of fourier_mlp over tiles of rows, one a neighbour of a point; mixing them is the caller's."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.layers import block, layer_of, own_part, wide_layers
from vinr_engine.kernels.common.sine import sine_cosine

HALF_TURNS = tl.constexpr((1.0, 0.0))  # sine_cosine's frequency: angles are in half turns


@triton.jit
def angles(
    freq, index, relative, phase, cell, row, valid, points, pixels, batch_stride, row_stride, i, HALF: tl.constexpr,
    NEIGHBOURS: tl.constexpr, CELLS: tl.constexpr, CELL_PER_POINT: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Of chunk i of the frequencies of rows [M]: angles in half turns [M, C], those along y and x, where they are read,
    and the rows of the maps that are."""
    point = row // NEIGHBOURS
    batch = point // points
    at = tl.load(index + row, mask=valid, other=-1)
    inside = (at >= 0) & (at < pixels)
    at = tl.where(inside, at, 0)
    column = i * C + tl.arange(0, C)
    known = column < HALF
    mask = inside[:, None] & known[None, :]
    base = freq + (batch * batch_stride + at * row_stride)[:, None] + column[None, :]
    f_y = tl.load(base, mask=mask, other=0.0).to(tl.float32)
    f_x = tl.load(base + HALF, mask=mask, other=0.0).to(tl.float32)
    y = tl.load(relative + 2 * row, mask=valid, other=0.0)
    x = tl.load(relative + 2 * row + 1, mask=valid, other=0.0)
    if CELLS == 0:
        p = tl.load(phase + column, mask=known, other=0.0)[None, :]
    else:
        first = cell + (point if CELL_PER_POINT else batch) * CELLS
        p = tl.zeros((row.shape[0], C), tl.float32)
        for k in tl.static_range(CELLS):
            value = tl.load(first + k, mask=valid, other=0.0)
            p += value[:, None] * tl.load(phase + column * CELLS + k, mask=known, other=0.0)[None, :]
    theta = f_y * y[:, None] + (f_x * x[:, None] + p)
    return theta, f_y, f_x, mask, batch, at


@triton.jit
def amplitudes(coef, batch, at, batch_stride, row_stride, mask, i, HALF: tl.constexpr, C: tl.constexpr):
    """Chunk i of those of cosines and of sines, in float32."""
    base = coef + (batch * batch_stride + at * row_stride)[:, None] + (i * C + tl.arange(0, C))[None, :]
    cosines = tl.load(base, mask=mask, other=0.0).to(tl.float32)
    return cosines, tl.load(base + HALF, mask=mask, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["rows", "points", "pixels"])
def fourier_mlp(
    coef, freq, index, relative, phase, cell, matrices, vectors, scratch, out, rows, points, pixels, coef_batch,
    coef_row, freq_batch, freq_row, LAYERS: tl.constexpr, HALF: tl.constexpr, PADDED_HALF: tl.constexpr,
    NEIGHBOURS: tl.constexpr, CELLS: tl.constexpr, CELL_PER_POINT: tl.constexpr, OUTPUTS: tl.constexpr,
    PRECISION: tl.constexpr, CHUNK: tl.constexpr, M: tl.constexpr, SCRATCH: tl.constexpr,
):  # fmt: skip
    """index, relative: of rows, NEIGHBOURS of each of `points` points of a picture in turn -> out [rows, OUTPUTS].

    The first of LAYERS is none: it says how wide the sines are, which lie in the program's part of scratch.
    """
    C: tl.constexpr = min(PADDED_HALF, CHUNK, 32)  # more do not fit the registers of sm_120
    C_OUT: tl.constexpr = min(layer_of(LAYERS, len(LAYERS) - 1).outputs, CHUNK)
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, M), tl.num_programs(0), num_stages=1):
        row = (tl.zeros((M,), tl.int64) + tile) * M + tl.arange(0, M)
        valid = row < rows
        here = own_part(scratch, M, SCRATCH)
        tl.debug_barrier()  # rows of the tile before are read no more
        for i in tl.range(0, PADDED_HALF // C, num_stages=1):
            theta, _, _, mask, batch, at = angles(
                freq, index, relative, phase, cell, tl.where(valid, row, 0), valid, points, pixels, freq_batch,
                freq_row, i, HALF, NEIGHBOURS, CELLS, CELL_PER_POINT, C,
            )  # fmt: skip
            a_c, a_s = amplitudes(coef, batch, at, coef_batch, coef_row, mask, i, HALF, C)
            s, c = sine_cosine(theta, HALF_TURNS[0], HALF_TURNS[1])
            tl.store(block(here, i, 2 * PADDED_HALF, M, C), (a_c * c).to(matrices.dtype.element_ty))
            tl.store(block(here + PADDED_HALF, i, 2 * PADDED_HALF, M, C), (a_s * s).to(matrices.dtype.element_ty))
        outs = wide_layers(
            here, here + M * SCRATCH, matrices, vectors, LAYERS, M, CHUNK, "relu", 1.0, False, PRECISION, 1
        )
        for k in tl.static_range(layer_of(LAYERS, len(LAYERS) - 1).outputs // C_OUT):
            column = k * C_OUT + tl.arange(0, C_OUT)
            mask = valid[:, None] & (column < OUTPUTS)[None, :]
            tl.store(out + row[:, None] * OUTPUTS + column[None, :], outs[k], mask=mask)
