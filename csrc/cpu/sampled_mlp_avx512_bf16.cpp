// The sampled MLP, compiled for AVX-512 BF16: the operands of products are rounded to bfloat16. Forward only.
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
#include "cpu/sampled_mlp.h"

// Last: everything from here on, and nothing before, may use these instructions.
#include "cpu/region_avx512_bf16.h"

namespace vinr::avx512_bf16 {

// clang-format off
#include "cpu/simd_avx512.h"
#include "common/bilinear.h"
#include "cpu/activation_kernel.h"
#include "cpu/bfloat16.h"
#include "cpu/dense_bf16_kernel.h"
#include "cpu/mlp_kernel.h"
#include "cpu/sample_kernel.h"
#include "cpu/sampled_mlp_kernel.h"
// clang-format on

}  // namespace vinr::avx512_bf16

#include "cpu/region_end.h"
#endif
