// Deformable convolution on the CPU in plain loops, for every floating-point type and size.
#pragma once

#include "deform_conv2d/shape.h"

namespace vinr {

template <typename scalar_t>
struct PlainArrays {
    const scalar_t* input;   // [B, C, H, W]
    const scalar_t* offset;  // [B, G, K, 2, oh, ow]
    const scalar_t* weight;  // [O, C/groups, K]
    const scalar_t* mask;    // [B, G, K, oh, ow] or null
};

// Zeros, to which the gradients are added; null where they are not wanted.
template <typename scalar_t>
struct PlainGradients {
    scalar_t *input, *offset, *weight, *bias, *mask;
};

template <typename scalar_t>
void plain_forward(const DeformConv2dShape& s, const PlainArrays<scalar_t>& arrays, const scalar_t* bias,
                   scalar_t* output);

template <typename scalar_t>
void plain_backward(const DeformConv2dShape& s, const PlainArrays<scalar_t>& arrays, const scalar_t* grad_output,
                    const PlainGradients<scalar_t>& gradients);

}  // namespace vinr
