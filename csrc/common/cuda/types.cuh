// Types and macros of device code: what it needs before any primitive, with no framework and no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/portable.h"

#if defined(__CUDACC__)
#define VINR_DEVICE __device__ __forceinline__
// A kernel of at most `threads` threads a block, of which `blocks` must fit a multiprocessor.
#define VINR_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define VINR_UNROLL _Pragma("unroll")
#define VINR_NO_UNROLL _Pragma("unroll 1")
#else
#define VINR_DEVICE inline
#define VINR_KERNEL(threads, blocks) void
#define VINR_UNROLL
#define VINR_NO_UNROLL
#endif

namespace vinr::cuda {

// 16-bit floating-point numbers in memory; arithmetic is in float.
struct Half {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

// What one thread moves at once: 16 bytes. Its address must be a multiple of 16.
struct alignas(16) Words4 {
    uint32_t word[4];
};

struct Grid {
    unsigned x = 1, y = 1, z = 1;
};

constexpr int kWarp = 32;

}  // namespace vinr::cuda
