// The projection of maps, compiled for AVX-512.
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/portable.h"
#include "cpu/project_maps.h"

// Last: everything from here on, and nothing before, may use these instructions.
#include "cpu/region_avx512.h"

namespace vinr::avx512 {

// clang-format off
#include "cpu/simd_avx512.h"
#include "cpu/activation_kernel.h"
#include "cpu/dense_kernel.h"
#include "cpu/outer_kernel.h"
#include "cpu/transpose_kernel.h"
#include "cpu/project_maps_kernel.h"
// clang-format on

}  // namespace vinr::avx512

#include "cpu/region_end.h"
#endif
