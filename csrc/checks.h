// Argument checks shared by the ops. A message names the op, the argument, what was expected and what came.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

namespace vinr {

using torch::stable::Tensor;

template <typename Range>
std::string shape_string(const Range& shape) {
    std::ostringstream out;
    out << "[";
    const char* separator = "";
    for (const int64_t size : shape) {
        out << separator << size;
        separator = ", ";
    }
    out << "]";
    return out.str();
}

// `meaning` spells the expected shape in names, such as "[B, 2*G*K, H, W]".
inline void check_shape(const char* op, const char* name, const Tensor& tensor, const char* meaning,
                        const std::vector<int64_t>& expected) {
    const auto sizes = tensor.sizes();
    const bool same = sizes.size() == expected.size() && std::equal(expected.begin(), expected.end(), sizes.begin());
    STD_TORCH_CHECK(same, op, ": ", name, " must be ", meaning, " = ", shape_string(expected), ", got ",
                    shape_string(sizes));
}

inline void check_rank(const char* op, const char* name, const Tensor& tensor, const char* meaning, int64_t rank) {
    STD_TORCH_CHECK(tensor.dim() == rank, op, ": ", name, " must be ", meaning, ", got ", shape_string(tensor.sizes()));
}

inline void check_cpu(const char* op, const char* name, const Tensor& tensor) {
    STD_TORCH_CHECK(tensor.is_cpu(), op, ": ", name, " must be on the CPU, like input");
}

inline void check_same_dtype(const char* op, const char* name, const Tensor& tensor, const Tensor& like) {
    STD_TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), op, ": ", name, " must have the dtype of input");
}

}  // namespace vinr
