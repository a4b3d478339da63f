// The projection of maps, compiled for any machine, in double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/portable.h"
#include "cpu/project_maps.h"

namespace vinr::portable64 {

using Scalar = double;

// clang-format off
#include "cpu/simd_portable.h"
#include "cpu/activation_kernel.h"
#include "cpu/dense_kernel.h"
#include "cpu/outer_kernel.h"
#include "cpu/transpose_kernel.h"
#include "cpu/project_maps_kernel.h"
// clang-format on

}  // namespace vinr::portable64
