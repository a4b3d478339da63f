// AVX-512 BF16: the operands of products are rounded to bfloat16.
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#define VINR_BFLOAT16
#include "isa/has_avx512.h"
#include "isa/isa.h"
#include "isa/target.h"

VINR_BEGIN_TARGET("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma")
namespace vinr::avx512_bf16 {

// clang-format off
#include "isa/simd_avx512.h"
#include "common/cpu/dense_bf16_kernel.h"
#define VINR_COMPILE_KERNELS
#include "isa/ops.h"
// clang-format on

}  // namespace vinr::avx512_bf16
VINR_END_TARGET

// On Intel's cores the instruction takes longer than the two of float32 that it stands for.
static bool multiplies_faster() { return !__builtin_cpu_is("intel"); }

static const vinr::Registered registered({"avx512_bf16", 30,
                                          [] { return vinr::has_avx512() && __builtin_cpu_supports("avx512bf16"); },
                                          nullptr, &vinr::avx512_bf16::kKernels, nullptr, multiplies_faster});
#endif
