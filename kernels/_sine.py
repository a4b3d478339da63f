"""sin(omega z) and cos(omega z) of float32, to 2e-7 for |omega z| up to 1e5, without libdevice's slow path.

With h = omega / pi, omega z = pi (k + r) for a whole number k and |r| <= 1/2. r takes two fused multiply-adds, since h
is given as the sum of two float32 numbers: the phase is never rounded, as it is where omega z is a float32 number.
"""

from __future__ import annotations

import math

import numpy as np
import triton
import triton.language as tl


def half_turns(omega: float) -> tuple[float, float]:
    """omega / pi as a sum of two float32 numbers: what the functions here take for omega."""
    high = float(np.float32(omega / math.pi))
    return high, float(np.float32(omega / math.pi - high))


@triton.jit
def fold(z, HIGH: tl.constexpr, LOW: tl.constexpr):
    """r, and the bit that flips the sign of sin(pi r) and cos(pi r) where k is odd, as int32."""
    # 1.5 * 2^23: a sum with it is rounded to a whole number, which its last bits hold.
    shifted = tl.fma(z, tl.full(z.shape, HIGH, tl.float32), tl.full(z.shape, 12582912.0, tl.float32))
    k = shifted - 12582912.0
    r = tl.fma(z, tl.full(z.shape, HIGH, tl.float32), -k)
    r = tl.fma(z, tl.full(z.shape, LOW, tl.float32), r)
    return r, shifted.to(tl.int32, bitcast=True) << 31


@triton.jit
def _flip(x, sign):
    return (x.to(tl.int32, bitcast=True) ^ sign).to(tl.float32, bitcast=True)


@triton.jit
def _folded_sine(r, APPROXIMATE: tl.constexpr):
    """sin(pi r) for |r| <= 1/2."""
    if APPROXIMATE:
        return tl.inline_asm_elementwise(
            "sin.approx.f32 $0, $1;", "=f,f", [r * 3.14159265], dtype=tl.float32, is_pure=True, pack=1
        )
    # The minimax polynomial of sin(pi r) / r in r^2 of the CPU kernels; benchmarks/sine_polynomial.py finds it.
    s = r * r
    p = 0.07722015632 * s - 0.5980451887
    p = p * s + 2.550031380
    p = p * s - 5.167706879
    return r * (p * s + 3.141592580)


@triton.jit
def _folded_cosine(r, APPROXIMATE: tl.constexpr):
    """cos(pi r) for |r| <= 1/2."""
    if APPROXIMATE:
        return tl.inline_asm_elementwise(
            "cos.approx.f32 $0, $1;", "=f,f", [r * 3.14159265], dtype=tl.float32, is_pure=True, pack=1
        )
    return _folded_sine(0.5 - tl.abs(r), False)


@triton.jit
def sine(z, HIGH: tl.constexpr, LOW: tl.constexpr, APPROXIMATE: tl.constexpr = False):
    """sin(omega z), with HIGH, LOW = half_turns(omega). APPROXIMATE takes the GPU's own sine of the folded argument."""
    r, sign = fold(z, HIGH, LOW)
    return _flip(_folded_sine(r, APPROXIMATE), sign)


@triton.jit
def sine_cosine(z, HIGH: tl.constexpr, LOW: tl.constexpr, APPROXIMATE: tl.constexpr = False):
    """sin(omega z) and cos(omega z), from one folded argument."""
    r, sign = fold(z, HIGH, LOW)
    return _flip(_folded_sine(r, APPROXIMATE), sign), _flip(_folded_cosine(r, APPROXIMATE), sign)


@triton.jit
def short_sine(turns):
    """sin(2 pi (turns - 1/4)) to 4e-5, well below the rounding of a result that is kept in float16 or bfloat16.

    It is a polynomial in r (1 - r), which has the sine's symmetry within a turn: no sign needs to be flipped.
    """
    r = turns - tl.floor(turns)
    s = r - r * r
    p = 45.64677552 * s + 36.75689863
    p = p * s + 19.98823964
    p = p * s - 0.007918470755
    return p * s - 0.9999597926
