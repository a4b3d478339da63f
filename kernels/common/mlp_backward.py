"""Gradients of a network whose first layer is z = sums + W x + b, over tiles of rows that stand for pixels.

Activations are recomputed. Each program keeps what its tile needs of all layers in memory of its own, and adds the
gradients of weights to a copy of its own, so that their sum has a fixed order. That memory is larger than the second
cache: 88 to 134 MB for the published networks and 174 MB for 4 x 256 on the 132 multiprocessors of an H100, which has
50 MB. Part of what is read again soon may still be there; nobody has measured it.
"""

import triton
import triton.language as tl

from vinr_engine.kernels.common.layers import block, layer_of, load_vector, load_weight
from vinr_engine.kernels.common.sine import sine_cosine


@triton.jit
def activation_and_slope(z, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, FREQUENCY: tl.constexpr):
    if ACTIVATION == "sine":
        s, c = sine_cosine(z, OMEGA[0], OMEGA[1])
        return s, c * FREQUENCY
    if ACTIVATION == "relu":
        return tl.where(z < 0, 0.0, z), tl.where(z > 0, 1.0, 0.0)
    cumulative = 0.5 * (1.0 + tl.erf(z * 0.7071067811865476))
    return z * cumulative, cumulative + z * tl.exp(-0.5 * z * z) * 0.3989422804014327


@triton.jit
def turned_block(base, i, STRIDE: tl.constexpr, M: tl.constexpr, C: tl.constexpr):
    """Addresses as those of `block`, [C, M]."""
    return base + tl.arange(0, M)[None, :] * STRIDE + (i * C + tl.arange(0, C))[:, None]


@triton.jit
def read_rows(rows_at, first, rows, i, COLUMNS: tl.constexpr, M: tl.constexpr, C: tl.constexpr):
    """Columns i C and up of rows [first, first + M) of a tensor [rows, COLUMNS], zeros past its ends."""
    row, column = first + tl.arange(0, M), i * C + tl.arange(0, C)
    mask = (row < rows)[:, None] & (column < COLUMNS)[None, :]
    return tl.load(rows_at + row.to(tl.int64)[:, None] * COLUMNS + column[None, :], mask=mask, other=0.0)


@triton.jit
def write_rows(rows_at, value, first, rows, i, COLUMNS: tl.constexpr, M: tl.constexpr, C: tl.constexpr):
    row, column = first + tl.arange(0, M), i * C + tl.arange(0, C)
    mask = (row < rows)[:, None] & (column < COLUMNS)[None, :]
    tl.store(rows_at + row.to(tl.int64)[:, None] * COLUMNS + column[None, :], value, mask=mask)


