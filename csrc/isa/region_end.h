// Closes the region that a region_*.h opened.

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
