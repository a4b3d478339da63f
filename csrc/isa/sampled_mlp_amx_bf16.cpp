// The sampled MLP, compiled for AMX: the operands of products are rounded to bfloat16. Forward only.
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
#include "isa/region_amx_bf16.h"

namespace vinr::amx_bf16 {

// clang-format off
#include "isa/simd_avx512.h"
#include "common/bilinear.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/bfloat16.h"
#include "common/cpu/dense_amx_kernel.h"
#include "common/cpu/mlp_kernel.h"
#include "common/cpu/sample_kernel.h"
#include "sampled_mlp/cpu_forward.h"
// clang-format on

}  // namespace vinr::amx_bf16

#include "isa/region_end.h"
#endif
