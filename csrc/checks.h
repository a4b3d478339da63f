// Argument checks shared by the ops. A message names the op, the argument, what was expected and what came.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace vinr {

using torch::headeronly::MemoryFormat;
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

// Its numbers; null of a tensor that is not given.
template <typename scalar_t>
scalar_t* numbers(const Tensor& t) {
    if constexpr (std::is_const_v<scalar_t>) {
        return static_cast<scalar_t*>(t.const_data_ptr());
    } else {
        return static_cast<scalar_t*>(t.mutable_data_ptr());
    }
}

template <typename scalar_t>
scalar_t* numbers(const std::optional<Tensor>& t) {
    return t ? numbers<scalar_t>(*t) : nullptr;
}

inline std::vector<int64_t> sizes_of(const Tensor& t) { return {t.sizes().begin(), t.sizes().end()}; }

// Of the dtype and on the device of a tensor.
inline Tensor new_empty(const Tensor& like, const std::vector<int64_t>& sizes, bool channels_last) {
    if (!channels_last) return torch::stable::new_empty(like, sizes);
    // Not a view of rows of channels: autograd forbids in-place operations on views that an op returns.
    return torch::stable::empty(sizes, like.scalar_type(), std::nullopt, like.device(), std::nullopt,
                                MemoryFormat::ChannelsLast);
}

inline std::vector<Tensor> all_contiguous(const std::vector<Tensor>& tensors) {
    std::vector<Tensor> out;
    for (const Tensor& t : tensors) out.push_back(torch::stable::contiguous(t));
    return out;
}

// Checks that a network's weights and biases, in turn, chain from `inputs` on, and returns the last layer's outputs.
inline int64_t check_layers(const char* op, const char* name, const std::vector<Tensor>& tensors, int64_t inputs,
                            const Tensor& like) {
    STD_TORCH_CHECK(tensors.size() % 2 == 0, op, ": ", name, " must hold weight and bias of each layer, got ",
                    tensors.size(), " tensors");
    for (size_t i = 0; i < tensors.size(); i += 2) {
        const Tensor &weight = tensors[i], &bias = tensors[i + 1];
        check_rank(op, name, weight, "[out, in]", 2);
        check_shape(op, name, weight, "[out, in]", {weight.size(0), inputs});
        check_shape(op, name, bias, "[out]", {weight.size(0)});
        for (const Tensor* t : {&weight, &bias}) check_same_dtype(op, name, *t, like);
        inputs = weight.size(0);
    }
    return inputs;
}

}  // namespace vinr
