// Deformable convolution, compiled for any machine, in float.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "cpu/deform_conv2d_parameters.h"

namespace vinr::portable {

using Scalar = float;

// clang-format off
#include "cpu/simd_portable.h"
#include "cpu/activation_kernel.h"
#include "cpu/dense_kernel.h"
#include "cpu/bfloat16_scalar.h"
#include "cpu/transpose_kernel.h"
#include "cpu/deform_conv2d_samples.h"
#include "cpu/deform_conv2d_kernel.h"
#include "cpu/outer_kernel.h"
#include "cpu/deform_conv2d_grad_kernel.h"
// clang-format on

}  // namespace vinr::portable
