// VINR_BEGIN_TARGET("avx2,fma") opens a region of code that may use these instructions, up to VINR_END_TARGET: after
// all headers but those that kernels are in, and outside of namespaces. Flags for the whole file would leak into inline
// functions that the linker shares.
#pragma once

#define VINR_PRAGMA(...) _Pragma(#__VA_ARGS__)

#if defined(__clang__)
#define VINR_BEGIN_TARGET(names) VINR_PRAGMA(clang attribute push(__attribute__((target(names))), apply_to = function))
#define VINR_END_TARGET VINR_PRAGMA(clang attribute pop)
#else
// The warnings are false ones, in GCC 12's own header of AVX-512.
#define VINR_BEGIN_TARGET(names)                                \
    VINR_PRAGMA(GCC diagnostic ignored "-Wuninitialized")       \
    VINR_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized") \
    VINR_PRAGMA(GCC push_options)                               \
    VINR_PRAGMA(GCC target(names))
#define VINR_END_TARGET VINR_PRAGMA(GCC pop_options)
#endif
