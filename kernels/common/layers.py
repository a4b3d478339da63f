"""Dense layers inside a kernel: the activations of a tile of pixels stay in registers from one layer to the next.

Those of layers too wide for that go through memory of the program's own, two buffers in turn, each as large as the
widest layer needs: 17 MB in all for layers of 256 in 16 bits on an H100, 35 MB for 512 in float32, of 50 MB of second
cache.

Activations are tuples of chunks [M, C] of a layer's columns, C a power of two. A layer is described by a constexpr
`vinr_engine.kernels.common.packing.Layer`; `matrices` and `vectors` are the buffers of its plan. `OMEGA` is what
`_sine.half_turns` gives for the sine of float32 activations, and omega for that of those rounded to 16 bits, `SHORT`.
"""

import triton
import triton.language as tl

from vinr_engine.kernels.common.sine import INTERPRETED, approximate_sine, sine


@triton.constexpr_function
def layer_of(layers, n):
    """One of a network's layers: an index written in a kernel loses the names of its fields in Triton 3.6."""
    return layers[n]


@triton.jit
def activate(z, bias, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr):
    """The activation of z [M, C] + bias [C], in float32; the bias as `scaled` makes it."""
    if ACTIVATION == "sine":
        if SHORT:
            return approximate_sine(z * OMEGA + bias[None, :])
        else:  # what follows a nested return is compiled too
            return sine(z + bias[None, :], OMEGA[0], OMEGA[1])
    z += bias[None, :]
    if ACTIVATION == "relu":
        return tl.where(z < 0, 0.0, z)  # NaN stays NaN
    return 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))


@triton.jit
def scaled(bias, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr):
    """A bias as the activation takes it: as a phase of the short sine, or as it is.

    Biases of hidden layers come so in the buffer of vectors, those of the first and the last layer do not.
    """
    if ACTIVATION == "sine":
        if SHORT:
            return bias * OMEGA
    return bias


@triton.jit
def load_vector(vectors, LAYER: tl.constexpr, column, j, C: tl.constexpr):
    """Chunk j of a layer's bias, or of the column'th of the vectors behind it."""
    return tl.load(vectors + LAYER.bias + column * LAYER.outputs + j * C + tl.arange(0, C))


@triton.jit
def load_weight(matrices, LAYER: tl.constexpr, j, first, C_OUT: tl.constexpr, C_IN: tl.constexpr):
    """Rows of chunk j and columns from `first` on of a layer's weight, as a product's second operand [C_IN, C_OUT]."""
    k = first + tl.arange(0, C_IN)
    n = j * C_OUT + tl.arange(0, C_OUT)
    return tl.load(matrices + LAYER.weight + n[None, :] * LAYER.inputs + k[:, None])


@triton.jit
def multiply(xs, z, matrices, LAYER: tl.constexpr, j, first, C_OUT: tl.constexpr, PRECISION: tl.constexpr):
    """z [M, C_OUT] + the part of chunk j of a layer that the chunks xs feed, from column `first` of its weight on."""
    C: tl.constexpr = xs[0].shape[1]
    for i in tl.static_range(len(xs)):
        weight = load_weight(matrices, LAYER, j, first + i * C, C_OUT, C)
        z = tl.dot(xs[i], weight, z, input_precision=PRECISION)
    return z


