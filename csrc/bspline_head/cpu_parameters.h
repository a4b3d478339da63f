// The parameters of the head of B-splines on the CPU, plain numbers and pointers, between the op and its compiled
// variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

// [batch, pixels, splines], the splines of a pixel side by side.
template <typename scalar_t>
struct SplineRows {
    int64_t image_stride, pixel_stride;
    const scalar_t* data;
};

template <typename scalar_t>
struct BsplineHeadParameters {
    int64_t times, batch, pixels, splines, outputs;
    SplineRows<scalar_t> coef, knot;
    const scalar_t* dilation;  // [splines]
    const scalar_t* t;         // [times, batch]
    const scalar_t* weight;    // [outputs, splines]
    const scalar_t* bias;      // [outputs], or null
    scalar_t* out;             // [times, batch, pixels, outputs]
};

// What the backward pass reads and writes beside the parameters, of which it does not use bias and out. Null where not
// wanted.
template <typename scalar_t>
struct BsplineHeadGradients {
    const scalar_t* grad_output;             // like out
    scalar_t *coef, *knot;                   // [batch, pixels, splines]
    scalar_t *dilation, *t, *weight, *bias;  // like the parameters
};

}  // namespace vinr
