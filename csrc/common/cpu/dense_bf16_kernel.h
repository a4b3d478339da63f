// A dense layer whose operands are rounded to bfloat16, with sums in float32; stands in for dense_kernel.h, with the
// same names, in the variant of AVX-512 BF16. Its instruction multiplies pairs: weights are packed two inputs deep.
#pragma once

#include "common/cpu/bfloat16.h"
#include "common/cpu/line_allocator.h"

constexpr int64_t kTile = 48;  // pixels: 48 x 256 floats stay in the L2 cache together with the weights

using Operand = uint16_t;
constexpr int64_t kPair = 2;

inline void store_operands(Vec inputs, Operand* to) {
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(inputs.v));
}

inline void store_weights(const Vec* weights, Operand* to) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(weights[0].v));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(weights[1].v));
    _mm512_storeu_si512(to, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

// With zeros behind, up to the padded width.
inline void copy_operands(const float* in, int64_t count, Operand* out) {
    round_rows(in, 0, 1, count, out, padded_width(count));
}

struct OperandVec {
    __m512bh v;
};

inline OperandVec load_operands(const Operand* from) { return {(__m512bh)_mm512_loadu_si512(from)}; }

inline OperandVec repeat_operands(const Operand* from) {
    int32_t pair;
    __builtin_memcpy(&pair, from, sizeof(pair));
    return {(__m512bh)_mm512_set1_epi32(pair)};
}

inline Vec multiply_add(OperandVec a, OperandVec b, Vec sum) { return {_mm512_dpbf16_ps(sum.v, a.v, b.v)}; }

// Two rows as one of pairs, zeros for a second one that is null.
inline void pair_rows(const float* first, const float* second, int64_t columns, Operand* to) {
    for (int64_t c = 0; c < columns; c += Vec::width) {
        const Vec pair[2] = {Vec::load(first + c), second ? Vec::load(second + c) : Vec::zero()};
        store_weights(pair, to + 2 * c);
    }
}

inline void pair_rows(const Operand* first, const Operand* second, int64_t columns, Operand* to) {
    for (int64_t c = 0; c < columns; c += Vec::width) {
        const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(first + c)));
        __m512i high = _mm512_setzero_si512();
        if (second) high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(second + c)));
        _mm512_storeu_si512(to + 2 * c, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

constexpr int64_t kNarrow = 4, kRun = 8;  // of few outputs a vector of pairs holds four, by a run of eight inputs

struct PackedLayer {
    int64_t inputs = 0, outputs = 0;  // outputs padded to kWidthMultiple
    bool narrow = false;              // at most kNarrow outputs
    LineVector<uint16_t> weight;      // panels of [inputs / 2, up to kPanelVecs vectors of pairs], or one of runs
    LineVector<float> bias;           // [outputs]
};

inline LineVector<uint16_t> pack_narrow(const LayerView<float>& layer, int64_t first, int64_t inputs) {
    LineVector<uint16_t> weight((inputs + kRun - 1) / kRun * kNarrow * kRun, 0);
    for (int64_t o = 0; o < layer.outputs; ++o) {
        for (int64_t i = 0; i < inputs; ++i) {
            weight[(i / kRun * kNarrow + o) * kRun + i % kRun] =
                to_bfloat16(layer.weight[o * layer.inputs + first + i]);
        }
    }
    return weight;
}

// Packs columns [first, first + inputs) of the weight, and the bias.
inline PackedLayer pack_layer(const LayerView<float>& layer, int64_t first, int64_t inputs) {
    PackedLayer packed;
    packed.inputs = inputs;
    packed.outputs = padded_width(layer.outputs);
    const int64_t pairs = (inputs + 1) / 2;
    packed.bias.assign(packed.outputs, 0.0f);
    for (int64_t o = 0; o < layer.outputs; ++o) packed.bias[o] = layer.bias[o];
    packed.narrow = layer.outputs <= kNarrow;
    if (packed.narrow) {
        packed.weight = pack_narrow(layer, first, inputs);
        return packed;
    }
    packed.weight.assign(2 * pairs * packed.outputs, 0);
    constexpr int64_t panel = kPanelVecs * Vec::width;
    uint16_t* out = packed.weight.data();
    for (int64_t start = 0; start < packed.outputs; start += panel) {
        const int64_t width = std::min(panel, packed.outputs - start);
        for (int64_t i = 0; i < 2 * pairs; i += 2) {
            for (int64_t o = start; o < start + width; ++o, out += 2) {
                if (o >= layer.outputs) continue;
                const float* row = layer.weight + o * layer.inputs + first;
                out[0] = to_bfloat16(row[i]);
                if (i + 1 < inputs) out[1] = to_bfloat16(row[i + 1]);
            }
        }
    }
    return packed;
}

template <int kVecs, typename Epilogue>
inline void dense_block(const uint16_t* in, int64_t in_stride, int64_t pairs, const uint16_t* weight,
                        const float* start, int64_t start_stride, const Epilogue& epilogue, int64_t row,
                        int64_t column) {
    __m512 sum[kBlockRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec::load(start + r * start_stride + v * Vec::width).v;
    }
    for (int64_t i = 0; i < pairs; ++i, weight += 2 * kVecs * Vec::width) {
        __m512bh w[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) w[v] = (__m512bh)_mm512_loadu_si512(weight + 2 * v * Vec::width);
#pragma GCC unroll 8
        for (int r = 0; r < kBlockRows; ++r) {
            int32_t pair;
            __builtin_memcpy(&pair, in + r * in_stride + 2 * i, sizeof(pair));
            const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, w[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) epilogue(Vec{sum[r][v]}, row + r, column + v * Vec::width);
    }
}

#include "common/cpu/dense_panel.h"

// One vector of outputs, of which all but kNarrow are zeros: a product takes kRun inputs of them, where dense_block
// would take two.
template <typename Epilogue>
inline void narrow_block(const Operand* in, int64_t in_stride, int64_t inputs, const uint16_t* weight,
                         const float* start, int64_t start_stride, const Epilogue& epilogue, int64_t row) {
    __m512 sum[kBlockRows];
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) sum[r] = _mm512_setzero_ps();
    for (int64_t i = 0; i < inputs; i += kRun, weight += kNarrow * kRun) {
        const __m512bh w = (__m512bh)_mm512_loadu_si512(weight);
#pragma GCC unroll 8
        for (int r = 0; r < kBlockRows; ++r) {
            const __m128i run = _mm_loadu_si128((const __m128i*)(in + r * in_stride + i));
            sum[r] = _mm512_dpbf16_ps(sum[r], (__m512bh)_mm512_broadcast_i32x4(run), w);
        }
    }
    const __m512i first_of_each = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
        // Adds each output's four lanes.
        __m512 s = _mm512_add_ps(sum[r], _mm512_permute_ps(sum[r], 0x4e));
        s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
        const Vec outputs{_mm512_maskz_permutexvar_ps(0xf, first_of_each, s)};
        epilogue(outputs + Vec::load(start + r * start_stride), row + r, 0);
    }
}

