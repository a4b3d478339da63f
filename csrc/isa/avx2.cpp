// AVX2 and FMA: eight floats.
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "isa/isa.h"
#include "isa/target.h"

VINR_BEGIN_TARGET("avx2,fma")
namespace vinr::avx2 {

using Scalar = float;

struct Vec {
    static constexpr int64_t width = 8;
    __m256 v;

    static Vec zero() { return {_mm256_setzero_ps()}; }
    static Vec set1(float x) { return {_mm256_set1_ps(x)}; }
    static Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    void store(float* p) const { _mm256_storeu_ps(p, v); }
};

inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }

using HalfVec = Vec;

// out[i] = the sum of v[i]'s lanes.
inline void sum_lanes(const HalfVec v[4], float* out) {
    const __m256 halves = _mm256_hadd_ps(_mm256_hadd_ps(v[0].v, v[1].v), _mm256_hadd_ps(v[2].v, v[3].v));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
}

// x minus the nearest whole number, with its sign turned where that number is odd. A number too large for int32
// is a whole even one, and the conversion's overflow value is even too.
inline Vec fold_half_turns(Vec x) {
    const __m256 whole = _mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256i odd = _mm256_slli_epi32(_mm256_cvtps_epi32(x.v), 31);
    return {_mm256_xor_ps(_mm256_sub_ps(x.v, whole), _mm256_castsi256_ps(odd))};
}

inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec reciprocal(Vec x) { return Vec::set1(Scalar(1)) / x; }

// b where either is NaN.
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }

// x <= 0 ? a : b
inline Vec select_not_positive(Vec x, Vec a, Vec b) {
    return {_mm256_blendv_ps(b.v, a.v, _mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_LE_OQ))};
}

inline Vec round_whole(Vec x) { return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }

// 2^n for a whole number n in [-126, 127].
inline Vec power_of_two(Vec n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}

#include "isa/simd_transpose.h"

constexpr int kPanelVecs = 2;  // 6 x 2 accumulators, 2 weights and a broadcast fit the 16 registers
constexpr int kBlockRows = 6;

#include "common/cpu/dense_kernel.h"
#define VINR_COMPILE_KERNELS
#include "isa/ops.h"

}  // namespace vinr::avx2
VINR_END_TARGET

static const vinr::Registered registered(
    {"avx2", 10, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); },
     &vinr::avx2::kKernels});
#endif
