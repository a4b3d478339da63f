// The parameters of local correlation on the CPU, plain numbers and pointers, between the op and its compiled variants.
#pragma once

#include <cstdint>
#include <vector>

#include "common/cpu/layers.h"

namespace vinr {

template <typename scalar_t>
struct LocalCorrelationParameters {
    int64_t batch, height, width, channels, radius;
    const scalar_t *first, *second;  // [batch, height, width, channels]
    // [batch, 2 radius + 1]: of a displacement along one axis, the pixels that it goes back in the first map. The rest
    // it goes ahead in the second.
    std::vector<int64_t> back;
    scalar_t* out;  // [batch, height, width, (2 radius + 1)^2]
};

// What the backward pass reads and writes beside the parameters, of which it does not use out. Null where not wanted.
template <typename scalar_t>
struct LocalCorrelationGradients {
    const scalar_t* grad_output;  // like out
    scalar_t *first, *second;     // like the maps
};

}  // namespace vinr
