// The parameters of the phase-linear op on the CPU, plain numbers and pointers, between the op and its compiled
// variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

// One axis of the maps, and the output pixels along it.
struct PhaseAxis {
    int64_t inputs, outputs;
    int64_t phases, period;      // what repeats: so many output pixels in so many input pixels
    std::vector<int64_t> first;  // [inputs + 1]: the first output pixel in each input pixel; at the end, `outputs`
};

template <typename scalar_t>
struct PhaseLinearParameters {
    int64_t batch, channels, colours;
    PhaseAxis y, x;
    int64_t image_stride, row_stride, pixel_stride;
    const scalar_t* maps;  // [batch, y.inputs, x.inputs, channels] with these strides, a pixel's channels side by side
    const scalar_t* weights;  // [y.phases, x.phases, colours, channels]
    const scalar_t* base;     // like out, or null
    scalar_t* out;            // [batch, colours, y.outputs, x.outputs]
};

// What the backward pass reads and writes beside the parameters, of which it does not use base and out. Null where not
// wanted.
template <typename scalar_t>
struct PhaseLinearGradients {
    const scalar_t* grad_output;  // like out
    scalar_t* maps;               // [batch, y.inputs, x.inputs, channels]
    scalar_t* weights;            // like weights
};

}  // namespace vinr
