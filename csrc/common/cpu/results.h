// New tensors for what the CPU's ops return. Large ones take the memory that earlier ones left: a system hands out new
// memory page by page, which at 640x360 takes half as long as a convolution, and the heap keeps no block above 32 MB.
#pragma once

#include "checks.h"

namespace vinr {

// `new_empty` for tensors on the CPU.
Tensor new_result(const Tensor& like, const std::vector<int64_t>& sizes, bool channels_last = false);

}  // namespace vinr
