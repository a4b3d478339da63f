// Binding of the query on the CPU: checks, and the choice of the compiled variant.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <string>
#include <tuple>

#include "checks.h"
#include "common/cpu/binding.h"
#include "inr_query/arguments.h"
#include "inr_query/cpu_parameters.h"
#include "isa/variant.h"
#include "operands.h"

namespace vinr {
namespace {

constexpr const char* kOp = "inr_query";

// An op's arguments, and what they say of its sizes.
struct Arguments : QueryTensors {
    std::vector<int64_t> lr_size, size;
    int64_t frame_upsample;
    double omega;

    bool is_double() const { return maps.scalar_type() == torch::headeronly::ScalarType::Double; }

    template <typename scalar_t>
    QueryParameters<scalar_t> parameters() const {
        QueryParameters<scalar_t> p{};
        p.batch = maps.size(0), p.times = times.size(0);
        p.map_height = maps.size(1), p.map_width = maps.size(2), p.map_channels = maps.size(3);
        p.lr_height = lr_size[0], p.lr_width = lr_size[1];
        p.height = size[0], p.width = size[1];
        p.upsample = frame_upsample;
        p.omega = scalar_t(omega);
        p.maps = static_cast<const scalar_t*>(maps.const_data_ptr());
        p.colours = colours ? static_cast<const scalar_t*>(colours->const_data_ptr()) : nullptr;
        p.time = static_cast<const scalar_t*>(times.const_data_ptr());
        const int64_t sampled = colours ? 6 : 0;
        p.feat = layer_views<scalar_t>(kOp, "feat", feat, 3, maps);
        p.flow = layer_views<scalar_t>(kOp, "flow", flow, p.features() + sampled + 1, maps);
        p.encode = layer_views<scalar_t>(kOp, "encode", encode, 2 * (p.features() + sampled) + 1, maps);
        return p;
    }

    Tensor empty(std::vector<int64_t> shape) const { return torch::stable::new_empty(maps, shape); }

