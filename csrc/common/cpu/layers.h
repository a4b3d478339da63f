// What the CPU ops of dense layers say to their compiled variants: plain numbers and pointers.
#pragma once

#include <cstdint>

#include "common/widths.h"

namespace vinr {

enum class Activation { kNone, kSine, kRelu, kGelu };

// One linear layer as torch keeps it.
template <typename scalar_t>
struct LayerView {
    int64_t inputs, outputs;
    const scalar_t* weight;  // [outputs, inputs]
    const scalar_t* bias;    // [outputs]
};

// parallel_for of torch, handed in so that the kernels include nothing of it: code compiled for one instruction set
// must not emit inline functions that the linker may pick for the whole library.
using Body = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = void (*)(int64_t count, Body body, void* context);

}  // namespace vinr
