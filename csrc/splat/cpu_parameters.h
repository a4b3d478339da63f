// The parameters of forward splatting on the CPU, plain numbers and pointers, between the ops and their compiled
// variants.
#pragma once

#include <cstdint>

#include "common/cpu/layers.h"

namespace vinr {

// What a sum is divided by, of the sum of weights D: nothing; D + 1e-7; D, or 1 where it is 0; the larger of D and
// 1e-7.
enum class SplatEnding { kNone, kAdd, kZero, kClip };

template <typename scalar_t>
struct SplatParameters {
    int64_t batch, height, width, channels;
    bool channels_last;  // x, and what is like it, is [batch, height, width, channels]; else channels come second
    bool exponential;    // a source weighs exp(weight), and 1e-7 is relative to the largest exponential of a pixel
    SplatEnding ending;
    const scalar_t* x;
    const scalar_t* flow;                 // [batch, 2, height, width]
    const scalar_t* weight;               // [batch, height, width]; null where each source weighs 1
    scalar_t* turned;                     // forward alone: room for x with its channels last, where they are not
    scalar_t* out;                        // like x
    scalar_t *denominator, *count, *max;  // [batch, height, width], of undivided sums; null where not wanted
    // [batch, 3, height, width], of divided ones: the divisor's reciprocal; the largest exponent, that all are relative
    // to; whether the divisor depends on the weights.
    scalar_t* norm;
};

// What the backward pass reads and writes beside the parameters that are not of the forward pass alone.
template <typename scalar_t>
struct SplatGradients {
    const scalar_t* grad_output;       // like x
    const scalar_t* grad_denominator;  // [batch, height, width], of undivided sums
    const scalar_t *out, *norm;        // of divided ones, as the forward pass gave them
    scalar_t* turned;                  // room for grad_output with its channels last, where they are not
    scalar_t* pull;                    // room for [batch, height, width], of divided ones
    scalar_t *x, *flow, *weight;       // null where not wanted
};

}  // namespace vinr
