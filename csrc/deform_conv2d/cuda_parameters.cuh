// The parameters of deform_conv2d on a GPU: plain numbers and pointers, no framework.
#pragma once

#include "common/cuda/types.cuh"
#include "deform_conv2d/shape.h"

namespace vinr::cuda::deform {

// Types of input, weight, bias and output, and how products are made; sums are float32.
enum class Precision {
    kHalf,
    kBFloat16,
    kTf32,     // float32, products with 10 bits of fraction
    kFloat32,  // float32, each product as three of TF32
};

// A [B, channels, oh, ow] tensor whose pixels lie evenly spaced in memory: NCHW, channels-last, or a slice of either.
// Strides are in elements.
struct Planes {
    const void* data = nullptr;
    int64_t image = 0, channel = 0, pixel = 0;
    bool is_float = false;  // float32, whatever the input is
};

struct Parameters {
    DeformConv2dShape shape;
    const void* input;                          // [B, H, W, C]
    Planes offset;                              // [B, 2*G*K, oh, ow]
    Planes mask;                                // [B, G*K, oh, ow]; null for ones
    bool logits;                                // the mask goes through a sigmoid first
    const void* weight;                         // [O, K, C/groups]
    const void* bias;                           // [O], or null
    void* output;                               // [B, O, oh, ow]
    int64_t out_image, out_channel, out_pixel;  // its strides, in elements
};

// Division of numbers from 0 to 2^31 - 1 by one that is known before the launch, as a multiplication: Granlund and
// Montgomery, "Division by Invariant Integers using Multiplication", PLDI 1994, theorem 4.2 with N = 31.
struct Divisor {
    uint32_t multiplier = 0;
    int shift = 0, value = 0;

    Divisor() = default;
    explicit Divisor(int divisor) : value(divisor) {
        int log = 0;  // rounded up
        while ((int64_t(1) << log) < divisor) ++log;
        shift = 31 + log;
        multiplier = uint32_t((uint64_t(1) << shift) / uint64_t(divisor) + 1);
    }
    VINR_HOST_DEVICE int quotient(int n) const { return int(uint64_t(uint32_t(n)) * multiplier >> shift); }
};

// Parameters as the kernels use them: with sizes that they would else divide again and again.
struct KernelParameters : Parameters {
    Divisor group_channels, offset_channels;  // input channels of a group, of an offset group
    Divisor kernel_width;
    int group_outputs;  // output channels of a group
    int taps, columns;  // columns: taps times channels of a group, what one sum runs over
    int height, width, dilation_y, dilation_x;
    bool whole_outputs;  // outputs may be written 16 bytes at a time

    explicit KernelParameters(const Parameters& p) : Parameters(p) {
        const DeformConv2dShape& s = p.shape;
        group_channels = Divisor(int(s.channels / s.groups));
        offset_channels = Divisor(int(s.channels / s.offset_groups));
        kernel_width = Divisor(int(s.kernel_width));
        group_outputs = int(s.out_channels / s.groups);
        taps = int(s.taps()), columns = group_channels.value * taps;
        height = int(s.height), width = int(s.width);
        dilation_y = int(s.dilation[0]), dilation_x = int(s.dilation[1]);
    }
};

// What the kernels ask of sizes: they hold coordinates in float32, and twice the channels times taps in 31 bits.
inline bool fits(const DeformConv2dShape& s) {
    const auto is_coordinate = [](int64_t n) { return n < (1 << 24); };
    return is_coordinate(s.height) && is_coordinate(s.width) && is_coordinate(s.out_height) &&
           is_coordinate(s.out_width) && s.channels * s.taps() < (int64_t(1) << 30) &&
           s.out_channels < (int64_t(1) << 30);
}

}  // namespace vinr::cuda::deform