// See dense_kernel.h. Rows hold zeros behind their inputs, up to the padded width.
template <typename Epilogue>
void dense_into(const PackedLayer& layer, int64_t rows, const Operand* in, int64_t in_stride, const float* start,
                int64_t start_stride, const Epilogue& epilogue) {
    const int64_t pairs = (layer.inputs + 1) / 2;
    const uint16_t* weight = layer.weight.data();
    if (layer.narrow) {
        for (int64_t r = 0; r < rows; r += kBlockRows) {
            narrow_block(in + r * in_stride, in_stride, layer.inputs, weight, start + r * start_stride, start_stride,
                         epilogue, r);
        }
        return;
    }
    for (int64_t column = 0; column < layer.outputs; column += kPanelVecs * Vec::width) {
        const int64_t vecs = std::min<int64_t>(kPanelVecs, (layer.outputs - column) / Vec::width);
        dense_panel(vecs, rows, in, in_stride, pairs, weight, start + column, start_stride, epilogue, column);
        weight += 2 * pairs * vecs * Vec::width;
    }
}

// The same of float32 rows, rounded first.
template <typename Epilogue>
void dense_into(const PackedLayer& layer, int64_t rows, const float* in, int64_t in_stride, const float* start,
                int64_t start_stride, const Epilogue& epilogue) {
    const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows * kBlockRows, stride = padded_width(layer.inputs);
    static thread_local LineVector<Operand> rounded;  // kept between calls: one a layer and tile
    if (int64_t(rounded.size()) < blocks * stride) rounded.resize(blocks * stride);
    round_rows(in, in_stride, blocks, layer.inputs, rounded.data(), stride);
    dense_into(layer, rows, rounded.data(), stride, start, start_stride, epilogue);
}

// What a thread sets up before its first dense layer.
struct DenseScope {};
