// Sixteen bytes of numbers for any machine: vector types of GCC and Clang, which become SSE2, NEON and others;
// `Scalar` is defined before.
#pragma once

typedef Scalar VecData __attribute__((vector_size(16)));

struct Vec {
    static constexpr int64_t width = 16 / sizeof(Scalar);
    VecData v;

    static Vec set1(Scalar x) { return {VecData{} + x}; }
    static Vec zero() { return {VecData{}}; }
    static Vec load(const Scalar* p) {
        Vec out;
        __builtin_memcpy(&out.v, p, sizeof(out.v));
        return out;
    }
    void store(Scalar* p) const { __builtin_memcpy(p, &v, sizeof(v)); }
};

inline Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
inline Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }

using HalfVec = Vec;

// out[i] = the sum of v[i]'s lanes.
inline void sum_lanes(const HalfVec v[4], Scalar* out) {
    for (int i = 0; i < 4; ++i) {
        out[i] = 0;
        for (int64_t lane = 0; lane < HalfVec::width; ++lane) out[i] += v[i].v[lane];
    }
}

// Adding and subtracting 1.5 * 2^23 (2^52) rounds to the nearest whole number, in the default rounding mode.
constexpr Scalar kRoundingMagic = sizeof(Scalar) == 4 ? Scalar(12582912.0) : Scalar(6755399441055744.0);

// x minus the nearest whole number, with its sign turned where that number is odd.
inline Vec fold_half_turns(Vec x) {
    constexpr Scalar magic = kRoundingMagic;
    const VecData whole = (x.v + magic) - magic;
    const VecData half = whole * Scalar(0.5);
    const VecData rest = x.v - whole;
    const VecData turned = (half + magic) - magic == half ? rest : -rest;
    // Numbers this large are whole and even; NaN is neither larger nor smaller, and stays.
    return {(x.v > magic / 4) | (x.v < -magic / 4) ? VecData{} : turned};
}

inline Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
inline Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
inline Vec reciprocal(Vec x) { return Vec::set1(Scalar(1)) / x; }

// b where either is NaN.
inline Vec max(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
inline Vec min(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }

// x <= 0 ? a : b
inline Vec select_not_positive(Vec x, Vec a, Vec b) { return {x.v <= VecData{} ? a.v : b.v}; }

inline Vec round_whole(Vec x) { return {(x.v + kRoundingMagic) - kRoundingMagic}; }

// 2^n for a whole number n in [-126, 127].
inline Vec power_of_two(Vec n) {
    // The sum holds n in the last bits of its mantissa; the shift leaves n plus the exponent's bias.
    constexpr bool single = sizeof(Scalar) == 4;
    typedef std::conditional_t<single, int32_t, int64_t> Whole;
    typedef Whole VecWhole __attribute__((vector_size(16)));
    const VecData sum = n.v + (kRoundingMagic + Scalar(single ? 127 : 1023));
    VecWhole bits;
    __builtin_memcpy(&bits, &sum, sizeof(bits));
    bits <<= single ? 23 : 52;
    Vec out;
    __builtin_memcpy(&out.v, &bits, sizeof(bits));
    return out;
}

constexpr int64_t kTurn = 4;

// to[c * to_stride + r] = from[r * from_stride + c] for r, c below kTurn
inline void transpose_block(const Scalar* from, int64_t from_stride, Scalar* to, int64_t to_stride) {
    for (int64_t r = 0; r < kTurn; ++r) {
        for (int64_t c = 0; c < kTurn; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    }
}

constexpr int kPanelVecs = 2;  // 6 x 2 accumulators, 2 weights and a broadcast fit 16 registers
constexpr int kBlockRows = 6;
