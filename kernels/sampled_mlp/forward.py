"""The forward pass of sampled_mlp over tiles of positions."""

import triton
import triton.language as tl

from vinr_engine.kernels.common.layers import (
    block,
    first_activation,
    layer_of,
    layers_after_first,
    load_vector,
    load_weight,
    own_part,
    wide_layers,
)
from vinr_engine.kernels.common.sampling import corners, pixel_below, read_bilinear, read_chunk


@triton.jit
def first_chunk(
    maps, positions, heights, widths, x, x_matrices, matrices, vectors, row, points, j, LAYERS: tl.constexpr,
    C: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, X: tl.constexpr, NEAREST: tl.constexpr,
    ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, X_PRECISION: tl.constexpr, LARGE: tl.constexpr,
):  # fmt: skip
    """Chunk j [M, C] of what the first layer hands on, of rows [M]."""
    FIRST: tl.constexpr = layer_of(LAYERS, 0)
    C_X: tl.constexpr = min(FIRST.inputs, CHUNK)
    z = tl.zeros((row.shape[0], C), tl.float32)
    for k in tl.static_range(len(maps)):
        at_y = tl.load(positions[k] + 2 * row).to(tl.float32)
        at_x = tl.load(positions[k] + 2 * row + 1).to(tl.float32)
        base = maps[k] + (row // points * heights[k] * widths[k] * WIDTH)[:, None]
        if NEAREST[k]:
            pixel, read = pixel_below(at_y, at_x, heights[k], widths[k])
            z += read[:, None] * read_chunk(base, pixel, (0, WIDTH, WIDTH), j, C, LARGE)
        else:
            at = corners(at_y, at_x, heights[k], widths[k])
            z = read_bilinear(base, at, (0, WIDTH, WIDTH), j, C, LARGE, z)
    if X > 0:
        for i in tl.static_range(FIRST.inputs // C_X):
            column = i * C_X + tl.arange(0, C_X)
            at = x + row[:, None] * X + column[None, :]
            value = tl.load(at, mask=(column < X)[None, :], other=0.0).to(tl.float32)
            weight = load_weight(x_matrices, FIRST, j, i * C_X, C, C_X)
            z = tl.dot(value, weight, z, input_precision=X_PRECISION)
    bias = load_vector(vectors, FIRST, 0, j, C)
    return first_activation(z, bias, LAYERS, matrices.dtype.element_ty, ACTIVATION, OMEGA, SHORT)


@triton.jit(do_not_specialize=["rows", "points"])
def sampled_mlp(
    maps, positions, heights, widths, x, x_matrices, matrices, vectors, scratch, out, rows, points,
    LAYERS: tl.constexpr, WIDTH: tl.constexpr, X: tl.constexpr, OUTPUTS: tl.constexpr,
    NEAREST: tl.constexpr, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr,
    X_PRECISION: tl.constexpr, CHUNK: tl.constexpr, M: tl.constexpr, STAGES: tl.constexpr, LARGE: tl.constexpr,
    SCRATCH: tl.constexpr,
):  # fmt: skip
    """maps: a tuple of [B, height, width, WIDTH], positions: of [rows, 2] (y, x), rows = B * points; x [rows, X] -> out
    [rows, OUTPUTS]. x and its weight are multiplied in float32: they are coordinates more often than not.

    The first of LAYERS lies in x_matrices as it does in matrices, whose copy is not used. scratch, SCRATCH: as
    `layers_after_first` takes them.
    """
    FIRST: tl.constexpr = layer_of(LAYERS, 0)
    C: tl.constexpr = min(FIRST.outputs, CHUNK)
    C_OUT: tl.constexpr = min(layer_of(LAYERS, len(LAYERS) - 1).outputs, CHUNK)
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, M), tl.num_programs(0), num_stages=1):
        row = (tl.zeros((M,), tl.int64) + tile) * M + tl.arange(0, M)
        valid = row < rows
        row = tl.minimum(row, rows - 1)
        if SCRATCH > 0:
            here = own_part(scratch, M, SCRATCH)
            tl.debug_barrier()  # rows of the tile before are read no more
            for j in tl.range(0, FIRST.outputs // C, num_stages=1):
                h = first_chunk(
                    maps, positions, heights, widths, x, x_matrices, matrices, vectors, row, points, j, LAYERS, C,
                    CHUNK, WIDTH, X, NEAREST, ACTIVATION, OMEGA, SHORT, X_PRECISION, LARGE,
                )  # fmt: skip
                tl.store(block(here, j, FIRST.outputs, M, C), h)
            outs = wide_layers(
                here, here + M * SCRATCH, matrices, vectors, LAYERS, M, CHUNK, ACTIVATION, OMEGA, SHORT, PRECISION,
                STAGES,
            )  # fmt: skip
        else:
            hs = ()
            for j in tl.static_range(FIRST.outputs // C):
                h = first_chunk(
                    maps, positions, heights, widths, x, x_matrices, matrices, vectors, row, points, j, LAYERS, C,
                    CHUNK, WIDTH, X, NEAREST, ACTIVATION, OMEGA, SHORT, X_PRECISION, LARGE,
                )  # fmt: skip
                hs = hs + (h,)
            outs = layers_after_first(
                hs, scratch, matrices, vectors, LAYERS, CHUNK, ACTIVATION, OMEGA, SHORT, PRECISION, STAGES, SCRATCH
            )
        for k in tl.static_range(layer_of(LAYERS, len(LAYERS) - 1).outputs // C_OUT):
            column = k * C_OUT + tl.arange(0, C_OUT)
            mask = valid[:, None] & (column < OUTPUTS)[None, :]
            tl.store(out + row[:, None] * OUTPUTS + column[None, :], outs[k], mask=mask)
