// The sampled MLP, compiled for AVX-512.
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
#include "sampled_mlp/cpu_parameters.h"

// Last: everything from here on, and nothing before, may use these instructions.
#include "isa/region_avx512.h"

namespace vinr::avx512 {

// clang-format off
#include "isa/simd_avx512.h"
#include "common/bilinear.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/dense_kernel.h"
#include "common/cpu/mlp_kernel.h"
#include "common/cpu/sample_kernel.h"
#include "sampled_mlp/cpu_forward.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/mlp_backward_kernel.h"
#include "sampled_mlp/cpu_backward.h"
// clang-format on

}  // namespace vinr::avx512

#include "isa/region_end.h"
#endif
