// The query, compiled for AVX2 and FMA.
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/portable.h"
#include "inr_query/cpu_parameters.h"

// Last: everything from here on, and nothing before, may use these instructions.
#include "isa/region_avx2.h"

namespace vinr::avx2 {

// clang-format off
#include "isa/simd_avx2.h"
#include "common/bilinear.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/dense_kernel.h"
#include "common/cpu/mlp_kernel.h"
#include "common/cpu/sample_kernel.h"
#include "inr_query/cpu_forward.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/mlp_backward_kernel.h"
#include "inr_query/cpu_backward.h"
// clang-format on

}  // namespace vinr::avx2

#include "isa/region_end.h"
#endif
