// The parameters of the projection of maps on the CPU, plain numbers and pointers, between the op and its compiled
// variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

// A map [batch, pixels, channels] of any strides.
template <typename scalar_t>
struct StridedMap {
    int64_t channels;
    int64_t image_stride, pixel_stride, channel_stride;
    const scalar_t* data;
};

template <typename scalar_t>
struct ProjectMapsParameters {
    int64_t batch, pixels;
    std::vector<StridedMap<scalar_t>> maps;
    int64_t inputs, outputs;  // inputs: the channels of all maps
    const scalar_t* weight;   // [outputs, inputs]
    scalar_t* out;            // [batch, pixels, outputs]
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Null where not wanted.
template <typename scalar_t>
struct ProjectMapsGradients {
    const scalar_t* grad_output;  // like out
    std::vector<scalar_t*> maps;  // one for each map, [batch, pixels, channels]
    scalar_t* weight;             // like weight
};

}  // namespace vinr