@triton.jit
def hidden_layer(xs, matrices, vectors, LAYER: tl.constexpr, CHUNK: tl.constexpr, ACTIVATION: tl.constexpr,
                 OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    M: tl.constexpr = xs[0].shape[0]
    C: tl.constexpr = min(LAYER.outputs, CHUNK)
    hs = ()
    for j in tl.static_range(LAYER.outputs // C):
        z = multiply(xs, tl.zeros((M, C), tl.float32), matrices, LAYER, j, 0, C, PRECISION)
        h = activate(z, load_vector(vectors, LAYER, 0, j, C), ACTIVATION, OMEGA, SHORT)
        hs = hs + (h.to(matrices.dtype.element_ty),)
    return hs


@triton.jit
def last_layer(xs, matrices, vectors, LAYER: tl.constexpr, CHUNK: tl.constexpr, PRECISION: tl.constexpr):
    M: tl.constexpr = xs[0].shape[0]
    C: tl.constexpr = min(LAYER.outputs, CHUNK)
    outs = ()
    for j in tl.static_range(LAYER.outputs // C):
        z = multiply(xs, tl.zeros((M, C), tl.float32), matrices, LAYER, j, 0, C, PRECISION)
        outs = outs + (z + load_vector(vectors, LAYER, 0, j, C)[None, :],)
    return outs


@triton.jit
def not_unrolled(count: tl.constexpr):
    """count, as a number that the compiler does not know: it would unroll a short loop, and run out of registers."""
    if INTERPRETED:  # it has no assembly
        return count
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [count], dtype=tl.int32, is_pure=True, pack=1)


@triton.jit
def last_two_layers(xs, matrices, vectors, HIDDEN: tl.constexpr, LAST: tl.constexpr, CHUNK: tl.constexpr,
                    ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr,
                    STAGES: tl.constexpr):  # fmt: skip
    """The hidden layer is never whole: each chunk of it is used up before the next is made."""
    M: tl.constexpr = xs[0].shape[0]
    C: tl.constexpr = min(HIDDEN.outputs, CHUNK)
    C_LAST: tl.constexpr = min(LAST.outputs, CHUNK)
    outs = ()
    for k in tl.static_range(LAST.outputs // C_LAST):
        outs = outs + (tl.zeros((M, C_LAST), tl.float32),)
    for j in tl.range(0, not_unrolled(HIDDEN.outputs // C), num_stages=STAGES):
        z = multiply(xs, tl.zeros((M, C), tl.float32), matrices, HIDDEN, j, 0, C, PRECISION)
        h = activate(z, load_vector(vectors, HIDDEN, 0, j, C), ACTIVATION, OMEGA, SHORT)
        h = h.to(matrices.dtype.element_ty)
        sums = ()
        for k in tl.static_range(LAST.outputs // C_LAST):
            sums = sums + (multiply((h,), outs[k], matrices, LAST, k, j * C, C_LAST, PRECISION),)
        outs = sums
    biased = ()
    for k in tl.static_range(LAST.outputs // C_LAST):
        biased = biased + (outs[k] + load_vector(vectors, LAST, 0, k, C_LAST)[None, :],)
    return biased


@triton.jit
def first_activation(z, bias, LAYERS: tl.constexpr, dtype: tl.constexpr, ACTIVATION: tl.constexpr,
                     OMEGA: tl.constexpr, SHORT: tl.constexpr):  # fmt: skip
    """A chunk of what goes into the layers after the first: z [M, C] + bias [C] is one of the first layer's output."""
    if len(LAYERS) == 1:
        return z + bias[None, :]
    return activate(z, scaled(bias, ACTIVATION, OMEGA, SHORT), ACTIVATION, OMEGA, SHORT).to(dtype)


@triton.jit
def own_part(scratch, M: tl.constexpr, SCRATCH: tl.constexpr):
    """This program's two buffers of M rows of SCRATCH columns."""
    return scratch + tl.program_id(0).to(tl.int64) * (2 * M * SCRATCH)


@triton.jit
def block(base, i, STRIDE: tl.constexpr, M: tl.constexpr, C: tl.constexpr):
    """Addresses [M, C] of columns i C and up of rows of STRIDE numbers."""
    return base + tl.arange(0, M)[:, None] * STRIDE + (tl.arange(0, C) + i * C)[None, :]


@triton.jit
def wide_product(inputs, matrices, LAYER: tl.constexpr, j, M: tl.constexpr, C: tl.constexpr, CHUNK: tl.constexpr,
                 PRECISION: tl.constexpr, STAGES: tl.constexpr):  # fmt: skip
    """Chunk j [M, C] of a layer of the rows `inputs` in memory, before the bias."""
    C_IN: tl.constexpr = min(LAYER.inputs, CHUNK)
    z = tl.zeros((M, C), tl.float32)
    for i in tl.range(0, LAYER.inputs // C_IN, num_stages=STAGES):
        x = tl.load(block(inputs, i, LAYER.inputs, M, C_IN))
        z = tl.dot(x, load_weight(matrices, LAYER, j, i * C_IN, C, C_IN), z, input_precision=PRECISION)
    return z


@triton.jit
def wide_layer(inputs, outputs, matrices, vectors, LAYER: tl.constexpr, M: tl.constexpr, CHUNK: tl.constexpr,
               ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr,
               STAGES: tl.constexpr):  # fmt: skip
    C: tl.constexpr = min(LAYER.outputs, CHUNK)
    for j in tl.range(0, LAYER.outputs // C, num_stages=1):
        z = wide_product(inputs, matrices, LAYER, j, M, C, CHUNK, PRECISION, STAGES)
        h = activate(z, load_vector(vectors, LAYER, 0, j, C), ACTIVATION, OMEGA, SHORT)
        tl.store(block(outputs, j, LAYER.outputs, M, C), h.to(matrices.dtype.element_ty))


@triton.jit
def wide_layers(here, there, matrices, vectors, LAYERS: tl.constexpr, M: tl.constexpr, CHUNK: tl.constexpr,
                ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr,
                STAGES: tl.constexpr):  # fmt: skip
    """`layers_after_first` of rows in memory at `here`, with `there` beside it."""
    LAST: tl.constexpr = layer_of(LAYERS, len(LAYERS) - 1)
    for n in tl.static_range(1, len(LAYERS) - 1):
        tl.debug_barrier()  # rows of one layer are written, those of the layer before it read no more
        wide_layer(
            here, there, matrices, vectors, layer_of(LAYERS, n), M, CHUNK, ACTIVATION, OMEGA, SHORT, PRECISION, STAGES
        )
        here, there = there, here
    tl.debug_barrier()
    C_LAST: tl.constexpr = min(LAST.outputs, CHUNK)
    outs = ()
    for k in tl.static_range(LAST.outputs // C_LAST):
        z = wide_product(here, matrices, LAST, k, M, C_LAST, CHUNK, PRECISION, STAGES)
        outs = outs + (z + load_vector(vectors, LAST, 0, k, C_LAST)[None, :],)
    return outs


@triton.jit
def layers_after_first(hs, scratch, matrices, vectors, LAYERS: tl.constexpr, CHUNK: tl.constexpr,
                       ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr,
                       STAGES: tl.constexpr, SCRATCH: tl.constexpr):  # fmt: skip
    """hs: chunks [M, C] of `first_activation` -> chunks of the last layer's output.

    LAYERS: all layers, the first too. SCRATCH: 0, or the columns of the two buffers in each program's part of scratch.
    """
    if len(LAYERS) == 1:
        return hs
    if SCRATCH > 0:
        M: tl.constexpr = hs[0].shape[0]
        C: tl.constexpr = hs[0].shape[1]
        here = own_part(scratch, M, SCRATCH)
        tl.debug_barrier()  # rows of the tile before are read no more
        for i in tl.static_range(len(hs)):
            tl.store(block(here, i, layer_of(LAYERS, 0).outputs, M, C), hs[i])
        return wide_layers(
            here, here + M * SCRATCH, matrices, vectors, LAYERS, M, CHUNK, ACTIVATION, OMEGA, SHORT, PRECISION, STAGES
        )
    if len(LAYERS) == 2:
        return last_layer(hs, matrices, vectors, layer_of(LAYERS, 1), CHUNK, PRECISION)
    for i in tl.static_range(1, len(LAYERS) - 2):
        hs = hidden_layer(hs, matrices, vectors, layer_of(LAYERS, i), CHUNK, ACTIVATION, OMEGA, SHORT, PRECISION)
    return last_two_layers(
        hs, matrices, vectors, layer_of(LAYERS, len(LAYERS) - 2), layer_of(LAYERS, len(LAYERS) - 1), CHUNK,
        ACTIVATION, OMEGA, SHORT, PRECISION, STAGES,
    )  # fmt: skip
