// A dense layer over a tile of pixels, with the activation in the epilogue; included inside a variant's namespace,
// after its Vec. A tile is a matrix of rows (pixels) by columns (channels). Weights are packed in panels of
// kPanelVecs vectors of outputs, so that a block of kBlockRows pixels by one panel accumulates in registers over all
// inputs.
#pragma once

#include "common/cpu/line_allocator.h"
#include "common/cpu/plain_operands.h"

constexpr int64_t kTile = 48;  // pixels: 48 x 256 floats stay in the L2 cache together with the weights

// A layer packed for `dense`: outputs padded to whole vectors of zeros.
struct PackedLayer {
    int64_t inputs = 0, outputs = 0;  // outputs padded to kWidthMultiple
    LineVector<Scalar> weight;        // panels of [inputs, up to kPanelVecs vectors]
    LineVector<Scalar> bias;          // [outputs]
};

// Packs columns [first, first + inputs) of the weight, and the bias.
inline PackedLayer pack_layer(const LayerView<Scalar>& layer, int64_t first, int64_t inputs) {
    PackedLayer packed;
    packed.inputs = inputs;
    packed.outputs = padded_width(layer.outputs);
    packed.weight.assign(inputs * packed.outputs, Scalar(0));
    packed.bias.assign(packed.outputs, Scalar(0));
    for (int64_t o = 0; o < layer.outputs; ++o) packed.bias[o] = layer.bias[o];
    constexpr int64_t panel = kPanelVecs * Vec::width;
    Scalar* out = packed.weight.data();
    for (int64_t start = 0; start < packed.outputs; start += panel) {
        const int64_t width = std::min(panel, packed.outputs - start);
        for (int64_t i = 0; i < inputs; ++i) {
            for (int64_t o = 0; o < width; ++o, ++out) {
                if (start + o < layer.outputs) *out = layer.weight[(start + o) * layer.inputs + first + i];
            }
        }
    }
    return packed;
}

template <int kVecs, typename Epilogue>
inline void dense_block(const Scalar* in, int64_t in_stride, int64_t inputs, const Scalar* weight, const Scalar* start,
                        int64_t start_stride, const Epilogue& epilogue, int64_t row, int64_t column) {
    Vec sum[kBlockRows][kVecs];
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[r][v] = Vec::load(start + r * start_stride + v * Vec::width);
    }
    for (int64_t i = 0; i < inputs; ++i, weight += kVecs * Vec::width) {
        Vec w[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) w[v] = Vec::load(weight + v * Vec::width);
#pragma GCC unroll 8
        for (int r = 0; r < kBlockRows; ++r) {
            const Vec x = Vec::set1(in[r * in_stride + i]);
#pragma GCC unroll 8
            for (int v = 0; v < kVecs; ++v) sum[r][v] = fma(x, w[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kBlockRows; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) epilogue(sum[r][v], row + r, column + v * Vec::width);
    }
}

#include "common/cpu/dense_panel.h"

// epilogue(sums, row, column) for every vector of in [rows, inputs] weight + start, where start is a row for all
// (stride 0) or one for each. Rows are taken kBlockRows at a time: the tile's buffers have room for the last block.
template <typename Epilogue>
void dense_into(const PackedLayer& layer, int64_t rows, const Scalar* in, int64_t in_stride, const Scalar* start,
                int64_t start_stride, const Epilogue& epilogue) {
    const Scalar* weight = layer.weight.data();
    for (int64_t column = 0; column < layer.outputs; column += kPanelVecs * Vec::width) {
        const int64_t vecs = std::min<int64_t>(kPanelVecs, (layer.outputs - column) / Vec::width);
        dense_panel(vecs, rows, in, in_stride, layer.inputs, weight, start + column, start_stride, epilogue, column);
        weight += layer.inputs * vecs * Vec::width;
    }
}

// What a thread sets up before its first dense layer.
struct DenseScope {};
