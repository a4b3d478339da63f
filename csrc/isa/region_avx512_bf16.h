// Opens a region of code that may use AVX-512 BF16, up to region_end.h; included after all other headers of a file,
// outside of namespaces, and without a guard. Flags for the whole file would leak into inline functions that the linker
// shares.

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wuninitialized"  // falsely, in GCC 12's own header of AVX-512
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma")
#endif
