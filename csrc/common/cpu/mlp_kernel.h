// A network over a tile of pixels; included inside a variant's namespace, after one of the dense kernels.
#pragma once

#include "common/cpu/activation_kernel.h"

// Zeros behind a layer's inputs, where kernels of bfloat16 read: infinity times the padding's weights was NaN.
inline void clear_padding(int64_t rows, Operand* in, int64_t stride, int64_t inputs) {
    const int64_t padding = padded_width(inputs) - inputs;
    if (padding == 0) return;
    for (int64_t r = 0; r < rows; ++r) std::fill_n(in + r * stride + inputs, padding, Operand(0));
}

// The layers of one network after its first, packed once a call.
template <Activation kActivation>
struct PackedTail {
    std::vector<PackedLayer> layers;
    Scalar omega;

    PackedTail(const std::vector<LayerView<Scalar>>& views, Scalar omega) : omega(omega) {
        for (size_t i = 1; i < views.size(); ++i) layers.push_back(pack_layer(views[i], 0, views[i].inputs));
    }

    // in [rows, *], already activated -> finish(sums, row, column) for every vector of the last layer, see dense_into.
    // Layers between go from one of the two buffers of `stride` columns to the other.
    template <typename Finish>
    void run(int64_t rows, Operand* in, Operand* other, int64_t stride, const Finish& finish) const {
        for (size_t i = 0; i + 1 < layers.size(); ++i, std::swap(in, other)) {
            clear_padding(rows, in, stride, layers[i].inputs);
            dense<kActivation>(layers[i], rows, in, stride, layers[i].bias.data(), 0, other, stride, omega);
        }
        clear_padding(rows, in, stride, layers.back().inputs);
        dense_into(layers.back(), rows, in, stride, layers.back().bias.data(), 0, finish);
    }
};

// Buffers of a tile's rows.
struct Scratch {
    int64_t columns;
    LineVector<Operand> operands;
    LineVector<Scalar> sums;
    Operand *a, *b, *x;
    Scalar* start;

    // Four of them, `columns` wide; zeros, so that rows past a short tile hold numbers.
    explicit Scratch(int64_t columns)
        : columns(columns), operands(3 * kTile * columns + 64, Operand(0)), sums(kTile * columns + 64, Scalar(0)) {
        a = operands.data(), b = a + kTile * columns, x = b + kTile * columns, start = sums.data();
    }
};
