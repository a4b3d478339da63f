// The query, compiled for AMX: the operands of products are rounded to bfloat16. Forward only.
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
#include "cpu/inr_query.h"

// Everything from here on, and nothing before, may use these instructions.
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // falsely, in GCC 12's own header of AVX-512
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__clang__)
#pragma clang attribute push(                                                                            \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
#endif

namespace vinr::amx_bf16 {

// clang-format off
#include "cpu/simd_avx512.h"
#include "common/bilinear.h"
#include "cpu/activation_kernel.h"
#include "cpu/bfloat16.h"
#include "cpu/dense_amx_kernel.h"
#include "cpu/mlp_kernel.h"
#include "cpu/sample_kernel.h"
#include "cpu/inr_query_kernel.h"
// clang-format on

}  // namespace vinr::amx_bf16

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
