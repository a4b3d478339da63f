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
    const auto wide = [](Vec w) { return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(w.v)); };
    _mm512_storeu_si512(to, _mm512_or_si512(wide(weights[0]), _mm512_slli_epi32(wide(weights[1]), 16)));
}

// With zeros behind, up to the padded width.
inline void copy_operands(const float* in, int64_t count, Operand* out) {
    round_rows(in, 0, 1, count, out, padded_width(count));
}

struct PackedLayer {
    int64_t inputs = 0, outputs = 0;  // outputs padded to kWidthMultiple
    LineVector<uint16_t> weight;      // panels of [inputs / 2, up to kPanelVecs vectors of pairs]
    LineVector<float> bias;           // [outputs]
};

// Packs columns [first, first + inputs) of the weight, and the bias.
inline PackedLayer pack_layer(const LayerView<float>& layer, int64_t first, int64_t inputs) {
    PackedLayer packed;
    packed.inputs = inputs;
    packed.outputs = padded_width(layer.outputs);
    const int64_t pairs = (inputs + 1) / 2;
    packed.weight.assign(2 * pairs * packed.outputs, 0);
    packed.bias.assign(packed.outputs, 0.0f);
    for (int64_t o = 0; o < layer.outputs; ++o) packed.bias[o] = layer.bias[o];
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

// See dense_kernel.h. Rows hold zeros behind their inputs, up to the padded width.
template <typename Epilogue>
void dense_into(const PackedLayer& layer, int64_t rows, const Operand* in, int64_t in_stride, const float* start,
                int64_t start_stride, const Epilogue& epilogue) {
    const int64_t pairs = (layer.inputs + 1) / 2;
    const uint16_t* weight = layer.weight.data();
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
