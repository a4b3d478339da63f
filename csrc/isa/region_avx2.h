// Opens a region of code that may use AVX2 and FMA, up to region_end.h; included after all other headers of a file,
// outside of namespaces, and without a guard. Flags for the whole file would leak into inline functions that the linker
// shares.

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
