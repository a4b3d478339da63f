"""Small kernels through which the tests look at Triton, its interpreter and what kernels share."""

import triton
import triton.language as tl

from vinr_engine.kernels.common import sine


@triton.jit
def cast(X, Y, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(Y + i, tl.load(X + i).to(Y.dtype.element_ty))


@triton.jit
def product(A, B, C, N: tl.constexpr, PRECISION: tl.constexpr):
    i = tl.arange(0, N)
    square = i[:, None] * N + i[None, :]
    tl.store(C + square, tl.dot(tl.load(A + square), tl.load(B + square), input_precision=PRECISION))


@triton.jit
def add(X, Y, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(Y + i, tl.load(X + i) + tl.load(X + i))


@triton.jit
def sines(Z, S, S2, C, N: tl.constexpr, HIGH: tl.constexpr, LOW: tl.constexpr):
    i = tl.arange(0, N)
    z = tl.load(Z + i)
    tl.store(S + i, sine.sine(z, HIGH, LOW))
    s, c = sine.sine_cosine(z, HIGH, LOW)
    tl.store(S2 + i, s)
    tl.store(C + i, c)


@triton.jit
def approximate_sines(PHASE, S, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(S + i, sine.approximate_sine(tl.load(PHASE + i)))
