// Rounding to bfloat16; included inside the namespace of a variant that has AVX-512 BF16, after its Vec.
#pragma once

#include "common/cpu/bfloat16_scalar.h"

// Rows of `inputs` floats as bfloat16, zeros behind them up to `out_stride`: what lies there may be NaN.
inline void round_rows(const float* in, int64_t in_stride, int64_t rows, int64_t inputs, uint16_t* out,
                       int64_t out_stride) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < out_stride; c += Vec::width) {
            const int64_t left = std::max<int64_t>(0, std::min<int64_t>(Vec::width, inputs - c));
            const __mmask16 mask = __mmask16((1u << left) - 1);
            const __m512 x = _mm512_maskz_loadu_ps(mask, in + r * in_stride + c);
            _mm256_storeu_si256((__m256i*)(out + r * out_stride + c), (__m256i)_mm512_cvtneps_pbh(x));
        }
    }
}
