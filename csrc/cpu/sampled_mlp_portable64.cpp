// The sampled MLP, compiled for any machine, in double.
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
#include "cpu/sampled_mlp.h"

namespace vinr::portable64 {

using Scalar = double;

// clang-format off
#include "cpu/simd_portable.h"
#include "common/bilinear.h"
#include "cpu/activation_kernel.h"
#include "cpu/dense_kernel.h"
#include "cpu/mlp_kernel.h"
#include "cpu/sample_kernel.h"
#include "cpu/sampled_mlp_kernel.h"
#include "cpu/outer_kernel.h"
#include "cpu/mlp_backward_kernel.h"
#include "cpu/sampled_mlp_backward_kernel.h"
// clang-format on

}  // namespace vinr::portable64
