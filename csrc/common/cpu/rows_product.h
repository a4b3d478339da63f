// A product of matrices whose rows may lie anywhere; included inside a variant's namespace, after its Vec.
#pragma once

#include "common/cpu/vectors.h"

template <bool kAdd, int kRows, int kVecs>
inline void multiply_block(const Scalar* const* in, int64_t step, int64_t inputs, const Scalar* weight, int64_t stride,
                           Scalar* out) {
    Vec sum[kRows][kVecs];
    const Scalar* row[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
        row[r] = in[r];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = kAdd ? Vec::load(out + r * stride + v * Vec::width) : Vec::zero();
    }
    for (int64_t i = 0; i < inputs; ++i, weight += stride) {
        Vec w[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) w[v] = Vec::load(weight + v * Vec::width);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
            const Vec x = Vec::set1(row[r][i * step]);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(x, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v].store(out + r * stride + v * Vec::width);
    }
}

template <bool kAdd, int kVecs>
inline void multiply_rows(const Scalar* const* in, int64_t step, int64_t rows, int64_t inputs, const Scalar* weight,
                          int64_t stride, Scalar* out) {
    int64_t r = 0;
    for (; r + kBlockRows <= rows; r += kBlockRows) {
        multiply_block<kAdd, kBlockRows, kVecs>(in + r, step, inputs, weight, stride, out + r * stride);
    }
    for (; r + 3 <= rows; r += 3) {
        multiply_block<kAdd, 3, kVecs>(in + r, step, inputs, weight, stride, out + r * stride);
    }
    for (; r < rows; ++r) multiply_block<kAdd, 1, kVecs>(in + r, step, inputs, weight, stride, out + r * stride);
}

// out [rows, stride] = in weight, or that added to it: row r of `in` is `inputs` numbers from in[r] on, `step` apart,
// and weight is [inputs, stride]; stride is a whole number of vectors.
template <bool kAdd>
void multiply(const Scalar* const* in, int64_t step, int64_t rows, int64_t inputs, const Scalar* weight, int64_t stride,
              Scalar* out) {
    for (int64_t column = 0; column < stride; column += kPanelVecs * Vec::width) {
        const Scalar* w = weight + column;
        switch (std::min<int64_t>(kPanelVecs, (stride - column) / Vec::width)) {
            case 4:
                if constexpr (kPanelVecs >= 4) multiply_rows<kAdd, 4>(in, step, rows, inputs, w, stride, out + column);
                break;
            case 3:
                if constexpr (kPanelVecs >= 3) multiply_rows<kAdd, 3>(in, step, rows, inputs, w, stride, out + column);
                break;
            case 2:
                multiply_rows<kAdd, 2>(in, step, rows, inputs, w, stride, out + column);
                break;
            default:
                multiply_rows<kAdd, 1>(in, step, rows, inputs, w, stride, out + column);
        }
    }
}
