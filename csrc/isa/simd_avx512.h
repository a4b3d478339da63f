// Sixteen floats of AVX-512; included inside a variant's namespace and target region.
#pragma once

using Scalar = float;

struct Vec {
    static constexpr int64_t width = 16;
    __m512 v;

    static Vec zero() { return {_mm512_setzero_ps()}; }
    static Vec set1(float x) { return {_mm512_set1_ps(x)}; }
    static Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
    void store(float* p) const { _mm512_storeu_ps(p, v); }
};

inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

struct HalfVec {
    static constexpr int64_t width = 8;
    __m256 v;

    static HalfVec zero() { return {_mm256_setzero_ps()}; }
    static HalfVec set1(float x) { return {_mm256_set1_ps(x)}; }
    static HalfVec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
};

inline HalfVec operator*(HalfVec a, HalfVec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline HalfVec fma(HalfVec a, HalfVec b, HalfVec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }

// out[i] = the sum of v[i]'s lanes.
inline void sum_lanes(const HalfVec v[4], float* out) {
    const __m256 halves = _mm256_hadd_ps(_mm256_hadd_ps(v[0].v, v[1].v), _mm256_hadd_ps(v[2].v, v[3].v));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
}

inline void sum_lanes(const Vec v[4], float* out) {
    // Each pair of steps adds up, in every 128 bits, the lanes of all four.
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0].v, v[1].v), _mm512_unpackhi_ps(v[0].v, v[1].v));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2].v, v[3].v), _mm512_unpackhi_ps(v[2].v, v[3].v));
    const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

// x minus the nearest whole number, with its sign turned where that number is odd.
inline Vec fold_half_turns(Vec x) {
    const __m512 rest = _mm512_reduce_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512i odd = _mm512_slli_epi32(_mm512_cvtps_epi32(x.v), 31);
    return {_mm512_xor_ps(rest, _mm512_castsi512_ps(odd))};
}

inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }

// 1 / x to 1e-7, where that is a normal number.
inline Vec reciprocal(Vec x) {
    const __m512 guess = _mm512_rcp14_ps(x.v);
    return {_mm512_mul_ps(guess, _mm512_fnmadd_ps(x.v, guess, _mm512_set1_ps(2.0f)))};
}

// b where either is NaN.
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }

// x <= 0 ? a : b
inline Vec select_not_positive(Vec x, Vec a, Vec b) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_LE_OQ), b.v, a.v)};
}

inline Vec round_whole(Vec x) { return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

// 2^n for a whole number n in [-126, 127].
inline Vec power_of_two(Vec n) { return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), n.v)}; }

#include "isa/simd_transpose.h"

constexpr int kPanelVecs = 4;  // 6 x 4 accumulators, 4 weights and a broadcast fill the 32 registers
constexpr int kBlockRows = 6;
