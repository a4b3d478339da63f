// The parameters of the sampled MLP on the CPU, plain numbers and pointers, between the op and its compiled variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

template <typename scalar_t>
struct SampledMap {
    int64_t height, width;
    bool nearest;               // bilinear where false
    const scalar_t* map;        // [batch, height, width, padded width of the first layer]
    const scalar_t* positions;  // [batch, points, 2]
};

template <typename scalar_t>
struct SampledMlpParameters {
    int64_t batch, points;
    std::vector<SampledMap<scalar_t>> maps;
    const scalar_t* x;                        // [batch, points, inputs of the first layer]; null for no inputs
    std::vector<LayerView<scalar_t>> layers;  // the first one with what is not hoisted
    Activation activation;
    scalar_t omega;
    scalar_t* out;  // [batch, points, outputs of the last layer]
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Empty or null where not
// wanted.
template <typename scalar_t>
struct SampledMlpGradients {
    const scalar_t* grad_output;       // like out
    std::vector<scalar_t*> maps;       // like each map, zeros before
    std::vector<scalar_t*> positions;  // like those of each map
    scalar_t* x;                       // like x
    scalar_t* weights;                 // weight and bias of each layer in turn, zeros before
};

}  // namespace vinr
