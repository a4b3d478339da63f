// Any machine, in double.
#define VINR_FLOAT64
#include "isa/isa.h"

namespace vinr::portable64 {

using Scalar = double;

// clang-format off
#include "isa/simd_portable.h"
#include "common/cpu/dense_kernel.h"
#define VINR_COMPILE_KERNELS
#include "isa/ops.h"
// clang-format on

}  // namespace vinr::portable64

static const vinr::Registered registered({"portable", 0, [] { return true; }, nullptr, nullptr,
                                          &vinr::portable64::kKernels});
