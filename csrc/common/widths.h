// How layers' widths are padded, for every backend.
#pragma once

#include "common/portable.h"

namespace vinr {

constexpr int kWidthMultiple = 16;  // every layer width is padded to a multiple of this

template <typename Int>
VINR_HOST_DEVICE Int padded_width(Int n) {
    return (n + kWidthMultiple - 1) / kWidthMultiple * kWidthMultiple;
}

}  // namespace vinr
