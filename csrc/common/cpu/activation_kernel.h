// The activations of dense layers; included inside a variant's namespace, after its Vec.
#pragma once

// Whether sines are rounded to bfloat16 afterwards: forward, what leaves an activation enters a product.
#if defined(VINR_BFLOAT16)
constexpr bool kRoundsSines = true;
#else
constexpr bool kRoundsSines = false;
#endif

// sin(pi x), x in half turns: to 2e-7 in single precision. The argument is exact after folding, since a period is a
// whole number; a period of pi would need a subtraction in several parts.
inline Vec sine_half_turns(Vec x) {
    const Vec r = fold_half_turns(x);
    const Vec s = r * r;
    if constexpr (kRoundsSines) {
        // Two terms less: to 7e-5, beside a rounding of up to 2e-3.
        const Vec p = fma(Vec::set1(2.299562657f), s, Vec::set1(-5.136909234f));
        return r * fma(p, s, Vec::set1(3.140640225f));
    } else if constexpr (sizeof(Scalar) == 4) {
        // The minimax polynomial of sin(pi r) / r in r^2 for |r| <= 1/2; benchmarks/tools/sine_polynomial.py finds it.
        Vec p = fma(Vec::set1(0.07722015632f), s, Vec::set1(-0.5980451887f));
        p = fma(p, s, Vec::set1(2.550031380f));
        p = fma(p, s, Vec::set1(-5.167706879f));
        p = fma(p, s, Vec::set1(3.141592580f));
        return r * p;
    } else {
        Scalar lanes[Vec::width];
        r.store(lanes);
        for (Scalar& lane : lanes) lane = std::sin(Scalar(3.14159265358979323846) * lane);
        return Vec::load(lanes);
    }
}

// exp(-x) for x in [0, 87], to 3e-7 of its size.
inline Vec exp_minus(Vec x) {
    const Vec log2e = Vec::set1(Scalar(-1.4426950408889634));
    const Vec whole = round_whole(x * log2e);
    const Vec r = fma(x, log2e, Vec::zero() - whole);
    Vec p = Vec::set1(Scalar(1.5403530e-4));  // 2^r for |r| <= 1/2 by its series, ln(2)^k / k!
    for (const double c : {1.3333558e-3, 9.6181291e-3, 5.5504109e-2, 0.24022651, 0.69314718, 1.0})
        p = fma(p, r, Vec::set1(Scalar(c)));
    return p * power_of_two(whole);
}

// 1 / (1 + exp(-x)), to 2e-7. NaN stays NaN.
inline Vec sigmoid(Vec x) {
    const Vec zero = Vec::zero(), one = Vec::set1(Scalar(1)), end = Vec::set1(Scalar(87));
    // Of the size of x, so that the exponential is at most 1; in this order max and min keep NaN.
    const Vec e = exp_minus(min(end, max(zero - x, x)));
    const Vec r = reciprocal(one + e);
    return select_not_positive(x, e * r, r);
}

// To 4e-7 of 1. NaN stays NaN.
inline Vec tanh(Vec x) { return fma(Vec::set1(Scalar(2)), sigmoid(x + x), Vec::set1(Scalar(-1))); }

// Of the normal distribution: its cumulative function, and its density.
struct Normal {
    Vec cumulative, density;
};

constexpr double kNormalEnd = 13;  // beyond it the cumulative function is 0 or 1 in single precision

// z within +-kNormalEnd in single precision. To 2e-7 there.
inline Normal normal(Vec z) {
    constexpr double root_half = 0.70710678118654752, density = 0.39894228040143268;
    if constexpr (sizeof(Scalar) == 4) {
        // Abramowitz and Stegun, 7.1.26: erfc(x) = (a1 t + ... + a5 t^5) exp(-x^2), t = 1 / (1 + 0.3275911 x), x >= 0.
        const Vec bell = exp_minus(z * z * Vec::set1(Scalar(0.5)));
        const Vec size = max(z, Vec::zero() - z), one = Vec::set1(Scalar(1));
        const Vec t = one / fma(size, Vec::set1(Scalar(0.3275911 * root_half)), one);
        Vec p = Vec::set1(Scalar(1.061405429 / 2));
        for (const double a : {-1.453152027, 1.421413741, -0.284496736, 0.254829592})
            p = fma(p, t, Vec::set1(Scalar(a / 2)));
        const Vec tail = p * t * bell;
        return {select_not_positive(z, tail, one - tail), bell * Vec::set1(Scalar(density))};
    } else {
        Scalar lanes[Vec::width], bell[Vec::width];
        z.store(lanes);
        for (int64_t i = 0; i < Vec::width; ++i) {
            bell[i] = Scalar(density) * std::exp(-lanes[i] * lanes[i] / 2);
            lanes[i] = std::erfc(-lanes[i] * Scalar(root_half)) / 2;
        }
        return {Vec::load(lanes), Vec::load(bell)};
    }
}

inline Vec within_normal(Vec z) {
    if constexpr (sizeof(Scalar) == 8) return z;
    return max(Vec::set1(Scalar(-kNormalEnd)), min(Vec::set1(Scalar(kNormalEnd)), z));
}

inline Vec half_turns_of(Scalar omega) { return Vec::set1(Scalar(omega / Scalar(3.14159265358979323846))); }

// NaN stays NaN.
template <Activation kActivation>
inline Vec activate(Vec z, Vec half_turns) {
    if constexpr (kActivation == Activation::kSine) return sine_half_turns(z * half_turns);
    if constexpr (kActivation == Activation::kRelu) return max(Vec::zero(), z);
    if constexpr (kActivation == Activation::kGelu) {
        const Vec end = within_normal(z);
        return max(end, z) * normal(end).cumulative;
    }
    return z;
}

// What a dense layer does with a vector of its sums: here, activates it into rows of `out`.
template <Activation kActivation, typename Out>
struct Activated {
    Out* out;
    int64_t stride;
    Vec half_turns;

    void operator()(Vec z, int64_t row, int64_t column) const {
        const Vec value = activate<kActivation>(z, half_turns);
        if constexpr (std::is_same_v<Out, Scalar>) {
            value.store(out + row * stride + column);
        } else {
            store_operands(value, out + row * stride + column);
        }
    }
};

// out [rows, outputs] = activation(in [rows, inputs] weight + start); see dense_into of the dense kernel in use.
template <Activation kActivation, typename Layer, typename In, typename Out>
inline void dense(const Layer& layer, int64_t rows, const In* in, int64_t in_stride, const Scalar* start,
                  int64_t start_stride, Out* out, int64_t out_stride, Scalar omega) {
    dense_into(layer, rows, in, in_stride, start, start_stride,
               Activated<kActivation, Out>{out, out_stride, half_turns_of(omega)});
}
