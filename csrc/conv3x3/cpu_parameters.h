// What the 3x3 convolution says to its compiled variants.
#pragma once

#include "common/cpu/layers.h"

namespace vinr {

// Maps whose channels lie side by side; strides in numbers.
template <typename scalar_t>
struct ChannelsLast {
    scalar_t* data;  // null where there is none
    int64_t channels, image, row, pixel;

    scalar_t* at(int64_t n, int64_t y, int64_t x) const { return data + n * image + y * row + x * pixel; }
};

// out = activation(convolution of the maps, joined, + bias + add); the activation multiplies what is not positive by
// `slope`.
template <typename scalar_t>
struct Conv3x3Parameters {
    int64_t batch, height, width;
    int64_t first_row, last_row;  // what is computed of out
    int64_t inputs, outputs;      // channels
    std::vector<ChannelsLast<const scalar_t>> maps;
    const scalar_t* weight;  // [outputs, inputs, 3, 3], `weight_stride` numbers from an output's to the next
    int64_t weight_stride;
    const scalar_t* bias;  // [outputs], or null
    ChannelsLast<const scalar_t> add;
    scalar_t slope;
    ChannelsLast<scalar_t> out;
};

// The gradient of that convolution's weight, from those of its sums.
template <typename scalar_t>
struct Conv3x3WeightGradient {
    int64_t batch, height, width;
    int64_t inputs, outputs;
    std::vector<ChannelsLast<const scalar_t>> maps;
    ChannelsLast<const scalar_t> grad;
    scalar_t* weight;  // [outputs, inputs, 3, 3]
};

}  // namespace vinr
