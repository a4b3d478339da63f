// The projection of maps, compiled for AVX2 and FMA.
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
#include "project_maps/cpu_parameters.h"

// Last: everything from here on, and nothing before, may use these instructions.
#include "isa/region_avx2.h"

namespace vinr::avx2 {

// clang-format off
#include "isa/simd_avx2.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/dense_kernel.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/transpose_kernel.h"
#include "project_maps/cpu_kernel.h"
// clang-format on

}  // namespace vinr::avx2

#include "isa/region_end.h"
#endif
