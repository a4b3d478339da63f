// The parameters of the Fourier field on the CPU, plain numbers and pointers, between the op and its compiled variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

// One axis of the input pixels, or of a band of them, and the output pixels along it.
struct FieldAxis {
    int64_t inputs, outputs;
    int64_t period, start;       // input pixels after which offsets repeat; the first one's place in a period
    std::vector<int64_t> first;  // [inputs + 1]: the first output pixel in each input pixel; at the end, `outputs`
    std::vector<double> offset;  // [outputs]: from the centre of the input pixel, in input pixels
};

// Frames that are looked at with the same offsets of time.
struct FieldTimes {
    std::vector<int64_t> frames;
    std::vector<double> offset;   // in frames
    std::vector<int64_t> output;  // [frames, offsets]: which output it is
};

template <typename scalar_t>
struct FourierFieldParameters {
    int64_t frames, functions, colours, axes;
    FieldAxis y, x;
    std::vector<FieldTimes> times;
    const scalar_t* frequencies;  // [axes, functions]: y, x and, of three, time; radians
    const scalar_t* damping;      // [functions]
    // Each pixel's own [functions, colours] and [functions], so many numbers apart from the next one's; or, where
    // weight is not null, a linear layer gives both:
    const scalar_t *amplitude, *phase;
    int64_t amplitude_stride, phase_stride;
    int64_t channels;
    const scalar_t* encoding;  // [frames, y.inputs, x.inputs, channels]
    const scalar_t* weight;    // [functions * colours + functions, channels]
    const scalar_t* bias;      // [functions * colours + functions]
    const scalar_t* base;      // [frames, y.inputs, x.inputs, colours], added to each pixel's outputs; may be null
    scalar_t* out;             // [outputs, y.outputs, x.outputs, colours]
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Null where not wanted.
template <typename scalar_t>
struct FourierFieldGradients {
    const scalar_t* grad_output;  // like out
    scalar_t *amplitude, *phase;  // [pixels, functions, colours], [pixels, functions]
    scalar_t *frequencies, *damping;
    scalar_t* offset;  // [outputs]
};

}  // namespace vinr
