// Binding of the query on the CPU: checks, and the choice of the compiled variant.
#include "cpu/inr_query.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <tuple>

#include "checks.h"
#include "cpu/variant.h"

namespace vinr {
namespace {

constexpr const char* kOp = "inr_query";

void run_parallel(int64_t count, Body body, void* context) {
    torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { body(begin, end, context); });
}

// Weights and biases of one network in turn, contiguous; `inputs` of the first layer.
template <typename scalar_t>
std::vector<LayerView<scalar_t>> layer_views(const char* name, const std::vector<Tensor>& tensors, int64_t inputs,
                                             const Tensor& like) {
    STD_TORCH_CHECK(tensors.size() >= 4 && tensors.size() % 2 == 0, kOp, ": ", name,
                    " must hold weight and bias of at least two layers, got ", tensors.size(), " tensors");
    std::vector<LayerView<scalar_t>> views;
    for (size_t i = 0; i < tensors.size(); i += 2) {
        const Tensor &weight = tensors[i], &bias = tensors[i + 1];
        check_rank(kOp, name, weight, "[out, in]", 2);
        check_shape(kOp, name, weight, "[out, in]", {weight.size(0), inputs});
        check_shape(kOp, name, bias, "[out]", {weight.size(0)});
        for (const Tensor* t : {&weight, &bias}) {
            check_cpu(kOp, name, *t);
            check_same_dtype(kOp, name, *t, like);
            STD_TORCH_CHECK(t->is_contiguous(), kOp, ": ", name, " must be contiguous");
        }
        inputs = weight.size(0);
        views.push_back({weight.size(1), inputs, static_cast<const scalar_t*>(weight.const_data_ptr()),
                         static_cast<const scalar_t*>(bias.const_data_ptr())});
    }
    return views;
}

std::vector<Tensor> contiguous(const std::vector<Tensor>& tensors) {
    std::vector<Tensor> out;
    for (const Tensor& t : tensors) out.push_back(torch::stable::contiguous(t));
    return out;
}

std::tuple<Tensor, Tensor> inr_query(const Tensor& maps_in, std::optional<Tensor> colours_in, const Tensor& times_in,
                                     std::vector<int64_t> lr_size, std::vector<int64_t> size, int64_t frame_upsample,
                                     std::vector<Tensor> feat_in, std::vector<Tensor> flow_in,
                                     std::vector<Tensor> encode_in, double omega) {
    check_rank(kOp, "maps", maps_in, "[B, h, w, C]", 4);
    check_rank(kOp, "times", times_in, "[T, B]", 2);
    check_shape(kOp, "times", times_in, "[T, B]", {times_in.size(0), maps_in.size(0)});
    for (const Tensor* t : {&maps_in, &times_in}) check_cpu(kOp, "maps and times", *t);
    check_same_dtype(kOp, "times", times_in, maps_in);
    STD_TORCH_CHECK(lr_size.size() == 2 && lr_size[0] > 0 && lr_size[1] > 0 && lr_size[0] <= maps_in.size(1) &&
                        lr_size[1] <= maps_in.size(2),
                    kOp, ": lr_size must lie within maps ", shape_string(maps_in.sizes()), ", got ",
                    shape_string(lr_size));
    STD_TORCH_CHECK(size.size() == 2 && size[0] > 0 && size[1] > 0, kOp, ": size must be positive, got ",
                    shape_string(size));
    STD_TORCH_CHECK(frame_upsample >= 1, kOp, ": frame_upsample must be positive, got ", frame_upsample);
    if (colours_in) {
        check_shape(kOp, "colours", *colours_in, "[B, u h, u w, 8]",
                    {maps_in.size(0), frame_upsample * maps_in.size(1), frame_upsample * maps_in.size(2), 8});
        check_cpu(kOp, "colours", *colours_in);
        check_same_dtype(kOp, "colours", *colours_in, maps_in);
    }
    const auto dtype = maps_in.scalar_type();
    STD_TORCH_CHECK(dtype == torch::headeronly::ScalarType::Float || dtype == torch::headeronly::ScalarType::Double,
                    kOp, ": maps must be float32 or float64 on the cpu backend");

    const Tensor maps = torch::stable::contiguous(maps_in), times = torch::stable::contiguous(times_in);
    const std::optional<Tensor> colours =
        colours_in ? std::optional<Tensor>(torch::stable::contiguous(*colours_in)) : std::nullopt;
    const auto feat = contiguous(feat_in), flow = contiguous(flow_in), encode = contiguous(encode_in);
    const int64_t batch = maps.size(0), count = times.size(0);
    std::tuple<Tensor, Tensor> result;

    const auto run = [&](auto zero, auto&& kernel) {
        using scalar_t = decltype(zero);
        QueryParameters<scalar_t> p{};
        p.batch = batch, p.times = count;
        p.map_height = maps.size(1), p.map_width = maps.size(2), p.map_channels = maps.size(3);
        p.lr_height = lr_size[0], p.lr_width = lr_size[1];
        p.height = size[0], p.width = size[1];
        p.upsample = frame_upsample;
        p.omega = scalar_t(omega);
        p.maps = static_cast<const scalar_t*>(maps.const_data_ptr());
        p.colours = colours ? static_cast<const scalar_t*>(colours->const_data_ptr()) : nullptr;
        p.time = static_cast<const scalar_t*>(times.const_data_ptr());
        const int64_t sampled = colours ? 6 : 0;
        p.feat = layer_views<scalar_t>("feat", feat, 3, maps);
        p.flow = layer_views<scalar_t>("flow", flow, p.features() + sampled + 1, maps);
        p.encode = layer_views<scalar_t>("encode", encode, 2 * (p.features() + sampled) + 1, maps);
        STD_TORCH_CHECK(p.flow.back().outputs == 4, kOp, ": flow must end in 4 outputs, got ", p.flow.back().outputs);
        const int64_t widths =
            padded_width(p.feat[0].outputs) + padded_width(p.flow[0].outputs) + 2 * padded_width(p.encode[0].outputs);
        STD_TORCH_CHECK(maps.size(3) == widths, kOp, ": maps must have ", widths, " channels, got ",
                        shape_string(maps.sizes()));
        Tensor hr = torch::stable::new_empty(maps, {size[0], size[1], padded_width(p.features())});
        Tensor image = torch::stable::new_empty(maps, {batch, count, p.encode.back().outputs, size[0], size[1]});
        Tensor flows = torch::stable::new_empty(maps, {batch, count, 4, size[0], size[1]});
        p.hr = static_cast<scalar_t*>(hr.mutable_data_ptr());
        p.image = static_cast<scalar_t*>(image.mutable_data_ptr());
        p.flows = static_cast<scalar_t*>(flows.mutable_data_ptr());
        kernel(p, &run_parallel);
        result = {image, flows};
    };
    if (dtype == torch::headeronly::ScalarType::Double) {
        run(0.0, portable64::inr_query);
        return result;
    }
    switch (chosen_variant()) {
#if defined(__x86_64__) && defined(__GNUC__)
        case Variant::kAvx512Bf16:
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

}  // namespace
}  // namespace vinr

STABLE_TORCH_LIBRARY_IMPL(vinr, CPU, m) { m.impl("inr_query", TORCH_BOX(&vinr::inr_query)); }
