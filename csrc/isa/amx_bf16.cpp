// AMX: the operands of products are rounded to bfloat16.
#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define VINR_AMX
#define VINR_BFLOAT16
#include "isa/has_avx512.h"
#include "isa/isa.h"
#include "isa/target.h"

VINR_BEGIN_TARGET("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma,amx-tile,amx-bf16")
namespace vinr::amx_bf16 {

// clang-format off
#include "isa/simd_avx512.h"
#include "common/cpu/dense_amx_kernel.h"
#define VINR_COMPILE_KERNELS
#include "isa/ops.h"
// clang-format on

}  // namespace vinr::amx_bf16
VINR_END_TARGET

// Linux hands out the tile registers only to processes that ask for them.
static bool amx_allowed() {
#if defined(__linux__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

static const vinr::Registered registered(
    {"amx_bf16", 40, [] { return vinr::has_avx512() && __builtin_cpu_supports("avx512bf16") && amx_allowed(); },
     nullptr, &vinr::amx_bf16::kKernels});
#endif
