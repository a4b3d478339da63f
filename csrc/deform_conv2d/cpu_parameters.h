// The parameters of deform_conv2d on the CPU, plain numbers and pointers, between the op and its compiled variants.
#pragma once

#include <cstdint>

#include "common/cpu/layers.h"
#include "deform_conv2d/shape.h"

namespace vinr {

// A [B, channels, H, W] tensor whose pixels lie evenly spaced in memory: NCHW, channels-last, or a slice of either.
template <typename scalar_t>
struct Planes {
    scalar_t* data;                 // may be null
    int64_t image, channel, pixel;  // strides

    scalar_t* at(int64_t b, int64_t c, int64_t p) const { return data + b * image + c * channel + p * pixel; }
};

template <typename scalar_t>
struct DeformInputs {
    DeformConv2dShape shape;
    Planes<const scalar_t> input;   // [B, C, H, W]
    Planes<const scalar_t> offset;  // [B, 2*G*K, oh, ow]
    Planes<const scalar_t> mask;    // [B, G*K, oh, ow]; null for ones
    bool logits;                    // the mask goes through a sigmoid first
    const scalar_t* weight;         // [O, C/groups, K]
};

// Output pixels [first, last) of one image, row by row.
struct Window {
    int64_t image, first, last;
};

template <typename scalar_t>
struct DeformForward {
    DeformInputs<scalar_t> in;
    const scalar_t* bias;     // [O], or null
    Planes<scalar_t> output;  // [B, O, oh, ow]
    scalar_t* bordered;       // [bordered_size(shape)], room for a copy of the input; or null, to read it in place
    bool copied;              // bordered holds that copy already
    Window window;            // what is computed; where it is empty, all
    // In place of input and output where those are bfloat16; the input is copied then.
    Planes<const uint16_t> low_input;
    Planes<uint16_t> low_output;
};

// Gradients are null where they are not wanted.
template <typename scalar_t>
struct DeformBackward {
    DeformInputs<scalar_t> in;
    const scalar_t* grad_output;   // [B, oh, ow, O]
    scalar_t* grad_input;          // [B, H, W, C], zeros
    Planes<scalar_t> grad_offset;  // [B, 2*G*K, oh, ow]
    Planes<scalar_t> grad_mask;    // [B, G*K, oh, ow]; of the logits where `logits`
    scalar_t* grad_weight;         // [O, C/groups, K]
    scalar_t* grad_bias;           // [O]
};

// The fast kernels count an image's pixels in 32 bits and hold coordinates in float32.
inline bool fits_fast_kernels(const DeformConv2dShape& s) {
    const auto fits = [](int64_t h, int64_t w) {
        return h < (1 << 24) && w < (1 << 24) && (h + 2) * (w + 1) < (int64_t(1) << 31);
    };
    return fits(s.height, s.width) && fits(s.out_height, s.out_width);
}

// Numbers that the forward pass's copy of the input takes: images with a border of zeros.
inline int64_t bordered_size(const DeformConv2dShape& s) {
    return s.batch * s.channels * ((s.height + 2) * (s.width + 1) + 2);
}

}  // namespace vinr
