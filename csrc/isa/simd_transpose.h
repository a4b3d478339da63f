// Matrices turned round in blocks of AVX2's eight by eight; included by simd_avx2.h and simd_avx512.h.
#pragma once

constexpr int64_t kTurn = 8;

// to[c * to_stride + r] = from[r * from_stride + c] for r, c below kTurn
inline void transpose_block(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    __m256 a[8], b[8];
#pragma GCC unroll 8
    for (int r = 0; r < 4; ++r) {
        // Halves of rows r and r + 4 in one register spare the last of three rounds of shuffles.
        for (int half = 0; half < 2; ++half) {
            const __m128 low = _mm_loadu_ps(from + r * from_stride + 4 * half);
            const __m128 high = _mm_loadu_ps(from + (r + 4) * from_stride + 4 * half);
            a[4 * half + r] = _mm256_insertf128_ps(_mm256_castps128_ps256(low), high, 1);
        }
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
        __m256* x = a + 4 * half;
        b[0] = _mm256_unpacklo_ps(x[0], x[1]), b[1] = _mm256_unpackhi_ps(x[0], x[1]);
        b[2] = _mm256_unpacklo_ps(x[2], x[3]), b[3] = _mm256_unpackhi_ps(x[2], x[3]);
        float* out = to + 4 * half * to_stride;
        _mm256_storeu_ps(out, _mm256_shuffle_ps(b[0], b[2], 0x44));
        _mm256_storeu_ps(out + to_stride, _mm256_shuffle_ps(b[0], b[2], 0xEE));
        _mm256_storeu_ps(out + 2 * to_stride, _mm256_shuffle_ps(b[1], b[3], 0x44));
        _mm256_storeu_ps(out + 3 * to_stride, _mm256_shuffle_ps(b[1], b[3], 0xEE));
    }
}
