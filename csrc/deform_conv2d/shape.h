// The sizes of deform_conv2d, for every backend.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace vinr {

struct DeformConv2dShape {
    int64_t batch, channels, height, width;             // input
    int64_t out_channels, kernel_height, kernel_width;  // weight
    int64_t out_height, out_width;                      // output
    int64_t groups, offset_groups;
    int64_t stride[2], padding[2], dilation[2];  // y, x

    VINR_HOST_DEVICE int64_t taps() const { return kernel_height * kernel_width; }
    VINR_HOST_DEVICE int64_t pixels() const { return height * width; }
    VINR_HOST_DEVICE int64_t out_pixels() const { return out_height * out_width; }
};

}  // namespace vinr
