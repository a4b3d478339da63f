// Deformable convolution, compiled for any machine, in float.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "deform_conv2d/cpu_parameters.h"

namespace vinr::portable {

using Scalar = float;

// clang-format off
#include "isa/simd_portable.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/dense_kernel.h"
#include "common/cpu/bfloat16_scalar.h"
#include "common/cpu/transpose_kernel.h"
#include "deform_conv2d/cpu_samples.h"
#include "deform_conv2d/cpu_forward.h"
#include "common/cpu/outer_kernel.h"
#include "deform_conv2d/cpu_backward.h"
// clang-format on

}  // namespace vinr::portable