    Tensor hr(int64_t features) const { return empty({size[0], size[1], padded_width(features)}); }
};

Arguments checked(const Tensor& maps, const std::optional<Tensor>& colours, const Tensor& times,
                  const std::vector<int64_t>& lr_size, const std::vector<int64_t>& size, int64_t frame_upsample,
                  const std::vector<Tensor>& feat, const std::vector<Tensor>& flow, const std::vector<Tensor>& encode,
                  double omega) {
    for (const Tensor* t : {&maps, &times}) check_cpu(kOp, "maps and times", *t);
    if (colours) check_cpu(kOp, "colours", *colours);
    const auto dtype = maps.scalar_type();
    STD_TORCH_CHECK(dtype == torch::headeronly::ScalarType::Float || dtype == torch::headeronly::ScalarType::Double,
                    kOp, ": maps must be float32 or float64 on the cpu backend");
    return {checked_query(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode), lr_size, size,
            frame_upsample, omega};
}

std::tuple<Tensor, Tensor> inr_query(const Tensor& maps, std::optional<Tensor> colours, const Tensor& times,
                                     std::vector<int64_t> lr_size, std::vector<int64_t> size, int64_t frame_upsample,
                                     std::vector<Tensor> feat, std::vector<Tensor> flow, std::vector<Tensor> encode,
                                     double omega, std::string operands) {
    const bool bfloat16 = operands_of(kOp, operands) == Operands::kBFloat16;
    const Arguments a = checked(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode, omega);
    std::tuple<Tensor, Tensor> result;
    const auto run = [&](auto zero, auto&& kernel) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        Tensor hr = a.hr(p.features());
        Tensor image = a.empty({p.batch, p.times, p.encode.back().outputs, p.height, p.width});
        Tensor flows = a.empty({p.batch, p.times, 4, p.height, p.width});
        p.hr = static_cast<scalar_t*>(hr.mutable_data_ptr());
        p.image = static_cast<scalar_t*>(image.mutable_data_ptr());
        p.flows = static_cast<scalar_t*>(flows.mutable_data_ptr());
        kernel(p, &run_parallel);
        result = {image, flows};
    };
    if (a.is_double()) {
        run(0.0, portable64::inr_query);
        return result;
    }
    switch (chosen_variant()) {
#if defined(__x86_64__) && defined(__GNUC__)
        case Variant::kAmxBf16:
            bfloat16 ? run(0.0f, amx_bf16::inr_query) : run(0.0f, avx512::inr_query);
            break;
        case Variant::kAvx512Bf16:
            bfloat16 ? run(0.0f, avx512_bf16::inr_query) : run(0.0f, avx512::inr_query);
            break;
        case Variant::kAvx512:
            run(0.0f, avx512::inr_query);
            break;
        case Variant::kAvx2:
            run(0.0f, avx2::inr_query);
            break;
#endif
        default:
            run(0.0f, portable::inr_query);
    }
    return result;
}

std::tuple<Tensor, Tensor, Tensor> inr_query_backward(const Tensor& grad_image, const Tensor& grad_flow,
                                                      const Tensor& maps, std::optional<Tensor> colours,
                                                      const Tensor& times, std::vector<int64_t> lr_size,
                                                      std::vector<int64_t> size, int64_t frame_upsample,
                                                      std::vector<Tensor> feat, std::vector<Tensor> flow,
                                                      std::vector<Tensor> encode, double omega, bool wants_colours,
                                                      std::string operands) {
    operands_of(kOp, operands);
    const Arguments a = checked(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode, omega);
    const int64_t outputs = a.encode.back().size(0);
    check_shape(kOp, "grad_image", grad_image, "[B, T, 3, H, W]",
                {maps.size(0), times.size(0), outputs, size[0], size[1]});
    check_shape(kOp, "grad_flow", grad_flow, "[B, T, 4, H, W]", {maps.size(0), times.size(0), 4, size[0], size[1]});
    for (const Tensor* t : {&grad_image, &grad_flow}) {
        check_cpu(kOp, "gradients", *t);
        check_same_dtype(kOp, "gradients", *t, maps);
    }
    const Tensor flat_image = torch::stable::contiguous(grad_image), flat_flow = torch::stable::contiguous(grad_flow);
    int64_t weights = 0;
    for (const auto* tensors : {&a.feat, &a.flow, &a.encode}) {
        for (const Tensor& t : *tensors) weights += t.numel();
    }
    wants_colours = wants_colours && colours.has_value();
    Tensor d_maps = torch::stable::new_zeros(a.maps, a.maps.sizes());
    Tensor d_colours = wants_colours ? torch::stable::new_zeros(*a.colours, a.colours->sizes()) : a.empty({0});
    Tensor d_weights = torch::stable::new_zeros(a.maps, {weights});
    const auto run = [&](auto zero, auto&& kernel) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        Tensor hr = a.hr(p.features());
        Tensor flows = a.empty({p.batch, p.times, 4, p.height, p.width});
        p.hr = static_cast<scalar_t*>(hr.mutable_data_ptr());
        p.flows = static_cast<scalar_t*>(flows.mutable_data_ptr());
        const QueryGradients<scalar_t> g{
            static_cast<const scalar_t*>(flat_image.const_data_ptr()),
            static_cast<const scalar_t*>(flat_flow.const_data_ptr()),
            static_cast<scalar_t*>(d_maps.mutable_data_ptr()),
            wants_colours ? static_cast<scalar_t*>(d_colours.mutable_data_ptr()) : nullptr,
            static_cast<scalar_t*>(d_weights.mutable_data_ptr()),
        };
        kernel(p, g, &run_parallel);
    };
    if (a.is_double()) {
        run(0.0, portable64::inr_query_backward);
        return {d_maps, d_colours, d_weights};
    }
    switch (chosen_variant()) {
#if defined(__x86_64__) && defined(__GNUC__)
        case Variant::kAmxBf16:
        case Variant::kAvx512Bf16:
        case Variant::kAvx512:
            run(0.0f, avx512::inr_query_backward);
            break;
        case Variant::kAvx2:
            run(0.0f, avx2::inr_query_backward);
            break;
#endif
        default:
            run(0.0f, portable::inr_query_backward);
    }
    return {d_maps, d_colours, d_weights};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("inr_query", TORCH_BOX(&vinr::inr_query));
    m.impl("inr_query_backward", TORCH_BOX(&vinr::inr_query_backward));
}
