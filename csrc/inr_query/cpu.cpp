// Binding of the query on the CPU.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <string>
#include <tuple>

#include "common/cpu/binding.h"
#include "inr_query/arguments.h"

namespace vinr {
namespace {

constexpr const char* kOp = "inr_query";

// An op's arguments, and what they say of its sizes.
struct Arguments : QueryTensors {
    std::vector<int64_t> lr_size, size;
    int64_t frame_upsample;
    double omega;

    template <typename scalar_t>
    QueryParameters<scalar_t> parameters() const {
        QueryParameters<scalar_t> p{};
        p.batch = maps.size(0), p.times = times.size(0);
        p.map_height = maps.size(1), p.map_width = maps.size(2), p.map_channels = maps.size(3);
        p.lr_height = lr_size[0], p.lr_width = lr_size[1];
        p.height = size[0], p.width = size[1];
        p.upsample = frame_upsample;
        p.omega = scalar_t(omega);
        p.maps = numbers<const scalar_t>(maps);
        p.colours = numbers<const scalar_t>(colours);
        p.time = numbers<const scalar_t>(times);
        const int64_t sampled = colours ? 6 : 0;
        p.feat = layer_views<scalar_t>(kOp, "feat", feat, 3, maps);
        p.flow = layer_views<scalar_t>(kOp, "flow", flow, p.features() + sampled + 1, maps);
        p.encode = layer_views<scalar_t>(kOp, "encode", encode, 2 * (p.features() + sampled) + 1, maps);
        return p;
    }

    Tensor empty(const std::vector<int64_t>& shape) const { return new_result(maps, shape); }

    Tensor hr(int64_t features) const { return empty({size[0], size[1], padded_width(features)}); }
};

Arguments checked(const Tensor& maps, const std::optional<Tensor>& colours, const Tensor& times,
                  const std::vector<int64_t>& lr_size, const std::vector<int64_t>& size, int64_t frame_upsample,
                  const std::vector<Tensor>& feat, const std::vector<Tensor>& flow, const std::vector<Tensor>& encode,
                  double omega) {
    for (const Tensor* t : {&maps, &times}) check_cpu(kOp, "maps and times", *t);
    if (colours) check_cpu(kOp, "colours", *colours);
    check_float32_or_float64(kOp, "maps", maps);
    return {checked_query(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode), lr_size, size,
            frame_upsample, omega};
}

std::tuple<Tensor, Tensor> inr_query(const Tensor& maps, std::optional<Tensor> colours, const Tensor& times,
                                     std::vector<int64_t> lr_size, std::vector<int64_t> size, int64_t frame_upsample,
                                     std::vector<Tensor> feat, std::vector<Tensor> flow, std::vector<Tensor> encode,
                                     double omega, std::string operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
    const Arguments a = checked(maps, colours, times, lr_size, size, frame_upsample, feat, flow, encode, omega);
    std::tuple<Tensor, Tensor> result;
    with_dtype(maps, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        Tensor hr = a.hr(p.features());
        Tensor image = a.empty({p.batch, p.times, p.encode.back().outputs, p.height, p.width});
        Tensor flows = a.empty({p.batch, p.times, 4, p.height, p.width});
        p.hr = numbers<scalar_t>(hr);
        p.image = numbers<scalar_t>(image);
        p.flows = numbers<scalar_t>(flows);
        run_kernel(&Kernels<scalar_t>::inr_query, bfloat16, p);
        result = {image, flows};
    });
    return result;
}

std::tuple<Tensor, Tensor, Tensor> inr_query_backward(const Tensor& grad_image, const Tensor& grad_flow,
                                                      const Tensor& maps, std::optional<Tensor> colours,
                                                      const Tensor& times, std::vector<int64_t> lr_size,
                                                      std::vector<int64_t> size, int64_t frame_upsample,
                                                      std::vector<Tensor> feat, std::vector<Tensor> flow,
                                                      std::vector<Tensor> encode, double omega, bool wants_colours,
                                                      std::string operands) {
    const bool bfloat16 = rounds_to_bfloat16(kOp, operands);
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
    with_dtype(maps, [&](auto zero) {
        using scalar_t = decltype(zero);
        auto p = a.parameters<scalar_t>();
        Tensor hr = a.hr(p.features());
        Tensor flows = a.empty({p.batch, p.times, 4, p.height, p.width});
        p.hr = numbers<scalar_t>(hr);
        p.flows = numbers<scalar_t>(flows);
        const QueryGradients<scalar_t> g{
            numbers<const scalar_t>(flat_image), numbers<const scalar_t>(flat_flow),
            numbers<scalar_t>(d_maps),           wants_colours ? numbers<scalar_t>(d_colours) : nullptr,
            numbers<scalar_t>(d_weights),
        };
        run_kernel(&Kernels<scalar_t>::inr_query_backward, bfloat16, p, g);
    });
    return {d_maps, d_colours, d_weights};
}

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_FRAGMENT(vinr, m) {
    // The query on hoisted maps: colour [B, T, 3, H, W] and flow [B, T, 4, H, W]. feat, flow and encode hold weight and
    // bias of each layer in turn, the first layer's columns without those that were hoisted. Sums, phases and flow are
    // of the dtype of the maps, whatever the operands.
    m.def(
        "inr_query(Tensor maps, Tensor? colours, Tensor times, int[2] lr_size, int[2] size, int frame_upsample, "
        "Tensor[] feat, Tensor[] flow, Tensor[] encode, float omega, str operands) "
        "-> (Tensor, Tensor)");
    // Gradients of maps, of colours (empty where not wanted or not given), and of all weights and biases, flat, in the
    // order of feat, flow, encode.
    m.def(
        "inr_query_backward(Tensor grad_image, Tensor grad_flow, Tensor maps, Tensor? colours, Tensor times, "
        "int[2] lr_size, int[2] size, int frame_upsample, Tensor[] feat, Tensor[] flow, Tensor[] encode, float omega, "
        "bool wants_colours, str operands) -> (Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) {
    m.impl("inr_query", TORCH_BOX(&vinr::inr_query));
    m.impl("inr_query_backward", TORCH_BOX(&vinr::inr_query_backward));
}
