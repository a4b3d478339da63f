"""sin(omega z) and cos(omega z) of float32, to 2e-7 for |omega z| up to 1e5, without libdevice's slow path.

With h = omega / pi, omega z = pi (k + r) for a whole number k and |r| <= 1/2. r takes two fused multiply-adds, since h
is given as the sum of two float32 numbers: the phase is never rounded, as it is where omega z is a float32 number.
"""

from __future__ import annotations

import math

import numpy as np
import triton
import triton.language as tl

from vinr_engine.kernels.common import runtime

INTERPRETED = tl.constexpr(runtime.INTERPRETED)


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
def _folded_sine(r):
    """sin(pi r) for |r| <= 1/2."""
    # The minimax polynomial of sin(pi r) / r in r^2 of the CPU kernels; benchmarks/tools/sine_polynomial.py finds it.
    s = r * r
    p = 0.07722015632 * s - 0.5980451887
    p = p * s + 2.550031380
    p = p * s - 5.167706879
    return r * (p * s + 3.141592580)


@triton.jit
def sine(z, HIGH: tl.constexpr, LOW: tl.constexpr):
    """sin(omega z), with HIGH, LOW = half_turns(omega)."""
    r, sign = fold(z, HIGH, LOW)
    return _flip(_folded_sine(r), sign)


@triton.jit
def sine_cosine(z, HIGH: tl.constexpr, LOW: tl.constexpr):
    """sin(omega z) and cos(omega z), from one folded argument."""
    r, sign = fold(z, HIGH, LOW)
    return _flip(_folded_sine(r), sign), _flip(_folded_sine(0.5 - tl.abs(r)), sign)


@triton.jit
def approximate_sine(phase):
    """sin(phase) to 5e-7 and a rounding of the phase, well below that of a result kept in float16 or bfloat16.

    The GPU's own sine is given numbers from -pi to pi, where PTX documents its largest error: 2^-20.5.
    """
    magic = tl.full(phase.shape, 12582912.0, tl.float32)
    turn = tl.fma(phase, tl.full(phase.shape, 0.15915494309, tl.float32), magic) - magic
    return _own_sine(tl.fma(turn, tl.full(phase.shape, -6.283185307, tl.float32), phase))


@triton.jit
def _own_sine(r):
    if INTERPRETED:  # it has no assembly
        return tl.sin(r)
    return tl.inline_asm_elementwise("sin.approx.f32 $0, $1;", "=f,f", [r], dtype=tl.float32, is_pure=True, pack=1)
