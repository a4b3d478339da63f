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
#include "sampled_mlp/cpu_parameters.h"

namespace vinr::portable64 {

using Scalar = double;

// clang-format off
#include "isa/simd_portable.h"
#include "common/bilinear.h"
#include "common/cpu/activation_kernel.h"
#include "common/cpu/dense_kernel.h"
#include "common/cpu/mlp_kernel.h"
#include "common/cpu/sample_kernel.h"
#include "sampled_mlp/cpu_forward.h"
#include "common/cpu/outer_kernel.h"
#include "common/cpu/mlp_backward_kernel.h"
#include "sampled_mlp/cpu_backward.h"
// clang-format on

}  // namespace vinr::portable64