@triton.jit
def recompute_layer(inputs, outputs, slopes, sums, first, rows, matrices, vectors, LAYER: tl.constexpr,
                    WIDTH: tl.constexpr, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, FREQUENCY: tl.constexpr,
                    PRECISION: tl.constexpr, SUMS: tl.constexpr, M: tl.constexpr):  # fmt: skip
    """The layer's activations and their slopes, from the padded rows `inputs`; SUMS adds sums [rows, WIDTH] before."""
    C: tl.constexpr = min(LAYER.outputs, 64)
    C_IN: tl.constexpr = min(LAYER.inputs, 64)
    for j in tl.range(0, LAYER.outputs // C, num_stages=1):
        z = tl.zeros((M, C), tl.float32) + load_vector(vectors, LAYER, 0, j, C)[None, :]
        if SUMS:
            z += read_rows(sums, first, rows, j, WIDTH, M, C)
        if LAYER.inputs > 0:
            for i in tl.range(0, LAYER.inputs // C_IN, num_stages=1):
                x = tl.load(block(inputs, i, LAYER.inputs, M, C_IN))
                weight = load_weight(matrices, LAYER, j, i * C_IN, C, C_IN)
                z = tl.dot(x, weight, z, input_precision=PRECISION)
        h, slope = activation_and_slope(z, ACTIVATION, OMEGA, FREQUENCY)
        tl.store(block(outputs, j, LAYER.outputs, M, C), h)
        tl.store(block(slopes, j, LAYER.outputs, M, C), slope)


@triton.jit
def add_weight_gradients(inputs, d_outputs, d_matrices, d_vectors, LAYER: tl.constexpr, PRECISION: tl.constexpr,
                         M: tl.constexpr):  # fmt: skip
    C: tl.constexpr = min(LAYER.outputs, 64)
    C_IN: tl.constexpr = min(LAYER.inputs, 64)
    for j in tl.range(0, LAYER.outputs // C, num_stages=1):
        d = tl.load(turned_block(d_outputs, j, LAYER.outputs, M, C))
        bias_at = d_vectors + LAYER.bias + j * C + tl.arange(0, C)
        tl.store(bias_at, tl.load(bias_at) + tl.sum(d, 1))
        if LAYER.inputs > 0:
            for i in tl.range(0, LAYER.inputs // C_IN, num_stages=1):
                x = tl.load(block(inputs, i, LAYER.inputs, M, C_IN))
                at = block(d_matrices + LAYER.weight + j * C * LAYER.inputs, i, LAYER.inputs, C, C_IN)
                tl.store(at, tl.dot(d, x, tl.load(at), input_precision=PRECISION))


@triton.jit
def input_gradient(d_outputs, matrices, LAYER: tl.constexpr, i, C_IN: tl.constexpr, PRECISION: tl.constexpr,
                   M: tl.constexpr):  # fmt: skip
    """Columns i C_IN and up of the gradient of the layer's padded input, [M, C_IN]."""
    C: tl.constexpr = min(LAYER.outputs, 64)
    total = tl.zeros((M, C_IN), tl.float32)
    for j in tl.range(0, LAYER.outputs // C, num_stages=1):
        d = tl.load(block(d_outputs, j, LAYER.outputs, M, C))
        weight = tl.load(block(matrices + LAYER.weight + j * C * LAYER.inputs, i, LAYER.inputs, C, C_IN))
        total = tl.dot(d, weight, total, input_precision=PRECISION)
    return total


@triton.jit(do_not_specialize=["rows"])
def mlp_backward(
    grad, sums, x, matrices, vectors, d_sums, d_x, d_matrices, d_vectors, scratch, rows,
    LAYERS: tl.constexpr, X: tl.constexpr, WIDTH: tl.constexpr, OUTPUTS: tl.constexpr, PLACES: tl.constexpr,
    SCRATCH: tl.constexpr, MATRICES: tl.constexpr, VECTORS: tl.constexpr, SUMS: tl.constexpr, WANTS_SUMS: tl.constexpr,
    WANTS_X: tl.constexpr, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, FREQUENCY: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """grad [rows, OUTPUTS], sums [rows, WIDTH] if SUMS, x [rows, X] -> d_sums and d_x like them, and each program's
    share of the gradients of matrices and vectors, [programs, MATRICES] and [programs, VECTORS], zeros before.

    PLACES: where in a program's scratch, in rows of M, lie x, then activation and slope of each layer but the last,
    then two gradients in turn.
    """
    pid = tl.program_id(0).to(tl.int64)
    scratch += pid * (SCRATCH * M)
    d_matrices += pid * MATRICES
    d_vectors += pid * VECTORS
    LAST: tl.constexpr = len(LAYERS) - 1
    for tile in range(tl.program_id(0), tl.cdiv(rows, M), tl.num_programs(0)):
        first = tile * M
        tl.debug_barrier()  # the scratch is read no more
        if X > 0:
            C_X: tl.constexpr = min(layer_of(LAYERS, 0).inputs, 64)
            for i in tl.range(0, layer_of(LAYERS, 0).inputs // C_X, num_stages=1):
                tl.store(block(scratch, i, layer_of(LAYERS, 0).inputs, M, C_X), read_rows(x, first, rows, i, X, M, C_X))
        C_LAST: tl.constexpr = min(layer_of(LAYERS, LAST).outputs, 64)
        d = scratch + PLACES[2 * LAST + 1] * M
        for i in tl.range(0, layer_of(LAYERS, LAST).outputs // C_LAST, num_stages=1):
            tl.store(
                block(d, i, layer_of(LAYERS, LAST).outputs, M, C_LAST),
                read_rows(grad, first, rows, i, OUTPUTS, M, C_LAST),
            )
        for n in tl.static_range(LAST):
            tl.debug_barrier()
            inputs = scratch + PLACES[2 * n - 1 if n > 0 else 0] * M
            recompute_layer(
                inputs, scratch + PLACES[2 * n + 1] * M, scratch + PLACES[2 * n + 2] * M, sums, first, rows, matrices,
                vectors, layer_of(LAYERS, n), WIDTH, ACTIVATION, OMEGA, FREQUENCY, PRECISION, SUMS and n == 0, M,
            )  # fmt: skip
        for n in tl.static_range(LAST, 0, -1):
            tl.debug_barrier()
            d = scratch + PLACES[2 * LAST + 1 + (LAST - n) % 2] * M
            below = scratch + PLACES[2 * LAST + 1 + (LAST - n + 1) % 2] * M
            add_weight_gradients(
                scratch + PLACES[2 * n - 1] * M, d, d_matrices, d_vectors, layer_of(LAYERS, n), PRECISION, M
            )
            back_through(d, below, scratch + PLACES[2 * n] * M, matrices, layer_of(LAYERS, n), PRECISION, M)
        tl.debug_barrier()
        d = scratch + PLACES[2 * LAST + 1 + LAST % 2] * M
        add_weight_gradients(scratch, d, d_matrices, d_vectors, layer_of(LAYERS, 0), PRECISION, M)
        if WANTS_SUMS:
            C_0: tl.constexpr = min(layer_of(LAYERS, 0).outputs, 64)
            for j in tl.range(0, layer_of(LAYERS, 0).outputs // C_0, num_stages=1):
                value = tl.load(block(d, j, layer_of(LAYERS, 0).outputs, M, C_0))
                write_rows(d_sums, value, first, rows, j, WIDTH, M, C_0)
        if WANTS_X:
            C_DX: tl.constexpr = min(layer_of(LAYERS, 0).inputs, 64)
            for i in tl.range(0, layer_of(LAYERS, 0).inputs // C_DX, num_stages=1):
                value = input_gradient(d, matrices, layer_of(LAYERS, 0), i, C_DX, PRECISION, M)
                write_rows(d_x, value, first, rows, i, X, M, C_DX)


@triton.jit
def back_through(d_outputs, d_inputs, slopes, matrices, LAYER: tl.constexpr, PRECISION: tl.constexpr, M: tl.constexpr):
    """The gradient of what went into the activation before the layer."""
    C_IN: tl.constexpr = min(LAYER.inputs, 64)
    for i in tl.range(0, LAYER.inputs // C_IN, num_stages=1):
        d = input_gradient(d_outputs, matrices, LAYER, i, C_IN, PRECISION, M)
        tl.store(block(d_inputs, i, LAYER.inputs, M, C_IN), d * tl.load(block(slopes, i, LAYER.inputs, M, C_IN)))
