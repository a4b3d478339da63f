// Any machine, in float.
#include "isa/isa.h"

namespace vinr::portable {

using Scalar = float;

// clang-format off
#include "isa/simd_portable.h"
#include "common/cpu/dense_kernel.h"
#define VINR_COMPILE_KERNELS
#include "isa/ops.h"
// clang-format on

}  // namespace vinr::portable

static const vinr::Registered registered({"portable", 0, [] { return true; }, &vinr::portable::kKernels});
