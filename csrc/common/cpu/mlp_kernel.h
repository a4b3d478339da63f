// A network over a tile of pixels; included inside a variant's namespace, after one of the dense kernels.
#pragma once

#include "common/cpu/activation_kernel.h"

// The layers of one network after its first, packed once a call.
template <Activation kActivation>
struct PackedTail {
    std::vector<PackedLayer> layers;
    Scalar omega;

    PackedTail(const std::vector<LayerView<Scalar>>& views, Scalar omega) : omega(omega) {
        for (size_t i = 1; i < views.size(); ++i) layers.push_back(pack_layer(views[i], 0, views[i].inputs));
    }

    // in [rows, *], already activated -> the last layer's output, in one of the two buffers of `stride` columns.
    Scalar* run(int64_t rows, Scalar* in, Scalar* other, int64_t stride) const {
        for (size_t i = 0; i + 1 < layers.size(); ++i, std::swap(in, other)) {
            dense<kActivation>(layers[i], rows, in, stride, layers[i].bias.data(), 0, other, stride, omega);
        }
        dense<Activation::kNone>(layers.back(), rows, in, stride, layers.back().bias.data(), 0, other, stride, omega);
        return other;
    }
};

// Buffers of a tile's rows.
struct Scratch {
    int64_t columns;
    LineVector<Scalar> storage;
    Scalar *a, *b, *x, *start;

    // Four of them, `columns` wide; zeros, so that rows past a short tile hold numbers.
    explicit Scratch(int64_t columns) : columns(columns), storage(4 * kTile * columns + 64, Scalar(0)) {
        Scalar* base = storage.data();
        a = base, b = a + kTile * columns, x = b + kTile * columns, start = x + kTile * columns;
    }
};
