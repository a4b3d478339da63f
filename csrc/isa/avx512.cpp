// AVX-512: sixteen floats.
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "isa/has_avx512.h"
#include "isa/isa.h"
#include "isa/target.h"

VINR_BEGIN_TARGET("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
namespace vinr::avx512 {

// clang-format off
#include "isa/simd_avx512.h"
#include "common/cpu/dense_kernel.h"
#define VINR_COMPILE_KERNELS
#include "isa/ops.h"
// clang-format on

}  // namespace vinr::avx512
VINR_END_TARGET

static const vinr::Registered registered({"avx512", 20, vinr::has_avx512, &vinr::avx512::kKernels});
#endif
