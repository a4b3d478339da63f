// sin of a phase. A phase comes in units of which a period holds a number that a float holds exactly, so that the
// reduction loses nothing: weights and biases of a layer before a sine are packed times omega and the unit.
#pragma once

#include <cmath>

#include "common/cuda/primitives.cuh"

namespace vinr::cuda {

// x + kToWhole - kToWhole is x rounded to a whole number, for |x| up to 2^22.
constexpr float kToWhole = 12582912.0f;

// By sin.approx: 5e-7 off at most. The unit is a radian, but for the 3e-8 by which a float misses 2 pi.
struct ApproximateSine {
    static constexpr float kPeriod = 6.2831855f;
    static constexpr double kUnit = 6.2831854820251465 / 6.283185307179586;

    static VINR_DEVICE float of(float phase) {
        const float whole = fmaf(phase, 1.0f / kPeriod, kToWhole) - kToWhole;
        return sin_approx(fmaf(whole, -kPeriod, phase));
    }
};

// By the polynomial of cpu/activation_kernel.h: 2e-7 off at most. The unit is half a turn.
struct PolynomialSine {
    static constexpr double kUnit = 0.3183098861837907;

    static VINR_DEVICE float of(float phase) {
        const float shifted = phase + kToWhole;
        // Further out a float holds whole half turns alone, of which the sine is zero; NaN where it is infinite.
        const float r = fabsf(phase) >= 4194304.0f ? phase * 0.0f : phase - (shifted - kToWhole);
        const float s = r * r;
        float p = fmaf(0.07722015632f, s, -0.5980451887f);
        p = fmaf(p, s, 2.550031380f);
        p = fmaf(p, s, -5.167706879f);
        p = fmaf(p, s, 3.141592580f) * r;
        return as_float(as_word(p) ^ (as_word(shifted) << 31));  // the other way round in odd half turns
    }
};

}  // namespace vinr::cuda
