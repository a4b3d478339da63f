// Between the CPU's ops and their kernels: dtypes, layers out of tensor lists, and torch's threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <string>
#include <vector>

#include "common/cpu/results.h"
#include "isa/isa.h"
#include "operands.h"

namespace vinr {

inline void run_parallel(int64_t count, Body body, void* context) {
    torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { body(begin, end, context); });
}

inline bool rounds_to_bfloat16(const char* op, const std::string& operands) {
    return operands_of(op, operands) == Operands::kBFloat16;
}

inline bool is_float32_or_float64(const Tensor& t) {
    using torch::headeronly::ScalarType;
    return t.scalar_type() == ScalarType::Float || t.scalar_type() == ScalarType::Double;
}

inline void check_float32_or_float64(const char* op, const char* name, const Tensor& t) {
    STD_TORCH_CHECK(is_float32_or_float64(t), op, ": ", name, " must be float32 or float64 on the cpu backend");
}

inline void check_float32(const char* op, const char* name, const Tensor& t) {
    STD_TORCH_CHECK(t.scalar_type() == torch::headeronly::ScalarType::Float, op, ": ", name, " must be float32");
}

// run(zero) with a zero of the tensor's dtype, one of those two.
template <typename Run>
void with_dtype(const Tensor& t, Run&& run) {
    t.scalar_type() == torch::headeronly::ScalarType::Double ? run(0.0) : run(0.0f);
}

// Runs the best kernel, on torch's threads.
template <typename scalar_t, typename Kernel, typename... Parameters>
void run_kernel(Kernel Kernels<scalar_t>::* entry, bool bfloat16, const Parameters&... parameters) {
    best_kernel(entry, bfloat16)(parameters..., &run_parallel);
}

// Weights and biases of one network in turn, contiguous; `inputs` of the first layer.
template <typename scalar_t>
std::vector<LayerView<scalar_t>> layer_views(const char* op, const char* name, const std::vector<Tensor>& tensors,
                                             int64_t inputs, const Tensor& like) {
    check_layers(op, name, tensors, inputs, like);
    std::vector<LayerView<scalar_t>> views;
    for (size_t i = 0; i < tensors.size(); i += 2) {
        const Tensor &weight = tensors[i], &bias = tensors[i + 1];
        for (const Tensor* t : {&weight, &bias}) {
            check_cpu(op, name, *t);
            STD_TORCH_CHECK(t->is_contiguous(), op, ": ", name, " must be contiguous");
        }
        views.push_back(
            {weight.size(1), weight.size(0), numbers<const scalar_t>(weight), numbers<const scalar_t>(bias)});
    }
    return views;
}

}  // namespace vinr
