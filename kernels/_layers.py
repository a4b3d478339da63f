"""Dense layers inside a kernel: the activations of a tile of pixels stay in registers from one layer to the next.

Activations are tuples of chunks [M, C] of a layer's columns, C a power of two. A layer is described by a constexpr
`vinr_engine.kernels._packing.Layer`; `matrices` and `vectors` are the buffers of its plan. `OMEGA` is what
`_sine.half_turns` gives; `SHORT` takes the shorter sine, for activations that are rounded to 16 bits.
"""

import triton
import triton.language as tl
from vinr_engine.kernels._sine import short_sine, sine


@triton.jit
def activate(z, bias, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr):
    """The activation of z [M, C] + bias [C], in float32; the bias as `turned` makes it."""
    if ACTIVATION == "sine":
        if SHORT:
            return short_sine(z * (OMEGA[0] * 0.5) + bias[None, :])
        return sine(z + bias[None, :], OMEGA[0], OMEGA[1])
    z += bias[None, :]
    if ACTIVATION == "relu":
        return tl.where(z < 0, 0.0, z)  # NaN stays NaN
    return 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))


@triton.jit
def turned(bias, ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr):
    """A bias as the activation takes it: as the short sine's turns, or as it is.

    Biases of hidden layers come so in the buffer of vectors, those of the first and the last layer do not.
    """
    if ACTIVATION == "sine":
        if SHORT:
            return bias * (OMEGA[0] * 0.5) + 0.25
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
    for j in tl.range(0, HIDDEN.outputs // C, num_stages=STAGES):
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
def layers_after_first(zs, biases, matrices, vectors, LAYERS: tl.constexpr, CHUNK: tl.constexpr,
                       ACTIVATION: tl.constexpr, OMEGA: tl.constexpr, SHORT: tl.constexpr, PRECISION: tl.constexpr,
                       STAGES: tl.constexpr):  # fmt: skip
    """zs, biases: chunks [M, C] and [C] whose sum is the first layer's output -> chunks of the last one's output.

    LAYERS: all layers, the first too.
    """
    hs = ()
    if len(LAYERS) == 1:
        for i in tl.static_range(len(zs)):
            hs = hs + (zs[i] + biases[i][None, :],)
        return hs
    for i in tl.static_range(len(zs)):
        h = activate(zs[i], turned(biases[i], ACTIVATION, OMEGA, SHORT), ACTIVATION, OMEGA, SHORT)
        hs = hs + (h.to(matrices.dtype.element_ty),)
    if len(LAYERS) == 2:
        return last_layer(hs, matrices, vectors, LAYERS[1], CHUNK, PRECISION)
    for i in tl.static_range(1, len(LAYERS) - 2):
        hs = hidden_layer(hs, matrices, vectors, LAYERS[i], CHUNK, ACTIVATION, OMEGA, SHORT, PRECISION)
    return last_two_layers(
        hs, matrices, vectors, LAYERS[len(LAYERS) - 2], LAYERS[len(LAYERS) - 1], CHUNK, ACTIVATION, OMEGA, SHORT,
        PRECISION, STAGES,
    )  # fmt: skip
