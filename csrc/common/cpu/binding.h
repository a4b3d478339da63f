// Between the ops of dense layers and their compiled variants: layers out of tensor lists, the choice of a kernel, and
// torch's threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <vector>

#include "checks.h"
#include "common/cpu/layers.h"
#include "isa/variant.h"

namespace vinr {

inline void run_parallel(int64_t count, Body body, void* context) {
    torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { body(begin, end, context); });
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
        inputs = weight.size(0);
        views.push_back({weight.size(1), inputs, static_cast<const scalar_t*>(weight.const_data_ptr()),
                         static_cast<const scalar_t*>(bias.const_data_ptr())});
    }
    return views;
}

// call(zero, kernel) with a zero of the dtype, and the kernel of the variant in use.
template <typename Call, typename Double, typename Single>
void with_variant(bool is_double, Call&& call, Double portable64, Single portable, Single avx2, Single avx512) {
    if (is_double) return call(0.0, portable64);
    switch (chosen_variant()) {
        case Variant::kAmxBf16:
        case Variant::kAvx512Bf16:
        case Variant::kAvx512:
            return call(0.0f, avx512);
        case Variant::kAvx2:
            return call(0.0f, avx2);
        case Variant::kPortable:
            break;
    }
    call(0.0f, portable);
}

// Its last arguments.
#if defined(__x86_64__) && defined(__GNUC__)
#define VINR_VARIANTS(kernel) portable64::kernel, portable::kernel, avx2::kernel, avx512::kernel
#else
#define VINR_VARIANTS(kernel) portable64::kernel, portable::kernel, portable::kernel, portable::kernel
#endif

}  // namespace vinr
