// The projection of maps, compiled for any machine, in double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/portable.h"
#include "project_maps/cpu_parameters.h"

namespace vinr::portable64 {

using Scalar = double;

// clang-format off
#include "isa/simd_portable.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/dense_kernel.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/transpose_kernel.h"
#include "project_maps/cpu_kernel.h"
// clang-format on

}  // namespace vinr::portable64
