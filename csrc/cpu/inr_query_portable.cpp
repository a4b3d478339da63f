// The query, compiled for any machine, in float.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/portable.h"
#include "cpu/inr_query.h"

namespace vinr::portable {

using Scalar = float;

// clang-format off
#include "cpu/simd_portable.h"
#include "common/bilinear.h"
#include "cpu/activation_kernel.h"
#include "cpu/dense_kernel.h"
#include "cpu/mlp_kernel.h"
#include "cpu/sample_kernel.h"
#include "cpu/inr_query_kernel.h"
#include "cpu/outer_kernel.h"
#include "cpu/mlp_backward_kernel.h"
#include "cpu/inr_query_backward_kernel.h"
// clang-format on

}  // namespace vinr::portable
